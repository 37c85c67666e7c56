"""A task proposed from folders of labelled scans: structures, grid, intensities, steps, splits, a table, and why.

What is written must train as it stands, and is the user's to change.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import yaml

from ssc import matrix
from ssc.data.nifti import ENDINGS, read_nifti
from ssc.data.preprocess import body_box
from ssc.data.scan import LABEL_ROUNDING, Scan
from ssc.data.sources.layouts import Description, dataset_json, of_modality, only, read_amos, read_msd, read_nnunet
from ssc.data.sources.nifti_pairs import of_patterns
from ssc.data.splits import fold_splits, given_splits, splits_yaml
from ssc.errors import DataError, MissingDataError, SettingsError
from ssc.settings import nearest
from ssc.tasks import FOLDER, Intensity, Modality, natural, read_task, sources
from ssc.whole import whole

PLANE, SMOKE_PLANE = 96, 64  # multiples of 32, which every backbone takes
METHODS = ("joint_plain", "joint_v2", "ours")
HOUNSFIELD_AIR = -500  # what has values below is CT
SMALL_STRUCTURE = 0.2  # of the largest one's volume: drawn twice as often
# Colour-blind-safe (Okabe and Ito), then fainter ones; outlines are a shade darker.
COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#999999")
OUTLINES = ("#b37a00", "#2f86b8", "#00704f", "#b8ab14", "#004f80", "#9c4400", "#a14f7f", "#666666")


@dataclass(frozen=True)
class Wish:
    """What the user said of one modality: its folder, and its cases' ids as globs."""

    folder: str
    cases: tuple[str, ...] = ("*",)


@dataclass(frozen=True)
class Seen:
    """What one case's files hold, in the task's orientation unless said."""

    slices_along: str  # the patient's axis of the largest spacing: R, A or S
    spacing_mm: dict[str, float]  # by axis of the patient
    extent_mm: dict[str, float]
    body_mm: dict[str, float]
    volumes_ml: tuple[float, ...]  # by structure
    window: tuple[float, float]  # 0.5 and 99.5 percentile inside the structures


def wishes_of(scans: Sequence[str], cases: Sequence[str]) -> dict[str, Wish]:
    """Of every MODALITY=FOLDER and MODALITY=IDS, as they are typed. Raises SettingsError, DataError."""
    folders = assigned(scans, "MODALITY=FOLDER")
    picked = [_named(word, "MODALITY=IDS") for word in cases]
    for modality, _ in picked:
        if modality not in folders:
            raise SettingsError(f"--cases {modality}: no such modality; {nearest(modality, folders)}")
    ids = {modality: [case for name, text in picked if name == modality for case in _ids(text)] for modality in folders}
    return {modality: Wish(folder, tuple(ids[modality]) or ("*",)) for modality, folder in folders.items()}


def assigned(words: Sequence[str], expected: str) -> dict[str, str]:
    """NAME=TEXT, each name once. Raises SettingsError."""
    pairs = [_named(word, expected) for word in words]
    twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if twice:
        raise SettingsError(f"{twice[0]}: given {expected} twice")
    return dict(pairs)


def _named(word: str, expected: str) -> tuple[str, str]:
    name, found, text = word.partition("=")
    if not (found and name and text):
        raise SettingsError(f"{word}: expected {expected}")
    return name, text


def _ids(text: str) -> list[str]:
    if not text.startswith("@"):
        return text.split(",")
    parts = re.fullmatch(r"@(.+?\.csv):([^=]+)=(.*)", text)
    if not parts:
        raise SettingsError(f"{text}: expected @FILE.csv:COLUMN=VALUE")
    path, column, value = parts.groups()
    found = [row["case"] for row in _csv_rows(Path(path), column) if row[column] == value]
    if not found:
        raise DataError(f"{path}: no row has {value} in its column {column}")
    return found


def _csv_rows(path: Path, column: str) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except UnicodeDecodeError:
        raise DataError(f"{path}: not in UTF-8. Save it again so.") from None
    found = list(rows[0]) if rows else []
    if not {"case", column} <= set(found):
        raise DataError(f"{path}: expected the columns case and {column}, found {', '.join(found) or 'none'}")
    return rows


