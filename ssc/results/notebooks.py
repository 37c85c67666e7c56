"""The notebook of the abdominal task: written cell by cell, executed in a fresh kernel.

It reads result files by relative path, so it opens and runs again wherever the project's folder lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from ssc import matrix

Cell = tuple[str, str]  # kind and text


def abdomen(runs: Sequence[matrix.Run]) -> nbformat.NotebookNode:
    """The story of Table 6 for these runs, not yet executed."""
    first = runs[0]
    curves = [run for run in runs if run.split == first.split and run.variant in ("joint_v2", "joint_v3", "ours")]
    scores = [f"{run.predictions('test')}/scores.csv" for run in runs if run.variant == "ours"]
    histories = {matrix.variants()[run.variant].label: f"{run.folder}/history.csv" for run in curves}
    note = (
        "> **These are phantoms**: synthetic scans that test the software. Nothing here says anything about patients."
        if first.data == "phantom"
        else "> **Real scans**: BTCV CT and CHAOS T2-SPIR MRI. Not for clinical use."
    )
    return _notebook(
        ("markdown", f"# Abdominal organs in CT and MRI that were never paired\n\n{note}\n\n"
                     f"Data: `{first.data}`, scale: `{first.scale}`, {len(runs)} trainings. One network segments the "
                     "liver, spleen and kidneys in both modalities. While it trains, an External Attention Module a "
                     "modality asks its feature maps for every class, and two losses pull the answers of CT and MRI "
                     "together; at inference the modules are gone. This notebook was written and executed by the "
                     "workflow; run it again from top to bottom at any time."),
        ("code", "from pathlib import Path\n\nimport matplotlib.pyplot as plt\nimport pandas as pd\n"
                 "from IPython.display import HTML, Image\n\n"
                 "root = next(p for p in (Path.cwd(), *Path.cwd().parents) if (p / \"Snakefile\").exists())\n"
                 "table = pd.read_csv(root / \"results/tables/table6.csv\")\n"
                 "table[[\"data\", \"scale\", \"seed\", \"init\", \"commit\"]].drop_duplicates()"),
        ("markdown", "## Table 6\n\nOurs above, the paper's figure below it in grey. Mean ± standard deviation over "
                     "all test results of the five draws."),
        ("code", "HTML((root / \"results/tables/table6.html\").read_text().split(\"<body>\")[1].split(\"</body>\")[0])"),
        ("markdown", "## The same as a picture\n\nOverall mean Dice on each scan's own grid, beside the paper's."),
        ("code", "overall = table.query(\"grid == 'native' and metric == 'dice' and modality == 'overall'\")\n"
                 "figure, axis = plt.subplots(figsize=(8, 3.6), layout=\"constrained\")\n"
                 "axis.plot(overall[\"method\"], overall[\"mean\"], \"o\", label=\"ours\")\n"
                 "axis.plot(overall[\"method\"], overall[\"published_mean\"], \"x\", color=\"0.5\", label=\"paper\")\n"
                 "axis.set_ylabel(\"overall mean Dice (%)\")\naxis.tick_params(axis=\"x\", rotation=30)\n"
                 "axis.grid(axis=\"y\", alpha=0.3)\naxis.legend()\nplt.show()"),
        ("markdown", "## What a median case looks like\n\nThe case whose Dice is the median of *Ours*: chosen by rule, "
                     "not by looks."),
        ("code", "Image(root / \"results/figures/figure4_abdomen.png\", width=1100)"),
        ("markdown", "## Case by case\n\nEach dot is one test case of *Ours*; its mean hides the failures."),
        ("code", f"files = {_literal(scores)}\n"
                 "cases = pd.concat(pd.read_csv(root / file, dtype={\"case\": str}) for file in files)\n"
                 "cases = cases.query(\"grid == 'native'\")\n"
                 "structures = list(cases[\"structure\"].unique())\n"
                 "figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout=\"constrained\")\n"
                 "for axis, (modality, rows) in zip(axes, cases.groupby(\"modality\")):\n"
                 "    for place, structure in enumerate(structures):\n"
                 "        dice = rows.loc[rows[\"structure\"] == structure, \"dice\"].dropna()\n"
                 "        spread = [place + 0.3 * (i / max(1, len(dice) - 1) - 0.5) for i in range(len(dice))]\n"
                 "        axis.plot(spread, dice, \".\", alpha=0.7)\n"
                 "    axis.set_title(modality.upper())\n"
                 "    axis.set_xticks(range(len(structures)), structures, rotation=20)\n"
                 "    axis.grid(axis=\"y\", alpha=0.3)\naxes[0].set_ylabel(\"Dice (%)\")\nplt.show()"),
        ("markdown", f"## How training went\n\nThe segmentation loss of three joint variants on `{first.split}`. They see "
                     "the same crops in the same order, so their curves can be compared point by point."),
        ("code", f"histories = {_literal(histories)}\n"
                 "figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout=\"constrained\")\n"
                 "for name, file in histories.items():\n"
                 "    history = pd.read_csv(root / file)\n"
                 "    for axis, modality in zip(axes, (\"ct\", \"mri\")):\n"
                 "        axis.plot(history[\"step\"], history[f\"seg_{modality}\"], label=name)\n"
                 "        axis.set_title(modality.upper())\n        axis.set_xlabel(\"step\")\n"
                 "axes[0].set_ylabel(\"segmentation loss\")\naxes[1].legend()\nplt.show()"),
    )  # fmt: skip


def execute(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Run every cell in a fresh kernel beside ``path`` and write the notebook there."""
    client = NotebookClient(
        notebook, timeout=600, record_timing=False, resources={"metadata": {"path": str(path.parent)}}
    )
    client.execute()
    partial = path.with_suffix(".part")
    nbformat.write(notebook, partial)
    partial.replace(path)


def _notebook(*cells: Cell) -> nbformat.NotebookNode:
    """Fixed cell ids, so that a second run writes the same bytes."""
    make = {"markdown": new_markdown_cell, "code": new_code_cell}
    metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
    }
    made = [make[kind](text, id=f"cell-{number}") for number, (kind, text) in enumerate(cells)]
    return new_notebook(cells=made, metadata=metadata)


def _literal(value: list[str] | dict[str, str]) -> str:
    """A Python literal, one entry a line."""
    entries = value.items() if isinstance(value, dict) else value
    brackets = "{}" if isinstance(value, dict) else "[]"
    lines = (f'    "{e[0]}": "{e[1]}",' if isinstance(value, dict) else f'    "{e}",' for e in entries)
    return brackets[0] + "\n" + "\n".join(lines) + "\n" + brackets[1]
