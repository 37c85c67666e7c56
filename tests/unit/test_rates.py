"""Which learning rate a method gets, from made-up validation scores."""

import json

import pandas as pd

from ssc import matrix
from ssc.config import Settings
from ssc.results import rates, rendering
from ssc.runs import run_settings


def test_candidates_differ_in_rate_and_take_half_the_steps():
    plain = matrix.Run.from_key("real/small/abdomen/development/seed0/ours")
    own = run_settings(Settings(), plain)
    for name, factor in matrix.RATES.items():
        found = run_settings(Settings(), matrix.Run.from_key(f"{plain.key}_rate_{name}"))
        assert found.optimiser.learning_rate == own.optimiser.learning_rate * factor
        assert found.optimiser.steps == own.optimiser.steps / 2
        same = {"key": "", "optimiser": own.optimiser}
        assert found.model_copy(update=same) == own.model_copy(update=same)


def test_the_best_on_validation_cases_is_chosen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = matrix.rates_runs("abdomen", "real", "small", 0)
    best = {method: list(matrix.RATES)[i % 3] for i, method in enumerate(matrix.rates()["abdomen"])}
    for run in runs:
        method, _, rate = run.variant.partition("_rate_")
        rows = [
            {"case": case, "modality": m, "structure": name, "grid": grid, "status": "found",
             "dice": 80.0 + (rate == best[method]) - 50 * (grid != "native")}
            for m in run.modalities for case in run.cases[m]["validation"] for name in ("liver", "spleen")
            for grid in ("native", "preprocessed")
        ]  # fmt: skip
        run.predictions("validation").mkdir(parents=True)
        pd.DataFrame(rows).to_csv(run.predictions("validation") / "scores.csv", index=False)
        run.folder.mkdir(parents=True)
        record = {"commit": "abc", "init": "random", "preprocessing": {m: {"box": "body"} for m in run.modalities}}
        (run.folder / "run.json").write_text(json.dumps(record), "utf-8")
    rows = rates.choose("abdomen", runs)
    chosen = rows[rows["chosen"]].set_index("method")["factor"]
    assert chosen.to_dict() == {method: matrix.RATES[rate] for method, rate in best.items()}
    text = rendering.markdown(rates.page("abdomen", rows))
    assert "ours, as it is" in text and "learning_rate: ×0.25" in text and "81.0" in text
