"""Overall mean Dice of the methods of one or several tables, a line each."""

import pandas as pd

from ssc import matrix
from ssc.jobs import job
from ssc.results.figures import overall_means, save
from ssc.results.tables import described, read_table

with job(snakemake) as (given, made):
    rows = pd.concat([read_table(path) for path in given])
    labels = {method: matrix.variants()[method].label for method in rows.dropna(subset="mean")["method"].unique()}
    save(overall_means(rows, labels, described(rows)), made)
