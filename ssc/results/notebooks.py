"""The notebooks: written cell by cell, executed in a fresh kernel.

They read result files by relative path, so they open and run again wherever the project's folder lies.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from ssc import matrix
from ssc.data.preprocess import case_file
from ssc.results.tables import warning
from ssc.tasks import tasks
from ssc.whole import whole

CURVES = ("joint_v2", "joint_v3", "ours")  # variants whose training is drawn, beside the table's last

# Cells are parted by lines of %%text or %%code.
TASK = """
# $title

> **$warning**

Data: `$data`, scale: `$scale`, $count trainings. One network segments $structures in all
modalities. While it trains, an External Attention Module for each modality asks the feature maps for every
class, and two losses pull the modalities' answers together; at inference the modules are gone.

The workflow wrote and ran this notebook. Run it again from top to bottom at any time.
%%code
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import HTML, Image

root = next(p for p in (Path.cwd(), *Path.cwd().parents) if (p / "results").is_dir())
table = pd.read_csv(root / "results/tables/$table.csv", dtype={"seed": str, "commit": str})
table[["data", "scale", "seed", "init", "commit"]].drop_duplicates()
%%text
## $heading

Means beside the paper's, then the differences, then every structure; the lines above the tables say how to read them.
%%code
page = (root / "results/tables/$table.html").read_text("utf-8")
HTML(page.split("<body>")[1].split("</body>")[0])  # its style lies in the body
%%text
## The methods side by side

Overall mean Dice on each scan's own grid, bars: as the table has them. The two sets of points come from different
data and scale: compare their order, not their height.
%%code
overall = table.query("grid == 'native' and metric == 'dice' and modality == 'overall'")
figure, axis = plt.subplots(figsize=(8, 3.6), layout="constrained")
bars = [overall["mean"] - overall["low"], overall["high"] - overall["mean"]]
axis.errorbar(overall["method"], overall["mean"], yerr=bars, fmt="o", capsize=3, label="ours")
axis.plot(overall["method"], overall["published_mean"], "x", color="0.5", label="paper")
axis.set_ylabel("overall mean Dice (%)")
axis.tick_params(axis="x", rotation=30)
axis.grid(axis="y", alpha=0.3)
axis.legend()
plt.show()
%%text
## What a median case looks like

The case whose Dice is the median of *$method*: chosen by that rule, not by looks.
%%code
Image(root / "results/figures/figure4_$task.png", width=1100)
%%text
Another case, to scroll through (all of them: `snakemake results/browser/index.html`):
%%code
from ssc.results.viewer import structures_of, widget
from ssc.tasks import tasks

widget(root / "$scan", root / "$labels", structures_of(tasks()["$task"].structures))
%%text
## Case by case

Each dot is one test result of *$method*. A mean hides the failures; here they show.
%%code
files = $scores
cases = pd.concat(pd.read_csv(root / file, dtype={"case": str}) for file in files)
cases = cases.query("grid == 'native'")
structures = list(cases["structure"].unique())
modalities = list(cases["modality"].unique())
figure, axes = plt.subplots(1, len(modalities), figsize=(9, 3.4), sharey=True, layout="constrained")
for axis, (modality, rows) in zip(axes, cases.groupby("modality", sort=False)):
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
figure, axes = plt.subplots(1, len(modalities), figsize=(9, 3.2), sharey=True, layout="constrained")
for name, file in histories.items():
    history = pd.read_csv(root / file)
    for axis, modality in zip(axes, modalities):
        axis.plot(history["step"], history[f"seg_{modality}"], label=name)
        axis.set_title(modality.upper())
        axis.set_xlabel("step")
axes[0].set_ylabel("segmentation loss")
axes[-1].legend()
plt.show()
"""

METHOD = """
# One network, two modalities: the method in pictures

> **$warning**

CT and MRI show the same anatomy in different grey values, and hospitals rarely have both of one patient. The method
trains one network on both, unpaired. It asks the feature maps of each image what they know of every class, and holds
the answers of the two modalities together. At inference all of that is dropped.

The workflow wrote and ran this notebook. Every picture is drawn from the code or from results.
%%code
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Image, display

root = next(p for p in (Path.cwd(), *Path.cwd().parents) if (p / "results").is_dir())
figures = root / "results/figures"
Image(figures / "figure3.png", width=1000)
%%text
## Three ways to train jointly

V1 keeps an encoder for each modality. V2 shares everything but the image embeddings and the attention modules. V3 lets
the class embeddings of a modality scale the channels of every block: a few vectors instead of a second encoder.
%%code
Image(figures / "figure1.png", width=1000)
%%text
## The External Attention Module

