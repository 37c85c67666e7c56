"""The results browser: tables, patients, cases and trainings on one page, from files that exist. No torch.

``index.html`` and ``files/`` beside it work from a disk and from any server, and ask no network for anything.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any, Literal

import numpy as np
import pandas as pd
import SimpleITK as sitk

from ssc import matrix
from ssc.data.preprocess import case_file, read_case
from ssc.errors import RunError
from ssc.results import viewer
from ssc.results.tables import DIGITS, MORE_DIGITS, label_of, read_table, warning
from ssc.statistics import METRICS, MORE_METRICS
from ssc.tasks import FOLDER, tasks
from ssc.whole import whole

Scans = Literal["none", "cases"]
CELL = [
    "method", "modality", "structure", "metric", "grid", "mean", "low", "high", "n", "patients", "missed",
    "difference", "difference_low", "difference_high", "verdict", "published_mean", "data", "scale", "splits", "seed",
]  # fmt: skip
RECORD = ("commit", "seconds", "steps", "parameters", "device", "init", "correspondence")


@dataclass(frozen=True)
class Found:
    """What of the workflow's results lies in a folder."""

    tables: list[Path]
    runs: list[matrix.Run]  # with test scores

    @classmethod
    def below(cls, results: Path) -> Found:
        """All tables of scores, and all runs that were scored. Of runs that the matrix no longer knows: nothing."""
        tables = [results / f"tables/{name}.csv" for name in matrix.tables()]
        scores = [p for top in ("predictions", "external") for p in results.glob(f"{top}/*/*/*/*/*/*/test/scores.csv")]
        return cls([path for path in tables if path.is_file()], list(_known(sorted(scores))))

    def files(self, results: Path) -> Iterator[Path]:
        """Every file that decides what the page shows."""
        yield from (*self.tables, *sorted(viewer.PAGE.iterdir()), *sorted(FOLDER.glob("*.yaml")))
        for run in self.runs:
            record = _record(run, results)
            learned = results / "learned" / f"{run.key}.npz"
            files = (_scores(run, results), record / "run.json", record / "history.csv", learned)
            yield from (path for path in files if path.is_file())
            yield from sorted((_scores(run, results).parent / "label_maps").glob("*.nii.gz"))
        folders = {run.cases_folder(m).relative_to("results") for run in self.runs for m in run.modalities}
        yield from (path for f in sorted(folders) for path in sorted((results / f / "files").glob("*.nii.gz")))


def _known(scores: Iterable[Path]) -> Iterator[matrix.Run]:
    for path in scores:
        try:
            yield matrix.Run.from_key(str(path.parent.parent))
        except RunError:
            continue


def _scores(run: matrix.Run, results: Path) -> Path:
    return results / run.predictions("test").relative_to("results") / "scores.csv"


def _record(run: matrix.Run, results: Path) -> Path:
    return results / run.folder.relative_to("results")


def write_browser(page: Path, files: Path, scans: Scans, results: Path = Path("results")) -> None:
    """The page, and what it loads. ``scans``: whether real scans go with it; phantoms always do.

    Raises UserError where a library of the extra ``browser`` is not installed.
    """
    files.mkdir(parents=True, exist_ok=True)
    scripts = {"niivue.js": viewer.library("niivue"), "tables.js": viewer.library("tables"),
               "plotly.js": viewer.library("plotly"),
               **{name: viewer.page_part(name) for name in ("viewer.js", "scores.js", "browser.js")}}  # fmt: skip
    found = Found.below(results)
    volumes = {}
    for number, (name, text) in enumerate(_volumes(found.runs, scans, results)):
        volumes[name] = f"case_{number}.js"
        _write(files / volumes[name], text)
    for name, text in scripts.items():
        _write(files / name, text)
    _write(files / "tables.css", viewer.package_file("itables", "html/dt_bundle.css").read_text("utf-8"))
    _write(files / "browser.css", viewer.page_part("browser.css"))
    _write(files / "data.js", f"const results = {viewer.as_json(_data(found, volumes, results))};\n")
    warnings = "".join(f'<p class="warning">{html.escape(text)}</p>' for text in _warnings(found.runs, volumes))
    _write(
        page, Template(viewer.page_part("browser.html")).substitute(warnings=warnings, files=html.escape(files.name))
    )


def _write(path: Path, text: str) -> None:
    with whole(path) as partial:
        partial.write_text(text, "utf-8")


def _warnings(runs: Sequence[matrix.Run], volumes: Iterable[str]) -> list[str]:
    """What stands above everything: where the data are from, and on what terms real volumes may be shown."""
    kinds = {(run.data, run.task) for run in runs}
    lines = list(dict.fromkeys(warning(data, tasks()[task]) for data, task in sorted(kinds)))
    held = sorted({tuple(name.split("/")[2:4]) for name in volumes if name.startswith("real/")})
    if held:
        for task, modality in held:
            row = tasks()[task].modalities[modality]
            lines.append(f"{tasks()[task].source(modality)}: {row.terms or 'its terms are not known here'}")
        lines.append(
            "This page holds scans or label maps of patients: see that their terms allow it before you hand it on."
        )
    return lines


