"""Volumes for a web page: NiiVue as a plain script, images as text, and a page of one scan. No torch.

Under ``file://`` a browser neither fetches nor loads modules: everything is a script or lies in the page itself.
"""

from __future__ import annotations

import base64
import html
import importlib.util
import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import SimpleITK as sitk

from ssc.data.nifti import read_nifti
from ssc.data.reading import read_image
from ssc.data.scan import check_same_geometry, map_labels
from ssc.errors import DataError, UserError
from ssc.proposal import COLOURS
from ssc.tasks import Structure, Task

PAGE = Path(__file__).with_name("page")
# Where the libraries' wheels hold what a browser runs, and what is to be read from a module that exports it.
LIBRARIES = {
    "niivue": ("ipyniivue", "static/widget.js", r'"Creating new Niivue instance"\).*?=new (\w+)\(', "Niivue"),
    "tables": ("itables", "html/dt_bundle.js", r"(\w+) as default", "DataTable"),
    "plotly": ("plotly", "package_data/plotly.min.js", None, None),
}


def library(name: str) -> str:
    """A library as a plain script, which sets its class as a global name. Raises UserError where it is not there."""
    package, file, pattern, target = LIBRARIES[name]
    path = package_file(package, file)
    text = path.read_text("utf-8")
    if pattern is None:
        return text
    found, exports = re.search(pattern, text), list(re.finditer(r"export ?\{[^}]*\};?", text))
    if not found or not exports:
        raise UserError(f"{path}: this version's code is unknown; install the Makefile's: make browser")
    last = exports[-1]
    return f"(() => {{{text[: last.start()]}{text[last.end() :]}\nglobalThis.{target} = {found[1]};}})();\n"


def package_file(package: str, file: str) -> Path:
    """A file of an installed package. Raises UserError where it is not installed."""
    found = importlib.util.find_spec(package)
    if found is None:
        raise UserError(
            f"the viewer needs {package}, which is not installed: pip install {package} (make browser does)"
        )
    return Path(found.origin).parent / file


def as_json(value: Any) -> str:
    """JSON that a script element may hold: no text in it can end the element."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def image_text(image: sitk.Image) -> str:
    """A scan in 256 grey values between its percentiles 0.1 and 99.9, as .nii.gz in base64."""
    array = sitk.GetArrayViewFromImage(image)
    low, high = np.percentile(array, (0.1, 99.9))
    grey = np.round((array - low) / max(high - low, 1e-6) * 255).clip(0, 255).astype(np.uint8)
    return _text(_like(grey, image))


def label_text(labels: sitk.Image, grid: sitk.Image) -> str:
    """A label map on the grid of an image (nearest voxel), as .nii.gz in base64."""
    moved = sitk.Resample(labels, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
    return _text(moved)


def _like(array: np.ndarray, image: sitk.Image) -> sitk.Image:
    made = sitk.GetImageFromArray(array)
    made.CopyInformation(image)
    return made


def _text(image: sitk.Image) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "volume.nii.gz"
        sitk.WriteImage(image, str(path), useCompression=True)
        return base64.b64encode(path.read_bytes()).decode()


def structures_of(structures: Sequence[Structure]) -> list[dict[str, str]]:
    """Names and colours that can be told apart by everybody."""
    return [{"name": s.name, "label": s.label, "colour": s.outline} for s in structures]


def view(labels: Path, scan: Path, truth: Path | None, task: Task | None, modality: str | None) -> str:
    """A page of a scan with its label map, and the true one. Raises DataError for files that don't fit together.

    ``task``: whose structures the label map's values are; then ``truth`` has the values of its scans of ``modality``.
    Without a task both have the same values.
    """
    image = read_image(scan).image
    maps = {"prediction": _labels(labels, image)}
    if truth:
        maps["truth"] = _labels(truth, image, task.values(modality) if task else None)
    return view_page(f"{labels.name} on {scan.name}", image, maps, structures_of(task.structures) if task else [])


def _labels(path: Path, scan: sitk.Image, values: list[tuple[int, int]] | None = None) -> sitk.Image:
    """A label map of a scan; ``values``: first and last value there of our labels 1, 2, …, if they are not the same."""
    given = read_nifti(path).image
    check_same_geometry(scan, given, str(path))
    array = sitk.GetArrayViewFromImage(given)
    values = values or [(value, value) for value in range(1, min(255, round(float(array.max()))) + 1)]
    return _like(map_labels(array, values, str(path), [(0, 255)]), given)


def view_page(title: str, scan: sitk.Image, maps: Mapping[str, sitk.Image], structures: list[dict[str, str]]) -> str:
    """One page, complete in itself: a scan and label maps of it by name.

    ``structures``: of the values 1, 2, …; values beyond them get numbers as names. Raises DataError where nothing is
    labelled, or with more than 255 values.
    """
    highest = max(int(sitk.GetArrayViewFromImage(labels).max()) for labels in maps.values())
    if not 1 <= highest <= 255:
        raise DataError(f"{title}: the highest label is {highest}, expected 1 to 255")
    beyond = range(len(structures) + 1, highest + 1)
    named = [*structures, *({"label": f"label {n}", "colour": COLOURS[(n - 1) % len(COLOURS)]} for n in beyond)]
    volumes = {
        "scan": image_text(scan),
        "layers": [{"name": name, "data": label_text(labels, scan)} for name, labels in maps.items()],
    }
    scripts = [library("niivue"), page_part("viewer.js"), f"const shown = {as_json({'structures': named, **volumes})};",
               page_part("view.js")]  # fmt: skip
    return Template(page_part("view.html")).substitute(
        title=html.escape(title),
        style=page_part("browser.css"),
        scripts="\n".join(f"<script>{text}</script>" for text in scripts),
    )


def widget(scan: Path, labels: Path, structures: list[dict[str, str]]) -> Any:
    """The viewer in JupyterLab, of two NIfTI files. Elsewhere, or without the extra ``browser``, a sentence."""
    if "JPY_SESSION_NAME" not in os.environ:  # which Jupyter's server sets: a widget lives in a session only
        return "Run this cell in JupyterLab to look at the case slice by slice."
    try:
        from ipyniivue import LUT, NiiVue
    except ImportError:
        return "The viewer needs a library: pip install ipyniivue (make browser does); then run this cell again."
    colours = np.zeros((len(structures) + 1, 4), int)  # the background's cannot be seen
    colours[1:] = [[*bytes.fromhex(structure["colour"][1:]), 255] for structure in structures]
    names = ["", *(structure["label"] for structure in structures)]
    table = LUT(lut=colours.ravel().tolist(), min=0, max=len(structures), labels=names)
    viewer = NiiVue(height=480, is_radiological_convention=True)
    viewer.load_volumes([{"path": scan}, {"path": labels, "colormap_label": table, "opacity": 0.6}])
    return viewer


def page_part(name: str) -> str:
    """A file of this project's own pages."""
    return (PAGE / name).read_text("utf-8")
