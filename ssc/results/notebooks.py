"""The notebook of the abdominal task: written cell by cell, executed in a fresh kernel.

It reads result files by relative path, so it opens and runs again wherever the project's folder lies.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from string import Template

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from ssc import matrix
from ssc.results.tables import warning
from ssc.whole import whole

CURVES = ("joint_v2", "joint_v3", "ours")  # variants whose training is drawn

# Cells are parted by lines of %%text or %%code.
ABDOMEN = """
# Abdominal organs in CT and MRI that were never paired

> **$warning**

Data: `$data`, scale: `$scale`, $count trainings. One network segments liver, spleen and kidneys in both
modalities. While it trains, an External Attention Module for each modality asks the feature maps for every
class, and two losses pull the answers of CT and MRI together; at inference the modules are gone.

The workflow wrote and ran this notebook. Run it again from top to bottom at any time.
%%code
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import HTML, Image

root = next(p for p in (Path.cwd(), *Path.cwd().parents) if (p / "Snakefile").exists())
table = pd.read_csv(root / "results/tables/table6.csv")
table[["data", "scale", "seed", "init", "commit"]].drop_duplicates()
%%text
## Table 6

Ours on top, the paper's figure below it in grey: mean ± standard deviation over the test results of all draws.
%%code
page = (root / "results/tables/table6.html").read_text("utf-8")
HTML(page.split("<body>")[1].split("</body>")[0])
%%text
## The methods side by side

Overall mean Dice on each scan's own grid. The two sets of points come from different data and scale: compare
their order, not their height.
%%code
overall = table.query("grid == 'native' and metric == 'dice' and modality == 'overall'")
figure, axis = plt.subplots(figsize=(8, 3.6), layout="constrained")
axis.plot(overall["method"], overall["mean"], "o", label="ours")
axis.plot(overall["method"], overall["published_mean"], "x", color="0.5", label="paper")
axis.set_ylabel("overall mean Dice (%)")
axis.tick_params(axis="x", rotation=30)
axis.grid(axis="y", alpha=0.3)
axis.legend()
plt.show()
%%text
## What a median case looks like

The case whose Dice is the median of *Ours*: chosen by that rule, not by looks.
%%code
Image(root / "results/figures/figure4_abdomen.png", width=1100)
%%text
## Case by case

Each dot is one test result of *Ours*. A mean hides the failures; here they show.
%%code
files = $scores
cases = pd.concat(pd.read_csv(root / file, dtype={"case": str}) for file in files)
cases = cases.query("grid == 'native'")
structures = list(cases["structure"].unique())
figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
for axis, (modality, rows) in zip(axes, cases.groupby("modality")):
    for place, structure in enumerate(structures):
        dice = rows.loc[rows["structure"] == structure, "dice"].dropna()
        spread = [place + 0.3 * (i / max(1, len(dice) - 1) - 0.5) for i in range(len(dice))]
        axis.plot(spread, dice, ".", alpha=0.7)
    axis.set_title(modality.upper())
    axis.set_xticks(range(len(structures)), structures, rotation=20)
    axis.grid(axis="y", alpha=0.3)
axes[0].set_ylabel("Dice (%)")
plt.show()
%%text
## How training went

Segmentation loss on `$split`. The variants see the same crops in the same order, so their curves can be
compared point by point.
%%code
histories = $histories
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")
for name, file in histories.items():
    history = pd.read_csv(root / file)
    for axis, modality in zip(axes, ("ct", "mri")):
        axis.plot(history["step"], history[f"seg_{modality}"], label=name)
        axis.set_title(modality.upper())
        axis.set_xlabel("step")
axes[0].set_ylabel("segmentation loss")
axes[1].legend()
plt.show()
"""


def abdomen(runs: Sequence[matrix.Run]) -> nbformat.NotebookNode:
    """The story of Table 6 for these runs, not yet executed."""
    first = runs[0]
    drawn = [run for run in runs if run.split == first.split and run.seed == first.seed and run.variant in CURVES]
    text = Template(ABDOMEN).substitute(
        warning=warning(first.data, matrix.tasks()[first.task]),
        data=first.data,
        scale=first.scale,
        split=first.split,
        count=len(runs),
        scores=_literal([f"{run.predictions('test')}/scores.csv" for run in runs if run.variant == "ours"]),
        histories=_literal({matrix.variants()[run.variant].label: f"{run.folder}/history.csv" for run in drawn}),
    )
    return _notebook("%%text\n" + text.strip())


def execute(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Run every cell in a fresh kernel beside ``path`` and write the notebook there."""
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=600, record_timing=False, resources=resources).execute()
    with whole(path) as partial:
        nbformat.write(notebook, partial)


def _notebook(text: str) -> nbformat.NotebookNode:
    """Cells from text parted by %%text and %%code; fixed ids, so that a second run writes the same bytes."""
    make = {"text": new_markdown_cell, "code": new_code_cell}
    parts = re.findall(r"^%%(text|code)\n(.*?)(?=^%%|\Z)", text, flags=re.DOTALL | re.MULTILINE)
    cells = [make[kind](body.strip(), id=f"cell-{number}") for number, (kind, body) in enumerate(parts)]
    metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
    }
    return new_notebook(cells=cells, metadata=metadata)


def _literal(value: list[str] | dict[str, str]) -> str:
    """A Python literal, one entry a line (that of JSON, for strings)."""
    return json.dumps(value, indent=4)
