"""The last lines of a command tell the headline numbers."""

import pandas as pd
import pytest

from ssc.results.closing import closing


@pytest.mark.parametrize(
    ("means", "line"),
    [
        ({"baseline": 80.0, "ours": 81.25}, "best Ours (w/ CR) 81.2 %, the paper's 93.3"),
        ({"baseline": 82.0, "ours": 81.0}, "best Baseline 82.0 %; Ours (w/ CR) 81.0 %, the paper's 93.3"),
        ({"baseline": 82.0}, "best Baseline 82.0 %"),
    ],
)
def test_best_and_ours_are_told_once_each(means, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results/tables"
    folder.mkdir(parents=True)
    rows = [
        {"method": method, "modality": "overall", "metric": "dice", "grid": "native", "mean": mean,
         "published_mean": {"ours": 93.3}.get(method), "data": "phantom", "scale": "smoke"}
        for method, mean in means.items()
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "table6.csv", index=False)
    made, told, opened = closing(["results/tables/table6.csv"])
    assert made == "Made: results/tables/table6.csv"
    assert told == f"table6, overall Dice, PHANTOM DATA, smoke scale: {line}"
    assert opened == "Open: results/tables/table6.csv"  # no page lies beside it
    assert closing([])[0] == closing(["all"])[0] == made


@pytest.mark.parametrize("targets", [[], ["all"], ["published_audit"], ["data/phantom/btcv"], ["results/tables/t.csv"]])
def test_nothing_is_told_of_what_was_not_made(targets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/phantom/btcv").mkdir(parents=True)
    assert closing(targets) == []
    assert closing(targets, opens="report.html") == ["Open: report.html"]
