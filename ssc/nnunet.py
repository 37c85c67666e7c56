"""Our cases and splits as a data set of nnU-Net v2, so that it can be trained on the very same patients.

Test cases go into ``imagesTs`` alone: what plans there reads all of ``imagesTr``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import SimpleITK as sitk

from ssc import matrix
from ssc.data import phantoms
from ssc.data.preprocess import read_case
from ssc.data.sources import source
from ssc.data.writing import write_image
from ssc.errors import DataError
from ssc.tasks import tasks
from ssc.whole import whole

Kind = Literal["cases", "raw"]
CHANNEL = {"cases": "noNorm", "raw": "zscore"}  # its normalisation: none, or each image's own
REORIENTS = "NibabelIOWithReorient"  # scans point in many directions; its default reader keeps them


def export(
    run: matrix.Run,
    kind: Kind,
    out: Path,
    raw: Mapping[str, Path],
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> None:
    """Write the split of a run as ``out/imagesTr, labelsTr, imagesTs, dataset.json, splits_final.json``.

    'cases': preprocessed pairs; 'raw': the scans in their own geometry; both with our label values. A case is named
    ``MODALITY_CASE``. The folder appears whole or not at all. Raises DataError where ``out`` holds files,
    MissingDataError where cases are not made yet.
    """
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: a file, expected an empty folder or none. Name another.")
    if out.is_dir() and any(out.iterdir()):
        raise DataError(f"{out}: holds files already, expected it empty or absent. Remove it first.")
    partial = out.with_name(f".part-{out.name}")
    shutil.rmtree(partial, ignore_errors=True)  # of an export that was stopped
    _write_split(run, kind, partial, raw, progress)
    partial.replace(out)


def _write_split(
    run: matrix.Run,
    kind: Kind,
    out: Path,
    raw: Mapping[str, Path],
    progress: Callable[[Iterable[Any]], Iterable[Any]],
) -> None:
    task, named = tasks()[run.task], {"train": [], "validation": []}
    wanted = [(m, part, case) for m in run.modalities for part, ids in run.cases[m].items() for case in ids]
    for modality, part, case in progress(wanted):
        image, label = _pair(run, kind, modality, case, raw)
        name, folder = f"{modality}_{case}", "imagesTs" if part == "test" else "imagesTr"
        write_image(image, out / folder / f"{name}_0000.nii.gz")
        if part != "test":
            write_image(label, out / "labelsTr" / f"{name}.nii.gz")
            named[part].append(name)
    values = {"background": 0, **{s.name: value for value, s in enumerate(task.structures, start=1)}}
    reader = {"overwrite_image_reader_writer": REORIENTS} if kind == "raw" else {}
    description = {
        "channel_names": {"0": CHANNEL[kind]},
        "labels": values,
        "numTraining": len(named["train"]) + len(named["validation"]),
        "file_ending": ".nii.gz",
        **reader,
    }
    _write(out / "splits_final.json", [{"train": named["train"], "val": named["validation"]}])
    _write(out / "dataset.json", description)


def _pair(
    run: matrix.Run, kind: Kind, modality: str, case: str, raw: Mapping[str, Path]
) -> tuple[sitk.Image, sitk.Image]:
    task = tasks()[run.task]
    if kind == "raw":
        if run.data == "phantom":
            phantoms.ensure(task.source(modality), raw[modality])
        scan = source(task.source(modality)).read(raw[modality], case, task.values(modality))
        return scan.image, scan.label
    return read_case(run.cases_folder(modality), case)


def _write(path: Path, content: Any) -> None:
    with whole(path) as partial:
        partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
