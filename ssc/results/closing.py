"""The last lines of a command: what was made, its headline numbers, what to open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ssc import matrix
from ssc.results.rendering import number
from ssc.tasks import tasks


def closing(targets: Sequence[str], opens: str | None = None) -> list[str]:
    """Three lines for a finished run of Snakemake, none where it made no file that a reader opens.

    ``targets``: what was asked for; none, or ``all``: the main tables. ``opens``: the file to open, where it is not a
    target's.
    """
    files = [Path(target) for target in targets] if set(targets) - {"all"} else _main_tables()
    files = [path for path in files if path.is_file()]
    if not files:
        return [f"Open: {opens}"] if opens else []
    tables = [path.with_suffix(".csv") for path in files if path.parent.name == "tables"]
    made = ", ".join(map(str, files[:3])) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
    lines = [f"Made: {made}"]
    lines += [_of_table(path) for path in tables[:2] if path.stem in matrix.tables() and path.is_file()]
    lines += [_of_scores(path) for path in (files[0].with_name("scores.csv"),) if path.is_file()]
    shown = tables[0].with_suffix(".html") if tables else files[0]
    return [*lines, f"Open: {opens or (shown if shown.is_file() else files[0])}"]


def _main_tables() -> list[Path]:
    found = [Path(f"results/tables/{task.main_table}.csv") for task in tasks().values()]
    return [path for path in found if matrix.tables()[path.stem].published]


def _of_table(path: Path) -> str:
    """Overall Dice of the best method and of Ours, and what the paper prints of them."""
    rows = pd.read_csv(path).query("metric == 'dice' and modality == 'overall' and grid == 'native'")
    rows = rows.dropna(subset="mean").set_index("method")
    labels = {method: matrix.variants()[method].label for method in rows.index}
    best = rows["mean"].idxmax()
    parts = []
    for method in dict.fromkeys([best, *({"ours"} & set(rows.index))]):
        row, first = rows.loc[method], "best " if method == best else ""
        printed = f", the paper's {number(row['published_mean'], 1)}" if pd.notna(row["published_mean"]) else ""
        parts.append(f"{first}{labels[method]} {number(row['mean'], 1)} %{printed}")
    return f"{path.stem}, overall Dice, {_mark(rows['data'].iloc[0], rows['scale'].iloc[0])}: {'; '.join(parts)}"


def _of_scores(path: Path) -> str:
    """Mean Dice of a run's part, a modality at a time."""
    run = matrix.Run.from_key(str(path.parent.parent))
    rows = pd.read_csv(path).query("grid == 'native'")
    means = rows.groupby(["modality", "structure"], sort=False)["dice"].mean().groupby("modality", sort=False).mean()
    each = ", ".join(f"{modality.upper()} {number(mean, 1)} %" for modality, mean in means.items())
    return f"Mean Dice, {_mark(run.data, run.scale)}: {each}"


def _mark(data: str, scale: str) -> str:
    return f"{'PHANTOM DATA' if data == 'phantom' else 'real scans'}, {scale} scale"
