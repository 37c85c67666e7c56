"""Figure 5: Dice over the temperature τ."""

import pandas as pd

from ssc import matrix
from ssc.jobs import job
from ssc.results.figures import figure5, save
from ssc.results.tables import read_scores

with job(snakemake) as (given, made):
    spec = snakemake.params.spec
    runs = [matrix.Run.from_key(key) for key in spec["runs"]]
    temperatures = {
        v.name: v.settings.losses.tau or spec["tau"] for v in (matrix.variants()[run.variant] for run in runs) if v.icr
    }
    note = f"{spec['data']} data, {spec['scale']} scale, {len({run.split for run in runs})} draws"
    reference = matrix.tables()["tau"].reference
    figure = figure5(pd.read_csv(given.table), temperatures, read_scores(runs), reference, note)
    save(figure, made)
