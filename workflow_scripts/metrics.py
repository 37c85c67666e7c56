"""Every metric's overall mean of every method, table by table: what `dvc metrics` shows."""

import json
from pathlib import Path

import pandas as pd

from ssc.jobs import job

with job(snakemake) as (given, made):
    found = {}
    for path in map(Path, given):
        rows = pd.read_csv(path).query("modality == 'overall' and grid == 'native'").dropna(subset="mean")
        found[path.stem] = {
            method: of_method.set_index("metric")["mean"].to_dict() for method, of_method in rows.groupby("method")
        }
    Path(made[0]).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
