"""Scores and records of runs that nobody trained."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ssc.matrix import Run


def write_scores(runs: Sequence[Run], gains: Mapping[str, float], top: Path = Path()) -> None:
    """Scores, record and settings of each run, below ``top``; ``gains``: points of some methods over all others."""
    generator, patients = np.random.default_rng(0), {}
    for run in runs:
        gain, rows = gains.get(run.variant, 0.0), []
        for m in run.modalities:
            noise = generator.normal(0, 0.2)
            for case in run.cases[m]["test"]:
                dice = patients.setdefault((m, case), generator.normal(80, 6)) + gain + noise + generator.normal(0, 0.5)
                rows += [
                    {"case": case, "modality": m, "structure": name, "grid": "native", "status": "found", "dice": dice,
                     "asd_mm": 1.0}
                    for name in ("liver", "spleen")
                ]  # fmt: skip
        predictions, folder = top / run.predictions("test"), top / run.folder
        predictions.mkdir(parents=True)
        pd.DataFrame(rows).to_csv(predictions / "scores.csv", index=False)
        folder.mkdir(parents=True)
        record = {"commit": "abc", "init": "random", "preprocessing": {m: {"box": "body"} for m in run.modalities},
                  "parameters": 1_500_000, "steps": 4000, "seconds": 600.0}  # fmt: skip
        (folder / "run.json").write_text(json.dumps(record), "utf-8")
        (folder / "settings.json").write_text('{"optimiser": {"learning_rate": 0.006}}', "utf-8")
