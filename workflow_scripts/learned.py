"""What Ours has learned of a task, as a figure."""

import json
from pathlib import Path

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
    shares = json.loads(Path(given.record).read_text("utf-8"))["correspondence"]
    known = (
        f"{', '.join(f'{100 * share:.0f}' for share in shares)} % of the classes (scales 1, 2, 3) have a row of E that "
        f"is nearest to their own in the other modality; chance {100 / len(names):.0f} %"
    )
    with np.load(given.arrays) as arrays:
        figure = learned(dict(arrays), pd.read_csv(given.history), task, names, f"{run.key}\n{known}")
    save(figure, made)
