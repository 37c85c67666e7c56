"""Table 3 as Markdown, HTML and LaTeX."""

from pathlib import Path

import pandas as pd

from ssc.results import tables

rows = pd.read_csv(snakemake.input[0], keep_default_na=False)
for name, render in (("markdown", tables.plain_markdown), ("html", tables.plain_page), ("latex", tables.plain_latex)):
    Path(snakemake.output[name]).write_text(render(*tables.table3(rows)), encoding="utf-8")
