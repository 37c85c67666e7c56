"""Overall mean Dice and surface distance of every method, table by table: what `dvc metrics` shows."""

import json
from pathlib import Path

import pandas as pd

from ssc.errors import logged

with logged(snakemake.log[0]):
    found = {}
    for path in map(Path, snakemake.input):
        rows = pd.read_csv(path).query("modality == 'overall' and grid == 'native'").dropna(subset="mean")
        found[path.stem] = {
            method: of_method.set_index("metric")["mean"].to_dict() for method, of_method in rows.groupby("method")
        }
    Path(snakemake.output[0]).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
