"""Overlays of median cases as PDF and PNG: Figure 4, its half of one task, or a single run's."""

from ssc import matrix
from ssc.errors import logged
from ssc.results.figures import figure4, save

with logged(snakemake.log[0]):
    runs = {task: [matrix.Run.from_key(key) for key in keys] for task, keys in snakemake.params.spec["runs"].items()}
    save(figure4(runs, snakemake.params.raw), snakemake.output)
