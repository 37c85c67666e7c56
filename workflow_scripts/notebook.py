"""The notebook of a task or of the method, executed."""

from pathlib import Path

from ssc import matrix
from ssc.errors import logged
from ssc.results.notebooks import execute, method_notebook, task_notebook

with logged(snakemake.log[0]):
    spec, path = snakemake.params.spec, Path(snakemake.output[0])
    runs = [matrix.Run.from_key(key) for key in spec["runs"]]
    execute(method_notebook(spec["data"], runs) if path.stem == "method" else task_notebook(runs), path)