def read_patients(path: Path) -> dict[str, str]:
    """Case -> patient, from a CSV file with these two columns. Raises DataError."""
    rows = _csv_rows(path, "patient")
    twice = [case for case, count in Counter(row["case"] for row in rows).items() if count > 1]
    if twice:
        raise DataError(f"{path}: case {twice[0]} stands there twice")
    return {row["case"]: row["patient"] for row in rows}


def _check_patients(patients: Mapping[str, str], cases: dict[str, list[str]]) -> None:
    """That a list of patients is of these cases, all of them: an id that was changed would part a patient's scans."""
    known = {case for ids in cases.values() for case in ids}
    for what, odd in (("is no case", set(patients) - known), ("has no patient there", known - set(patients))):
        if odd:
            raise DataError(
                f"--patients: {sorted(odd, key=natural)[0]} {what}; expected every case, as its file is named"
            )


def propose(
    name: str,
    wishes: Mapping[str, Wish],
    backbones: Sequence[str],
    folds: int | None = None,
    repeats: int | None = None,
    layout: str | None = None,
    patterns: tuple[str, str] | None = None,
    structures: Sequence[str] = (),
    splits: Path | None = None,
    test: Sequence[str] = (),
    patients: Mapping[str, str] | None = None,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Path:
    """Look at every case, then write ``config/tasks/NAME.yaml``. Raises DataError or SettingsError, and writes nothing.

    ``patterns``: of image and label map, with ``{case}``, where the layout is pairs. ``structures``: names that are in
    the folders' dataset.json, or NAME=VALUE. ``folds``, ``repeats``: 5 and 1, unless said. ``splits``: instead of
    them, nnU-Net's splits_final.json or a datalist with folds; ``test``: cases for the test part of each of its folds.
    ``patients``: case -> patient.
    """
    path = FOLDER / f"{name}.yaml"
    _check_names(name, wishes, backbones, path)
    if splits and (folds or repeats):
        raise SettingsError("--folds and --repeats draw splits: leave them out with --splits")
    folds, repeats = 5 if folds is None else folds, 1 if repeats is None else repeats
    if folds < 2 or repeats < 1:
        raise SettingsError(f"{folds} folds, {repeats} repeats: expected at least two and one")
    if test and not splits:
        raise SettingsError("--test names the test part of folds that are given: it needs --splits")
    found = {modality: _detect(modality, wish, layout, patterns) for modality, wish in wishes.items()}
    values = _structures({modality: description for modality, (_, description) in found.items()}, structures)
    modalities = {modality: chosen for modality, (chosen, _) in found.items()}
    seen = {modality: _look(name, modality, modalities[modality], values, progress) for modality in modalities}
    cases = {modality: list(of_case) for modality, of_case in seen.items()}
    if patients:
        _check_patients(patients, cases)
    if splits:
        parts = given_splits(splits, cases, test, patients or {})
    else:
        parts = fold_splits(cases, folds, repeats, patients)
    text = _text(name, wishes, modalities, values, seen, backbones, parts, patients or {})
    with whole(path) as partial:
        partial.write_text(text, "utf-8")
        read_task(partial, name)
    return path


def _check_names(name: str, wishes: Mapping[str, Wish], backbones: Sequence[str], path: Path) -> None:
    for word in (name, *wishes):
        if not re.fullmatch("[a-z][a-z0-9_]*", word):
            raise SettingsError(f"'{word}': names are small letters, digits and _, and begin with a letter")
        if word in ("overall", "mean") or yaml.safe_load(word) != word:
            raise SettingsError(f"'{word}': a word of tables or of YAML; choose another")
    if path.exists():
        raise SettingsError(f"{path}: is there already; edit it, or remove it first")
    taken = [f"{name}_{modality}" for modality in wishes if f"{name}_{modality}" in sources()]
    if taken:
        raise SettingsError(f"'{taken[0]}': other scans have this name; choose another for the task")
    if name in matrix.tables() or matrix.OTHER_FILES.fullmatch(name):
        raise SettingsError(f"'{name}': a table, or another file of results, has this name; choose another")
    if len(wishes) < 2:
        raise SettingsError("expected at least two modalities, each as NAME=FOLDER")
    for backbone in backbones:
        if backbone not in matrix.backbones():
            raise SettingsError(f"backbone '{backbone}'; {nearest(backbone, matrix.backbones())}")
    for method in _methods(backbones):
        if method not in matrix.variants():
            raise SettingsError(f"variant '{method}' is missing in config/matrix.yaml; add {{ like: …, backbone: … }}")


def _methods(backbones: Sequence[str]) -> list[str]:
    """The proposed table's methods: those of the task's backbone, then of the others."""
    return [*METHODS, *(f"{method}_{backbone}" for backbone in backbones[1:] for method in METHODS)]


# What lies in the folders


def _detect(
    modality: str, wish: Wish, layout: str | None, patterns: tuple[str, str] | None
) -> tuple[Modality, Description]:
    folder = Path(wish.folder).expanduser()
    if not folder.is_dir():
        raise MissingDataError(f"{modality}: {folder} is no folder. Expected labelled scans there.")
    layout = layout or ("pairs" if patterns else _layout_of(folder))
    kind = "ct" if modality.startswith("ct") else "mr"
    images = labels = None
    if layout == "pairs":
        images, labels = patterns or _patterns_of(folder)
        description = Description({}, "", of_patterns(folder, images, labels))
    else:
        read = {"nnunet": read_nnunet, "msd": read_msd, "amos": lambda top: read_amos(top, kind)}
        description = read[layout](folder)
    for case in wish.cases:
        if case not in description.pairs and not any(sign in case for sign in "*?["):
            raise DataError(f"{modality}: {folder} has no case {case}")
    description = replace(description, pairs=only(description.pairs, wish.cases))
    if layout != "amos":
        kind = "ct" if _is_ct(description) else "mr"
    accepted = sorted(set(description.label_values.values())) or _values_in(description)
    chosen = Modality(
        kind=kind,
        layout=layout,
        folder=wish.folder,
        images=images,
        labels=labels,
        cases=wish.cases,
        label_values=_ranges(accepted) or None,
        intensity=Intensity(clip=(0.5, 99.5), unit="percentile_of_nonzero", z_score="box"),  # until scans were seen
    )
    return chosen, description


def _ranges(values: list[int]) -> tuple[tuple[int, int], ...]:
    """First and last of every run of consecutive values."""
    starts = [value for value in values if value - 1 not in values]
    ends = [value for value in values if value + 1 not in values]
    return tuple(zip(starts, ends, strict=True))


def _layout_of(folder: Path) -> str:
    if not (folder / "dataset.json").is_file():
        if list(folder.glob("imagesTr/*_0000.nii*")):
            raise MissingDataError(
                f"{folder}: imagesTr is nnU-Net's, but there is no dataset.json. Expected one with the labels' names."
            )
        return "pairs"
    content = dataset_json(folder)
    if "channel_names" in content:
        return "nnunet"
    names = [Path(row["image"]).name for row in content.get("training", []) if isinstance(row, dict) and "image" in row]
    return "amos" if names and all(name.startswith("amos_") for name in names) else "msd"


def _patterns_of(folder: Path) -> tuple[str, str]:
    """Of plain pairs: the two folders whose files have the same names. Raises DataError where that is not so."""
    folders = [entry for entry in sorted(folder.iterdir()) if entry.is_dir() and _nifti(entry)]
    if len(folders) != 2:
        names = ", ".join(entry.name for entry in folders) or "none"
        raise DataError(
            f"{folder}: folders with NIfTI files: {names}; expected two, of images and of label maps. Or name the "
            f"files: --images 'images/{{case}}.nii.gz' --labels 'labels/{{case}}.nii.gz'."
        )
    words = ("lab", "seg", "mask", "truth", "gt")
    labelled = [entry for entry in folders if any(word in entry.name.lower() for word in words)]
    if len(labelled) != 1:
        raise DataError(f"{folder}: which of {folders[0].name} and {folders[1].name} holds label maps? Give --labels.")
    (labels,) = labelled
    (images,) = (entry for entry in folders if entry is not labels)
    endings = {ending for entry in folders for name in _nifti(entry) for ending in [_ending(name)]}
    if len(endings) != 1:
        raise DataError(f"{folder}: files end in {' and '.join(sorted(endings))}, expected one ending for all.")
    (ending,) = endings
    return f"{images.name}/{{case}}{ending}", f"{labels.name}/{{case}}{ending}"


def _nifti(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir() if file.name.endswith(ENDINGS) and not file.name.startswith(".")]


def _ending(name: str) -> str:
    return next(ending for ending in ENDINGS if name.endswith(ending))


def _is_ct(description: Description) -> bool:
    """By its channel's name where that says so, else by the values of a first scan: air in Hounsfield units."""
    if description.channel.lower() == "ct":
        return True
    if description.channel.lower().startswith("mr"):
        return False
    images = [image for _, (image, _) in sorted(description.pairs.items()) if image.is_file()]
    return bool(images) and float(sitk.GetArrayFromImage(read_nifti(images[0]).image).min()) < HOUNSFIELD_AIR


Values = dict[str, dict[str, int]]  # structure -> modality -> value


def _structures(found: dict[str, Description], wanted: Sequence[str]) -> Values:
    """The structures that all modalities name, or those wanted; unnamed label values get names of their own."""
    named = {modality: dict(description.label_values) for modality, description in found.items()}
    given = _given_values(wanted)
    for modality, description in found.items():
        if not named[modality]:
            named[modality] = given or {f"structure_{v}": v for v in _values_in(description) if v}
        if "ignore" in named[modality]:
            raise DataError(f"{modality}: dataset.json has a label 'ignore', which this workflow cannot leave out")
        for structure, value in given.items():
            if named[modality].get(structure, value) != value:
                raise DataError(
                    f"{modality}: --structures has {structure}={value}, dataset.json {named[modality][structure]}"
                )
    shared = [
        structure
        for structure, value in next(iter(named.values())).items()
        if value and all(structure in of_one for of_one in named.values())
    ]
    asked = [word.partition("=")[0] for word in wanted]
    for structure in asked:
        if structure not in shared:
            raise DataError(f"structure '{structure}' is not in every modality; {nearest(structure, shared)}")
    if not (asked or shared):
        each = "; ".join(f"{modality}: {', '.join(names)}" for modality, names in named.items())
        raise DataError(f"no structure is named in every modality ({each}). Give --structures NAME=VALUE …")
    return {
        structure: {modality: of_one[structure] for modality, of_one in named.items()} for structure in asked or shared
    }


def _given_values(wanted: Sequence[str]) -> dict[str, int]:
    """NAME=VALUE of the structures wanted. Raises SettingsError."""
    pairs = [word.partition("=") for word in wanted if "=" in word]
    for name, _, value in pairs:
        if not (name and value.isdecimal()):
            raise SettingsError(f"--structures {name}={value}: expected NAME or NAME=VALUE")
    return {name: int(value) for name, _, value in pairs}


def _values_in(description: Description) -> list[int]:
    """The whole numbers that label maps hold, in order."""
    found: set[int] = set()
    for _, label in description.pairs.values():
        if label.is_file():
            values = np.unique(sitk.GetArrayFromImage(read_nifti(label).image))
            found.update(int(v) for v in np.round(values[abs(values - np.round(values)) <= LABEL_ROUNDING]))
    return sorted(found)


def _look(
    name: str,
    modality: str,
    chosen: Modality,
    values: Values,
    progress: Callable[[Iterable[str]], Iterable[str]],
) -> dict[str, Seen]:
    """Every case of a modality, read with the checks that training relies on. Raises DataError at the first fault."""
    source, folder = of_modality(f"{name}_{modality}", chosen), Path(chosen.folder).expanduser()
    ranges = [(of_each[modality], of_each[modality]) for of_each in values.values()]
    seen = {case: _see(source.read(folder, case, ranges), len(values)) for case in progress(source.cases(folder))}
    for place, structure in enumerate(values):
        if not any(one.volumes_ml[place] for one in seen.values()):
            raise DataError(
                f"{modality}: no label map of {folder} holds {structure} ({values[structure][modality]}), expected it "
                f"in some. Leave it out: --structures with the others."
            )
    return seen


def _see(scan: Scan, structures: int) -> Seen:
    image, label = (sitk.DICOMOrient(x, "RAS") for x in (scan.image, scan.label))
    spacing = dict(zip("RAS", image.GetSpacing(), strict=True))
    extent = {axis: n * mm for (axis, mm), n in zip(spacing.items(), image.GetSize(), strict=True)}
    _, size = body_box(image)
    array, labels = sitk.GetArrayViewFromImage(image), sitk.GetArrayViewFromImage(label)
    counts = np.bincount(labels.ravel(), minlength=structures + 1)[1:]
    coarsest = max(spacing, key=spacing.get)
    return Seen(
        slices_along=coarsest if spacing[coarsest] > 1.2 * min(spacing.values()) else "S",
        spacing_mm=spacing,
        extent_mm=extent,
        body_mm={axis: n * spacing[axis] for axis, n in zip("RAS", size, strict=True)},
        volumes_ml=tuple((counts * np.prod(image.GetSpacing()) / 1000).tolist()),
        window=tuple(np.percentile(array[labels > 0], (0.5, 99.5)).tolist()),
    )


# The file


def _text(
    name: str,
    wishes: Mapping[str, Wish],
    modalities: dict[str, Modality],
    values: Values,
    seen: dict[str, dict[str, Seen]],
    backbones: Sequence[str],
    splits: dict[str, Any],
    patients: Mapping[str, str],
) -> str:
    every = [one for of_case in seen.values() for one in of_case.values()]
    along = Counter(one.slices_along for one in every).most_common(1)[0][0]
    plane_axes = [axis for axis in "RAS" if axis != along]
    finest = np.median([min(one.spacing_mm[axis] for axis in plane_axes) for one in every])
    slice_mm = max(np.median([one.spacing_mm[along] for one in of_case.values()]) for of_case in seen.values())
    whole_mm, body_mm = (
        float(np.percentile([max(getattr(one, which)[axis] for axis in plane_axes) for one in every], 95))
        for which in ("extent_mm", "body_mm")
    )
    box = "body" if body_mm < 0.85 * whole_mm else "image"
    wide_mm = body_mm if box == "body" else whole_mm
    in_plane_mm = _round(max(finest, wide_mm / PLANE))
    counts = ", ".join(f"{len(of_case)} {modality}" for modality, of_case in seen.items())
    lines = [
        f"# Proposed by `ssc task` from {counts} scans; yours to change. What each key means: config/README.md. What a",
        "# preset leaves out is config/scales.yaml's.",
        f"title: {name.replace('_', ' ').capitalize()} in {' and '.join(seen)} that were never paired",
        f"backbone: {backbones[0]}",
        f"orientation: {''.join(plane_axes)}{along} # slices along {along}, the largest spacing of most scans",
        f"box: {box} # the fields of view are up to {whole_mm:.0f} mm wide, what is in them {body_mm:.0f} mm",
        f"draws: [{', '.join(splits)}]",
        f"main_table: {name}",
        "",
        "# kind: ct has Hounsfield units, mr any. folder: where the scans lie on this machine; on another one give",
        f"# --config tasks='{{{name}: {{modalities: {{{next(iter(seen))}: {{folder: /there}}}}}}}}'.",
        "modalities:",
    ]
    for modality, chosen in modalities.items():
        lines += _modality_lines(modality, chosen, wishes[modality], list(seen[modality].values()), box)
    lines += ["", "# In the order of our label values 1, 2, …", "structures:"]
    for place, (structure, of_each) in enumerate(values.items()):
        lines.append(_structure_line(place, structure, of_each))
    lines += ["", *_preset_lines(in_plane_mm, float(slice_mm), finest, wide_mm, every)]
    lines += ["", "# The method against joint training without it; a table of config/matrix.yaml's kind.", "tables:"]
    methods = ", ".join(_methods(backbones))
    lines += [f"  {name}:", f"    title: {name.replace('_', ' ').capitalize()}", "    reference: joint_plain"]
    lines += [f"    methods: [{methods}]", ""]
    shared = {case: patient for case, patient in patients.items() if list(patients.values()).count(patient) > 1}
    if shared:
        lines += ["# Cases of a patient who has several; no split parts them.", f"patients: {_flow(shared)}", ""]
    lines += ["# Do not edit after a training.", "splits:"]
    return "\n".join(lines) + "\n" + "".join(splits_yaml(splits, "  "))


def _modality_lines(modality: str, chosen: Modality, wish: Wish, seen: list[Seen], box: str) -> list[str]:
    lines = [f"  {modality}:", f"    kind: {chosen.kind}", f"    layout: {chosen.layout}"]
    lines.append(f"    folder: {json.dumps(wish.folder, ensure_ascii=False)}")
    if chosen.images:
        lines += [f"    images: {json.dumps(chosen.images)}", f"    labels: {json.dumps(chosen.labels)}"]
    if wish.cases != ("*",):
        lines.append(f"    cases: {json.dumps(list(wish.cases), ensure_ascii=False)}")
    if chosen.label_values:
        lines.append(f"    label_values: {json.dumps([list(pair) for pair in chosen.label_values])}")
    z_score = "body" if box == "body" else "box"
    if chosen.kind == "ct":
        low, high = (5 * round(float(np.median([one.window[end] for one in seen])) / 5) for end in (0, 1))
        lines.append(
            f"    intensity: {{ clip: [{low}, {high}], unit: value, z_score: {z_score} }} "
            f"# HU; percentiles 0.5 and 99.5 inside the structures"
        )
    else:
        lines.append(f"    intensity: {{ clip: [0.5, 99.5], unit: percentile_of_nonzero, z_score: {z_score} }}")
    return lines


def _structure_line(place: int, structure: str, of_each: dict[str, int]) -> str:
    colour, outline = COLOURS[place % len(COLOURS)], OUTLINES[place % len(OUTLINES)]
    same = len(set(of_each.values())) == 1
    values = next(iter(of_each.values())) if same else _flow(of_each)
    entry = {"name": structure.replace(" ", "_"), "label": structure, "colour": colour, "outline": outline}
    texts = ", ".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in entry.items())
    return f"  - {{ {texts}, values: {values} }}"


