"""Tasks: what is segmented in which scans, and how each kind of data is cut and trained at every scale.

A task is one file, ``config/tasks/NAME.yaml``; nothing in the code asks for a task's name. Loads no torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from ssc.errors import SettingsError
from ssc.presets import Data, Preset, Scale, preset, read_yaml
from ssc.settings import Strict, explain, merged

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "config/tasks"
PARTS = ("train", "validation", "test")
CHANGEABLE = ("box", "presets", "modalities")  # by the configuration, key `tasks`


def natural(case: str) -> list[tuple[int, str]]:
    """Sorts case ids as people do: 'b2' before 'b10'."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", case)]


def _ascending(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] >= pair[1]:
        raise ValueError("the first must be less than the second")
    return pair


class Intensity(Strict):
    """How intensities are clipped and scored; see ``ssc.data.preprocess.to_case``."""

    clip: Annotated[tuple[float, float], AfterValidator(_ascending)]
    unit: Literal["value", "percentile", "percentile_of_nonzero"]
    z_score: Literal["body", "box"]

    @model_validator(mode="after")
    def _percentiles(self) -> Intensity:
        if self.unit != "value" and (self.clip[0] < 0 or self.clip[1] > 100):
            raise ValueError(f"clip {list(self.clip)}: percentiles lie between 0 and 100")
        return self


class Modality(Strict):
    """Scans of one kind, from an archive that this project knows by name or from a user's folder in a known layout."""

    kind: Literal["ct", "mr"]  # CT in Hounsfield units; MR in any
    archive: str | None = None
    layout: Literal["nnunet", "msd", "amos", "pairs"] | None = None
    folder: str | None = None
    images: str | None = None  # of pairs: file names below the folder, with {case}
    labels: str | None = None
    cases: tuple[str, ...] = ("*",)  # the folder's ids of this modality: names or globs
    label_values: tuple[tuple[int, int], ...] | None = None  # all that a label map may hold; None: the structures' own
    intensity: Intensity
    terms: str | None = None  # on which the scans may be shown and handed on

    @model_validator(mode="after")
    def _one_origin(self) -> Modality:
        if (self.archive is None) == (self.layout is None):
            raise ValueError("expected either archive or layout")
        if self.layout and not self.folder:
            raise ValueError(f"layout {self.layout} needs a folder")
        if (self.layout == "pairs") != (self.images is not None and self.labels is not None):
            raise ValueError("images and labels are named where the layout is pairs, and only there")
        return self


class Structure(Strict):
    """One segmented structure; its label value is its place in the task's list, from 1."""

    name: str
    label: str
    colour: str
    outline: str
    volume_ml: tuple[float, float] | None = None  # plausible in a patient
    values: dict[str, tuple[int, int]]  # modality -> first and last value in its label maps


Split = dict[str, dict[Literal["train", "validation", "test"], tuple[str, ...]]]  # modality -> part -> cases


class Task(Strict):
    """Scans of several modalities, and what is segmented in them."""

    name: str
    title: str
    published_as: str | None = None  # in ssc/results/published.csv
    backbone: str
    orientation: Literal["RAS", "RSA", "ASR"]  # of a case's axes x, y, z; the last is that of slices
    box: Literal["body", "image", "paper"]
    draws: tuple[str, ...] = Field(min_length=1)
    main_table: str
    modalities: dict[str, Modality] = Field(min_length=2)
    structures: tuple[Structure, ...] = Field(min_length=1)
    presets: dict[Data, dict[Scale, Preset]]
    splits: dict[str, Split]
    patients: dict[str, str] = Field(default_factory=dict)  # of cases of a patient who has several
    tables: dict[str, dict[str, Any]] = Field(default_factory=dict)  # rows as in config/matrix.yaml

    @property
    def classes(self) -> int:
        """Number of classes Z, background included."""
        return len(self.structures) + 1

    def values(self, modality: str) -> list[tuple[int, int]]:
        """First and last value in a modality's label maps for our labels 1, 2, …, in that order."""
        return [structure.values[modality] for structure in self.structures]

    def source(self, modality: str) -> str:
        """The name of a modality's raw scans: its archive's, or one of their own."""
        return self.modalities[modality].archive or f"{self.name}_{modality}"

    def preset(self, data: Data, scale: Scale) -> Preset:
        """What depends on data and scale. Raises SettingsError where the task has none for them."""
        if scale not in self.presets.get(data, {}):
            there = ", ".join(f"{data} {scale}" for data, scales in self.presets.items() for scale in scales)
            raise SettingsError(f"task {self.name}: no preset for {data} data at {scale} scale; there are: {there}")
        return self.presets[data][scale]

    def to_case(self, modality: str, data: Data, scale: Scale) -> dict[str, Any]:
        """The arguments of ``ssc.data.preprocess.to_case`` for scans of a modality."""
        preset, intensity = self.preset(data, scale), self.modalities[modality].intensity
        return {
            "kind": self.modalities[modality].kind,
            "orientation": self.orientation,
            "spacing_mm": preset.spacing_mm,
            "plane": preset.plane,
            "box": self.box,
            "clip": intensity.clip,
            "clip_unit": intensity.unit,
            "z_score": intensity.z_score,
            "classes": self.classes,
        }

    @model_validator(mode="after")
    def _fits_together(self) -> Task:
        for structure in self.structures:
            if set(structure.values) != set(self.modalities):
                raise ValueError(f"structure {structure.name} has values of {', '.join(structure.values)}, expected of "
                                 f"{', '.join(self.modalities)}")  # fmt: skip
        for data, scales in self.presets.items():
            for scale, found in scales.items():
                if len(found.class_ratios) != self.classes:
                    raise ValueError(f"presets.{data}.{scale}.class_ratios has {len(found.class_ratios)} values, "
                                     f"expected {self.classes}: background and structures")  # fmt: skip
        for name in self.draws:
            if name not in self.splits:
                raise ValueError(f"draw {name} is no split; there are {', '.join(self.splits)}")
        for name, split in self.splits.items():
            _check_split(name, split, tuple(self.modalities))
            _check_patients(name, split, self.patients)
        return self


