"""One table of the paper: tidy CSV, Markdown, HTML, LaTeX."""

from pathlib import Path

from ssc import matrix
from ssc.errors import logged
from ssc.results import tables

with logged(snakemake.log[0]):
    table = matrix.tables()[snakemake.wildcards.table]
    rows = tables.tidy(table, [matrix.Run.from_key(key) for key in snakemake.params.spec["runs"]])
    rows.to_csv(snakemake.output.csv, index=False, lineterminator="\n")
    Path(snakemake.output.markdown).write_text(tables.markdown(table, rows), encoding="utf-8")
    Path(snakemake.output.latex).write_text(tables.latex(table, rows), encoding="utf-8")
    Path(snakemake.output.html).write_text(tables.page(table, rows), encoding="utf-8")