def _flow(mapping: Mapping[str, Any]) -> str:
    return "{ " + ", ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in mapping.items()) + " }"


def _preset_lines(in_plane_mm: float, slice_mm: float, finest: float, wide_mm: float, every: list[Seen]) -> list[str]:
    slice_mm = float(f"{slice_mm:.2g}")
    volumes = np.median([one.volumes_ml for one in every], axis=0)
    ratios = [1, *(2 if volume < SMALL_STRUCTURE * volumes.max() else 1 for volume in volumes)]
    smoke_mm = _round(in_plane_mm * PLANE / SMOKE_PLANE)
    return [
        f"# Slices of {slice_mm:g} mm, the coarsest modality's median. {wide_mm:.0f} mm of the plane are looked at,",
        f"# {PLANE} voxels of {in_plane_mm:g} mm (scans have {finest:.2g}). Small structures are drawn more often.",
        "presets:",
        "  real:",
        "    smoke:",
        f"      spacing_mm: [{slice_mm:g}, {smoke_mm:g}, {smoke_mm:g}]",
        f"      plane: {SMOKE_PLANE}",
        f"      class_ratios: {ratios}",
        "      volumes: { crop: [16, 32, 32], learning_rate: 0.006 }",
        f"      slices: {{ crop: [3, {SMOKE_PLANE}, {SMOKE_PLANE}], learning_rate: 0.003, translation: 3 }}",
        "    small: # some minutes a run on a CPU",
        f"      spacing_mm: [{slice_mm:g}, {in_plane_mm:g}, {in_plane_mm:g}]",
        f"      plane: {PLANE}",
        f"      class_ratios: {ratios}",
        "      volumes: { crop: [16, 64, 64], steps: 2000, learning_rate: 0.006, overlap: 0.5 }",
        f"      slices: {{ crop: [3, {PLANE}, {PLANE}], steps: 1500, learning_rate: 0.003, translation: 5 }}",
    ]


def _round(millimetres: float) -> float:
    """To two digits, upwards, so that the plane still holds what it should."""
    step = 10.0 ** (np.floor(np.log10(millimetres)) - 1)
    return float(f"{np.ceil(millimetres / step - 1e-6) * step:.6g}")
