"""The paper's claims on a task, and what our runs say: CSV, Markdown, HTML, LaTeX."""

from pathlib import Path

from ssc import matrix
from ssc.results import claims, tables

task = snakemake.wildcards.task
rows = claims.judge(task, [matrix.Run.from_key(key) for key in snakemake.params.spec["runs"]])
rows.to_csv(snakemake.output.csv, index=False, lineterminator="\n")
for name, draw in (("markdown", tables.plain_markdown), ("html", tables.plain_page), ("latex", tables.plain_latex)):
    Path(snakemake.output[name]).write_text(draw(*claims.render(task, rows)), encoding="utf-8")
