"""What Ours has learned of a task, as a figure."""

import numpy as np
import pandas as pd

from ssc import matrix
from ssc.jobs import job
from ssc.results.figures import learned, save
from ssc.tasks import tasks

with job(snakemake) as (given, made):
    run = matrix.Run.from_key(snakemake.params.spec["run"])
    task = tasks()[run.task]
    names = ["background", *(structure.name for structure in task.structures)]
    with np.load(given.arrays) as arrays:
        figure = learned(dict(arrays), pd.read_csv(given.history), task, names, run.key)
    save(figure, made)
