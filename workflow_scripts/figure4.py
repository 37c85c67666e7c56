"""Overlays of median cases as PDF and PNG: Figure 4, its half of one task, or a single run's."""

from ssc import matrix
from ssc.jobs import job
from ssc.results.figures import figure4, save

with job(snakemake) as (_, made):
    runs = {task: [matrix.Run.from_key(key) for key in keys] for task, keys in snakemake.params.spec["runs"].items()}
    save(figure4(runs, snakemake.params.raw), made)