Class embeddings are queries, the decoder's feature map gives keys and values. The products are the semantic-aware
maps; from them come the auxiliary segmentation, the next scale's embeddings, and the correlations E between classes.
%%code
Image(figures / "figure2.png", width=900)
%%text
## Eq. 6-8 without the large array

As printed, every pair of classes has its own weighted maps of all heads. Since one gate weights all heads of a class
alike, the heads can be summed first. Both ways, on random numbers:
%%code
generator = np.random.default_rng(0)
classes, heads, positions = 5, 4, 60
maps = generator.normal(size=(classes, heads, positions))  # A
kernels = generator.normal(size=(classes, heads))  # K
similarity = np.einsum("in,jnp->ijp", kernels, maps)  # Eq. 6
gates = np.exp(similarity) / np.exp(similarity).sum(axis=1, keepdims=True)  # Eq. 7: over classes j
literal = np.array([
    [sum((gates[i, j] * maps[j, n]).sum() for n in range(heads)) / gates[i, j].sum() for j in range(classes)]
    for i in range(classes)
])
totals = maps.sum(axis=1)
fast = (gates * totals).sum(axis=-1) / gates.sum(axis=-1)
abs(literal - fast).max()
%%text
## The two backbones (Table 3)
%%code
table3 = pd.read_csv(root / "results/tables/table3.csv", keep_default_na=False)
table3.pivot(index="row", columns="backbone", values="ours").loc[table3["row"].unique()]
%%text
## What Ours has learned

One window of the first test case of each modality. If the consistency terms do their work, the correlations of CT and
MRI look alike and the cosines of the class embeddings rise.
%%code
display(Image(figures / "learned_abdomen.png", width=900), Image(figures / "learned_heart.png", width=900))
%%text
## Is the image consistency met without any correspondence?

Eq. 11 is zero too where the correlations softmax(E) are the same for every class and both modalities: then it holds
nothing together. For each scale of the runs above: the largest difference between the rows of two classes (0: all
classes alike), and between a row in CT and in MRI (0: Eq. 11 is met).
%%code
runs = $runs
found = []
for task, (arrays, history) in runs.items():
    last = pd.read_csv(root / history)["icr"].iloc[-1]
    with np.load(root / arrays) as learned:
        modalities = list(dict.fromkeys(name.split("/")[0] for name in learned))
        for scale in (1, 2, 3):
            shares = np.stack([np.exp(e - e.max(axis=1, keepdims=True))
                               for e in (learned[f"{m}/E{scale}"] for m in modalities)])
            shares /= shares.sum(axis=2, keepdims=True)
            found.append({"task": task, "scale": scale, "between classes": np.ptp(shares, axis=1).max(),
                          "between modalities": np.ptp(shares, axis=0).max(), "Eq. 11 at the last step": last})
found = pd.DataFrame(found)
found.round(4)
%%code
collapsed = found[found["between classes"] < 0.05]
print(f"{len(collapsed)} of {len(found)} scales: every class has the same row of softmax(E) (to 0.05), "
      "so the image consistency is met there without any correspondence between classes.")
%%text
## The temperature of the image consistency (Figure 5)
%%code
Image(figures / "figure5.png", width=560)
%%text
## Where the printed tables contradict themselves

Means and differences, computed again from the other printed cells. Rounding explains all others.
%%code
pd.read_csv(root / "results/tables/published_audit.csv")
"""

CONTRASTS = """
# $title

> **$warning**

Data: `$data`, scale: `$scale`, $count trainings, $splits splits. The rule of the verdicts follows from who is tested
where, not from scores.

The workflow wrote and ran this notebook; all below is drawn from the scores of every test case.
%%code
import json
import os
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import HTML

from ssc import matrix
from ssc.contrasts import contrast, design_of, paired
from ssc.results.figures import patients_differences
from ssc.results.tables import read_scores, train_cases

os.chdir(next(p for p in (Path.cwd(), *Path.cwd().parents) if (p / "results").is_dir()))
runs = matrix.table_runs("$table", "$data", "$scale", seeds=$seeds, folds=$folds)
table = matrix.tables()["$table"]
labels = {method: matrix.variants()[method].label for method in table.methods}
scores = read_scores(runs).query("grid == 'native'")
trained = [run for run in runs if not run.external]
commits = {json.loads((run.folder / "run.json").read_text("utf-8"))["commit"] for run in trained}
print(f"{len(trained)} trainings, commit {', '.join(sorted(commits))}")
%%text
## The verdicts
%%code
page = Path("results/tables/contrasts_$table.html").read_text("utf-8")
HTML(page.split("<body>")[1].split("</body>")[0])
%%text
## The same differences, from the scores

