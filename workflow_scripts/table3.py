"""Table 3 as Markdown, HTML and LaTeX."""

import pandas as pd

from ssc.errors import logged
from ssc.results import rendering, tables

with logged(snakemake.log[0]):
    rows = pd.read_csv(snakemake.input[0], keep_default_na=False)
    rendering.write(snakemake.output, tables.table3(rows))
