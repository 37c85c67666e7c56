"""Table 3 as Markdown, HTML and LaTeX."""

import pandas as pd

from ssc.jobs import job
from ssc.results import rendering, tables

with job(snakemake) as (given, made):
    rows = pd.read_csv(given[0], keep_default_na=False)
    rendering.write(made, tables.table3(rows))