A patient's results in all splits count together; modalities weigh the same.
%%code
share = design_of(scores[scores["method"] == table.reference], train_cases(runs)).tested_share
found = {(a, b): contrast(paired(scores, a, b), share) for a, b in table.contrasts}
drawn = pd.DataFrame(
    {"contrast": f"{labels[a]} − {labels[b]}", "difference": f.difference, "low": f.low, "high": f.high}
    for (a, b), f in found.items()
)
kept = pd.read_csv("results/tables/contrasts_$table.csv").query("patients == 'all patients'")
print("largest distance to the table:", abs(drawn[["difference", "low", "high"]].values
                                          - kept[["difference", "low", "high"]].values).max())
drawn.round(2)
%%text
## Patient by patient

A dot is a patient, its difference the mean over its results; a line is the mean over patients, which one of them can
carry. Those far from all others have their names.
%%code
%matplotlib inline
patients_differences(table, scores, "all results of a patient together")
plt.show()
%%text
## The methods
%%code
page = Path("results/tables/$table.html").read_text("utf-8")
HTML(page.split("<body>")[1].split("</body>")[0])
%%text
## Whom every method fails

The patients with the lowest Dice, mean over methods, structures and splits.
%%code
dice = scores.groupby(["modality", "patient", "method"], sort=False)["dice"].mean().unstack("method")
dice.loc[dice.mean(axis=1).nsmallest(8).index, list(table.methods)].rename(columns=labels).round(1)
"""


def task_notebook(runs: Sequence[matrix.Run]) -> nbformat.NotebookNode:
    """The story of a task's main table for its runs, not yet executed."""
    first, task = runs[0], tasks()[runs[0].task]
    table = matrix.tables()[task.main_table]
    last, beside = runs[-1].variant, [run for run in runs if run.split == first.split and run.seed == first.seed]
    drawn = [run for run in beside if run.variant in (*CURVES, last)]
    shown, modality = drawn[-1], drawn[-1].modalities[0]
    case = shown.cases[modality]["test"][0]
    text = Template(TASK).substitute(
        title=task.title,
        heading=f"Table {table.published}" if table.published else table.title,
        structures=", ".join(structure.name.replace("_", " ") for structure in task.structures),
        table=table.name,
        task=task.name,
        method=matrix.variants()[last].label,
        warning=warning(first.data, task),
        data=first.data,
        scale=first.scale,
        split=first.split,
        count=len(runs),
        scan=case_file(shown.cases_folder(modality), case, "image"),
        labels=shown.predictions("test") / f"label_maps/{modality}_{case}.nii.gz",
        scores=_literal([f"{run.predictions('test')}/scores.csv" for run in runs if run.variant == last]),
        histories=_literal({matrix.variants()[run.variant].label: f"{run.folder}/history.csv" for run in drawn}),
    )
    return _notebook("%%text\n" + text.strip())


def method_notebook(data: str, runs: Sequence[matrix.Run]) -> nbformat.NotebookNode:
    """The method in pictures, not yet executed. ``runs``: of Ours, one a task, that the figures are from."""
    learned = {run.task: [f"results/learned/{run.key}.npz", f"{run.folder}/history.csv"] for run in runs}
    marked = warning(data, *(tasks()[run.task] for run in runs))
    text = Template(METHOD).substitute(warning=marked, runs=_literal(learned))
    return _notebook("%%text\n" + text.strip())


def contrasts_notebook(
    table: matrix.Table, runs: Sequence[matrix.Run], seeds: Sequence[int], folds: Sequence[int] | None
) -> nbformat.NotebookNode:
    """The contrasts of a table, drawn from its scores; not yet executed. ``seeds``, ``folds``: as configured."""
    first = runs[0]
    text = Template(CONTRASTS).substitute(
        title=table.title,
        warning=warning(first.data, tasks()[table.task]),
        data=first.data,
        scale=first.scale,
        task=table.task,
        table=table.name,
        count=len(runs),
        splits=len({run.split for run in runs}),
        seeds=list(seeds),
        folds=folds,
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


def _literal(value: list[str] | dict[str, Any]) -> str:
    """A Python literal, one entry a line (that of JSON, for strings)."""
    return json.dumps(value, indent=4)
