"""Training curves of all variants of a task on its first split: as a figure, and as a table for `dvc plots`."""

import pandas as pd

from ssc import matrix
from ssc.jobs import job
from ssc.results.figures import save, training_curves

with job(snakemake) as (_, made):
    spec = snakemake.params.spec
    runs = [matrix.Run.from_key(key) for key in spec["runs"]]
    first = [run for run in runs if (run.split, run.seed) == (runs[0].split, runs[0].seed)]
    histories = [pd.read_csv(run.folder / "history.csv").set_index("step").filter(regex="^(seg|aux)_") for run in first]
    wide = [history.add_prefix(f"{run.variant}_") for run, history in zip(first, histories, strict=True)]
    pd.concat(wide, axis=1).to_csv(made.csv, lineterminator="\n")
    save(training_curves(first, f"{spec['data']} data, {spec['scale']} scale"), made)
