"""Overlays of the cases that a table names, as PDF and PNG."""

from ssc import matrix
from ssc.jobs import job
from ssc.results.figures import pictured_cases, save

with job(snakemake) as (_, made):
    table = matrix.tables()[snakemake.wildcards.table]
    runs = [matrix.Run.from_key(key) for key in snakemake.params.spec["runs"]]
    save(pictured_cases(table, runs, snakemake.params.raw), made)
