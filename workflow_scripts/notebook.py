"""The notebook of a task or of the method, executed."""

from pathlib import Path

from ssc import matrix
from ssc.jobs import job
from ssc.results.notebooks import execute, method_notebook, task_notebook

with job(snakemake) as (_, made):
    spec, path = snakemake.params.spec, Path(made[0])
    runs = [matrix.Run.from_key(key) for key in spec["runs"]]
    execute(method_notebook(spec["data"], runs) if path.stem == "method" else task_notebook(runs), path)
