"""Figure 1, 2 or 3: a diagram of the method."""

import pandas as pd

from ssc.jobs import job
from ssc.results import diagrams
from ssc.results.figures import save
from ssc.tasks import tasks

with job(snakemake) as (given, made):
    task = tasks()["abdomen"]
    draw = {
        "1": lambda: diagrams.figure1(pd.read_csv(given.table3), task),
        "2": lambda: diagrams.figure2(task),
        "3": lambda: diagrams.figure3(task),
    }[snakemake.wildcards.number]
    save(draw(), made)
