"""What Ours has learned of a task, as a figure."""

import numpy as np
import pandas as pd

from ssc import matrix
from ssc.errors import logged
from ssc.results.figures import learned, save
from ssc.tasks import tasks

with logged(snakemake.log[0]):
    run = matrix.Run.from_key(snakemake.params.spec["run"])
    task = tasks()[run.task]
    names = ["background", *(structure.name for structure in task.structures)]
    with np.load(snakemake.input.arrays) as arrays:
        figure = learned(dict(arrays), pd.read_csv(snakemake.input.history), task, names, run.key)
    save(figure, snakemake.output)
