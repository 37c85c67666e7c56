"""The learning rate of every method, chosen on the development split: CSV, Markdown, HTML, LaTeX."""

from ssc import matrix
from ssc.jobs import job
from ssc.results import rates, rendering

with job(snakemake) as (_, made):
    spec = snakemake.params.spec
    rows = rates.choose(snakemake.wildcards.task, [matrix.Run.from_key(key) for key in spec["runs"]])
    rows.to_csv(made.csv, index=False, lineterminator="\n")
    rendering.write(made, rates.page(snakemake.wildcards.task, rows))
