"""The notebook of a task or of the method, executed."""

from pathlib import Path

from ssc import matrix
from ssc.errors import logged
from ssc.results.notebooks import execute, method_notebook, task_notebook

with logged(snakemake.log[0]):
    spec = snakemake.params.spec
    runs = [matrix.Run.from_key(key) for key in spec["runs"]]
    execute(task_notebook(runs) if runs else method_notebook(spec["data"]), Path(snakemake.output[0]))
