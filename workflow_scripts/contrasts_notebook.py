"""The notebook of a table's contrasts, executed."""

from pathlib import Path

from ssc import matrix
from ssc.jobs import job
from ssc.results.notebooks import contrasts_notebook, execute

with job(snakemake) as (_, made):
    spec, table = snakemake.params.spec, matrix.tables()[snakemake.wildcards.table]
    runs = [matrix.Run.from_key(key) for key in spec["runs"]]
    execute(contrasts_notebook(table, runs, spec["seeds"], spec["folds"]), Path(made[0]))