def _check_split(name: str, split: Split, modalities: tuple[str, ...]) -> None:
    if set(split) != set(modalities):
        raise ValueError(f"split {name} has cases of {', '.join(split)}, expected of {', '.join(modalities)}")
    for modality, parts in split.items():
        if set(parts) != set(PARTS):
            raise ValueError(f"split {name}, {modality}: parts {', '.join(parts)}, expected {', '.join(PARTS)}")
        cases = [case for part in PARTS for case in parts[part]]
        twice = {case for case in cases if cases.count(case) > 1}
        if twice:
            raise ValueError(f"split {name}, {modality}: {', '.join(sorted(twice, key=natural))} is in two parts")
        if not parts["train"]:
            raise ValueError(f"split {name}, {modality}: no case to train on")


def _check_patients(name: str, split: Split, patients: Mapping[str, str]) -> None:
    """No patient is on two sides."""
    side: dict[str, tuple[str, str]] = {}
    for parts in split.values():
        for part, cases in parts.items():
            for case in cases:
                patient = patients.get(case, case)
                before, other = side.setdefault(patient, (part, case))
                if before != part and case in patients:
                    raise ValueError(f"split {name}: patient {patient} is in {before} ({other}) and in {part} ({case})")


@cache
def tasks() -> dict[str, Task]:
    """All tasks by name, in the order of their files. Raises SettingsError in one line."""
    found = {path.stem: read_task(path) for path in sorted(FOLDER.glob("[!.]*.yaml"))}
    archives = {modality.archive for task in found.values() for modality in task.modalities.values()}
    own = [task.source(name) for task in found.values() for name, row in task.modalities.items() if row.layout]
    for source in own:
        if source in archives or own.count(source) > 1:
            raise SettingsError(f"config/tasks: '{source}' would be the name of two sets of scans; rename a task")
    return found


def read_task(path: Path, name: str | None = None) -> Task:
    """A task's file; its name is the file's unless given. Raises SettingsError in one line."""
    return _task(name or path.stem, read_yaml(path), f"config/tasks/{path.name}")


def changed_task(name: str, changes: Mapping[str, Any]) -> Task:
    """A task with another box, other presets or folders, as the configuration asks. Raises SettingsError."""
    return _changed(name, json.dumps(changes, sort_keys=True))


@cache
def _changed(name: str, changes: str) -> Task:
    place = f"configuration: tasks.{name}"
    if name not in tasks():
        raise SettingsError(f"{place}: no such task; there are {', '.join(tasks())}")
    wanted = json.loads(changes)
    if not isinstance(wanted, dict) or set(wanted) - set(CHANGEABLE):
        raise SettingsError(f"{place}: only {', '.join(CHANGEABLE)} can be changed here; the rest in its file")
    for modality, row in (wanted.get("modalities") or {}).items():
        if set(row) - {"folder", "intensity"}:
            raise SettingsError(f"{place}: of modality {modality} only folder and intensity can be changed here")
    return _task(name, merged(read_yaml(FOLDER / f"{name}.yaml"), wanted), place)


def _task(name: str, row: dict[str, Any], place: str) -> Task:
    modalities = row.get("modalities") or {}
    structures = [
        {**entry, "values": _of_each(entry.get("values"), modalities)} if isinstance(entry, dict) else entry
        for entry in row.get("structures") or []
    ]
    presets = {
        data: _presets(scales, f"{place}: presets.{data}") for data, scales in (row.get("presets") or {}).items()
    }
    try:
        return Task.model_validate({**row, "name": name, "structures": structures, "presets": presets})
    except ValidationError as error:
        raise SettingsError(f"{place}: {explain(error, Task)}") from None


def _presets(scales: dict[str, Any], place: str) -> dict[str, Preset]:
    try:
        return {scale: preset(scale, own or {}) for scale, own in (scales or {}).items()}
    except SettingsError as error:
        raise SettingsError(f"{place}.{error}") from None


def _of_each(values: Any, modalities: Any) -> Any:
    """Label values by modality: one for all of them, or a number where first and last are the same."""
    if isinstance(values, int):
        values = dict.fromkeys(modalities, values)
    if not isinstance(values, dict):
        return values
    return {modality: (value, value) if isinstance(value, int) else value for modality, value in values.items()}


@cache
def sources() -> dict[str, tuple[str, str]]:
    """Every name of raw scans, and the first task and modality that they are for."""
    found: dict[str, tuple[str, str]] = {}
    for task in tasks().values():
        for modality in task.modalities:
            found.setdefault(task.source(modality), (task.name, modality))
    return found


def source_cases(source: str) -> list[str]:
    """Every case of some raw scans that a split names, in natural order."""
    found = {
        case
        for task in tasks().values()
        for modality in task.modalities
        if task.source(modality) == source
        for split in task.splits.values()
        for cases in split[modality].values()
        for case in cases
    }
    return sorted(found, key=natural)