def _data(found: Found, volumes: dict[str, str], results: Path) -> dict[str, Any]:
    """Everything but volumes, as the page's scripts read it."""
    of_tables = {name: table for name, table in matrix.tables().items() if name in {p.stem for p in found.tables}}
    trained = {run.variant for run in found.runs}
    labels = {**METRICS, **MORE_METRICS}
    named = {"dice": "Dice (%)", "asd": "ASD (mm)", **{name: label for name, (label, _) in MORE_DIGITS.items()}}
    digits = {**DIGITS, **{name: number for name, (_, number) in MORE_DIGITS.items()}}
    return {
        "tasks": {
            name: {"title": task.title, "modalities": list(task.modalities),
                   "structures": viewer.structures_of(task.structures), "patients": task.patients}
            for name, task in tasks().items()
        },
        "methods": {name: row.label for name, row in matrix.variants().items() if name in trained},
        "metrics": [{"name": n, "label": named[n], "column": c, "digits": digits[n]} for n, c in labels.items()],
        "tables": [_table(of_tables[path.stem], path) for path in found.tables],
        "runs": [_run(run, results) for run in found.runs],
        "scores": _all_scores(found.runs, results),
        "volumes": volumes,
    }  # fmt: skip


def _table(table: matrix.Table, path: Path) -> dict[str, Any]:
    rows = read_table(path)
    cells = rows[[column for column in CELL if column in rows]]
    return {"name": table.name, "title": table.title, "task": table.task, "reference": table.reference,
            "labels": {method: label_of(table, method) for method in table.methods},
            "columns": list(cells), "rows": _plain(cells)}  # fmt: skip


def _run(run: matrix.Run, results: Path) -> dict[str, Any]:
    """A run with its configured seed, its record and its training's history."""
    folder = _record(run, results)
    record = json.loads((folder / "run.json").read_text("utf-8")) if (folder / "run.json").is_file() else {}
    made = {"key": run.key, "data": run.data, "scale": run.scale, "task": run.task, "split": run.split,
            "seed": run.configured_seed, "method": run.variant, "modalities": run.modalities,
            **{name: record.get(name) for name in RECORD}}  # fmt: skip
    if (folder / "history.csv").is_file():
        history = pd.read_csv(folder / "history.csv").set_index("step").map(lambda x: float(f"{x:.4g}")).reset_index()
        made["history"] = {"columns": list(history), "rows": _plain(history)}
    learned = results / "learned" / f"{run.key}.npz"
    if learned.is_file():
        with np.load(learned) as arrays:
            made["phi"] = {m: arrays[f"{m}/phi"].tolist() for m in run.modalities if f"{m}/phi" in arrays}
    return made


def _all_scores(runs: Sequence[matrix.Run], results: Path) -> dict[str, Any]:
    """All runs' scores of single cases; a run is its place in the list of runs."""
    columns = ["modality", "case", "grid", "structure", "status", *dict.fromkeys((METRICS | MORE_METRICS).values())]
    frames = []
    for number, run in enumerate(runs):
        scores = pd.read_csv(_scores(run, results), dtype={"case": str}).reindex(columns=["run", *columns])
        if scores["volume_difference_ml"].notna().any():
            scores["volume_difference_abs_ml"] = scores["volume_difference_ml"].abs()
        frames.append(scores.assign(run=number))
    everything = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["run", *columns])
    return {"columns": list(everything), "rows": _plain(everything.round(3))}


def _plain(frame: pd.DataFrame) -> list[list[Any]]:
    """Rows without NaN, which JSON does not know."""
    return [[None if pd.isna(x) else x for x in row] for row in frame.astype(object).to_numpy().tolist()]


def _volumes(runs: Sequence[matrix.Run], scans: Scans, results: Path) -> Iterator[tuple[str, str]]:
    """Every test case whose preprocessed case is here, and a script with its volumes."""
    cases: dict[tuple[Path, str, str], list[matrix.Run]] = {}
    for run in runs:
        for modality in run.modalities:
            for case in run.cases[modality]["test"]:
                cases.setdefault((run.cases_folder(modality), modality, case), []).append(run)
    for (folder, modality, case), of_case in cases.items():
        place = results / folder.relative_to("results")
        if not case_file(place, case, "label").is_file():
            continue
        image, truth = read_case(place, case)
        maps = {}
        for run in of_case:
            path = _scores(run, results).parent / "label_maps" / f"{modality}_{case}.nii.gz"
            if path.is_file():
                maps[run.key] = viewer.label_text(sitk.ReadImage(str(path)), image)
        name = f"{run.data}/{run.scale}/{run.task}/{modality}/{case}"
        shown = run.data == "phantom" or scans == "cases"
        volumes = {"scan": viewer.image_text(image) if shown else None,
                   "truth": viewer.label_text(truth, image), "maps": maps}  # fmt: skip
        yield name, f"loaded({viewer.as_json(name)}, {viewer.as_json(volumes)});\n"
