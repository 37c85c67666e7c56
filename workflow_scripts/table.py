"""One table of the paper: tidy CSV, Markdown, HTML, LaTeX."""

from ssc import matrix
from ssc.errors import logged
from ssc.results import rendering, tables

with logged(snakemake.log[0]):
    table = matrix.tables()[snakemake.wildcards.table]
    rows = tables.tidy(table, [matrix.Run.from_key(key) for key in snakemake.params.spec["runs"]])
    rows.to_csv(snakemake.output.csv, index=False, lineterminator="\n")
    rendering.write(snakemake.output, tables.page(table, rows))
