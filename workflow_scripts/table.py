"""One table of the paper: tidy CSV, Markdown, HTML, LaTeX."""

from ssc import matrix
from ssc.jobs import job
from ssc.results import rendering, tables

with job(snakemake) as (_, made):
    table = matrix.tables()[snakemake.wildcards.table]
    rows = tables.tidy(table, [matrix.Run.from_key(key) for key in snakemake.params.spec["runs"]])
    rows.to_csv(made.csv, index=False, lineterminator="\n")
    rendering.write(made, tables.page(table, rows))
