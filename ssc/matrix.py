"""The experiment matrix: tasks, structures, variants, runs, and which run feeds which table.

Everything is read from ``config/matrix.yaml`` and ``config/splits.yaml``; nothing else in the project
repeats it. Importing this module loads neither torch nor pandas.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml

from ssc.errors import RunError, SettingsError

ROOT = Path(__file__).resolve().parent.parent
DEVELOPMENT = "development"
DATA, SCALES = ("phantom", "real"), ("smoke", "small", "paper")


@dataclass(frozen=True)
class Structure:
    """One segmented structure; its label value is its place in the task's list, from 1."""

    name: str
    label: str
    colour: str
    outline: str
    source_values: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Task:
    """A data set pair with its backbone. ``modalities`` maps a modality to its archive."""

    name: str
    splits: str  # the task whose splits it has: its own name, or that of the task it is like
    title: str
    published_as: str
    spatial_dims: int
    backbone: str
    modalities: dict[str, str]
    preprocessing: str
    orientation: str
    draws: tuple[str, ...]
    main_table: str
    structures: tuple[Structure, ...]

    @property
    def classes(self) -> int:
        """Number of classes Z, background included."""
        return len(self.structures) + 1

    def source_values(self, source: str) -> list[tuple[int, int]]:
        """First and last label value of ``source`` for our labels 1, 2, …, in that order."""
        return [structure.source_values[source] for structure in self.structures]


@dataclass(frozen=True)
class Variant:
    """A row of flags; what each one switches on stands in ``config/matrix.yaml``."""

    name: str
    label: str
    joint: bool = False
    own_encoder: bool = False
    eam: bool = False
    modulation: bool = False
    mcr: bool = False
    icr: bool = False
    annotated: dict[str, int] = field(default_factory=dict)
    tau: float | None = None
    shuffled: bool = False
    unet: bool = False

    def __post_init__(self):
        if (self.mcr or self.icr) and not (self.joint and self.eam):
            raise SettingsError(f"variant {self.name}: mcr and icr need joint and eam")
        if self.unet and (self.eam or self.own_encoder or self.modulation):
            raise SettingsError(f"variant {self.name}: a U-Net has no part of the method")

    def flags(self) -> dict[str, bool]:
        """The flags that decide which modules a network has."""
        return {name: getattr(self, name) for name in ("own_encoder", "eam", "modulation", "icr", "unet")}


@dataclass(frozen=True)
class Table:
    """A table: its methods in the paper's order, and where differences are taken from."""

    name: str
    published: str | None  # its number in the paper
    title: str
    task: str
    reference: str
    methods: tuple[str, ...]
    draws: tuple[str, ...]

    @property
    def trained(self) -> tuple[str, ...]:
        """The methods that we train; the others are literature."""
        return tuple(method for method in self.methods if method in variants())


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper, and the two methods whose printed means it rests on."""

    says: str
    tables: tuple[str, ...]
    method: str
    reference: str


@dataclass(frozen=True)
class Run:
    """One training: the key of everything that it writes."""

    data: str
    scale: str
    task: str
    split: str
    seed: int
    variant: str
    modality: str | None  # None: trained on all modalities of the task

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that this run trains on, in the task's order."""
        return (self.modality,) if self.modality else tuple(tasks()[self.task].modalities)

    @property
    def cases(self) -> dict[str, dict[str, list[str]]]:
        """Case ids by modality and part (train, validation, test).

        A few-shot variant keeps the first cases of an order drawn by the seed: 1 of 3 is the 1.
        """
        parts = splits()[self.task][self.split]
        chosen = {modality: dict(parts[modality]) for modality in self.modalities}
        for modality, count in variants()[self.variant].annotated.items():
            order = {c: zlib.crc32(f"{self.seed} {modality} {c}".encode()) for c in chosen[modality]["train"]}
            chosen[modality]["train"] = sorted(order, key=order.get)[:count]
        return chosen

    @property
    def key(self) -> str:
        """Relative path that names the run: data/scale/task/split/seedN/variant[-modality]."""
        name = self.variant + (f"-{self.modality}" if self.modality else "")
        return f"{self.data}/{self.scale}/{self.task}/{self.split}/seed{self.seed}/{name}"

    @classmethod
    def from_key(cls, key: str) -> Run:
        """The run of a key, or of a folder that ends in one. Raises RunError."""
        parts = Path(key).parts[-6:]
        try:
            data, scale, task, split, seed, name = parts
            variant, _, modality = name.partition("-")
            run = cls(data, scale, task, split, int(seed.removeprefix("seed")), variant, modality or None)
            known = (
                data in DATA
                and scale in SCALES
                and variants()[variant].joint == (not modality)
                and split in splits()[task]
            )
            known = known and (not modality or modality in tasks()[task].modalities)
            known = known and run.key == "/".join(parts)  # seed00 is not seed0
        except (ValueError, KeyError):
            known = False
        if not known:
            raise RunError(
                f"{key}: not a run. Expected …/DATA/SCALE/TASK/SPLIT/seedN/VARIANT, "
                f"e.g. results/runs/phantom/small/abdomen/draw0/seed0/ours"
            )
        return run

    @property
    def folder(self) -> Path:
        """Where the run's results lie: settings, weights, history."""
        return Path("results/runs") / self.key

    @property
    def state_folder(self) -> Path:
        """Where a run under way keeps what it needs to go on after a kill."""
        return Path("state") / self.key

    def predictions(self, part: str) -> Path:
        """Label maps and scores of one part of the split: 'test' or 'validation'."""
        return Path("results/predictions") / self.key / part


def cases_folder(data: str, scale: str, task: str, modality: str) -> Path:
    """Preprocessed cases of one modality."""
    return Path("results/cases") / data / scale / task / modality


@cache
def _matrix() -> dict:
    return yaml.safe_load((ROOT / "config/matrix.yaml").read_text("utf-8"))


@cache
def tasks() -> dict[str, Task]:
    """All tasks by name."""
    return {name: _task(name, _with_likes("tasks", row)) for name, row in _matrix()["tasks"].items()}


def _task(name: str, row: dict) -> Task:
    structures = tuple(
        Structure(
            **{key: entry[key] for key in ("name", "label", "colour", "outline")},
            source_values={source: tuple(entry[source]) for source in row["modalities"].values()},
        )
        for entry in row["structures"]
    )
    like = _matrix()["tasks"][name].get("like", name)
    return Task(name, like, **{**row, "draws": tuple(row["draws"]), "structures": structures})


def _with_likes(section: str, row: dict) -> dict:
    """The row, on top of the one that it is like."""
    own = {key: value for key, value in row.items() if key != "like"}
    return {**_with_likes(section, _matrix()[section][row["like"]]), **own} if "like" in row else own


@cache
def archives() -> tuple[str, ...]:
    """Names of all archives that a task's scans come from."""
    return tuple(dict.fromkeys(source for task in tasks().values() for source in task.modalities.values()))


@cache
def variants() -> dict[str, Variant]:
    """All variants by name."""
    return {name: Variant(name, **_with_likes("variants", row)) for name, row in _matrix()["variants"].items()}


@cache
def tables() -> dict[str, Table]:
    """All tables by name. Raises SettingsError for a reference that a table does not train, and a misspelt method."""
    found = {}
    for name, row in _matrix()["tables"].items():
        draws = row.get("draws", tasks()[row["task"]].draws)
        found[name] = Table(**{"name": name, **row, "methods": tuple(row["methods"]), "draws": tuple(draws)})
        _check(found[name])
    return found


def _check(table: Table) -> None:
    # A method that is no variant is literature, which only a printed table has.
    unknown = set() if table.published else set(table.methods) - set(table.trained)
    if table.reference not in table.trained:
        unknown.add(table.reference)
    if unknown:
        raise SettingsError(
            f"config/matrix.yaml: table {table.name}: {', '.join(sorted(unknown))} is none of its variants, "
            f"{', '.join(table.trained)}"
        )


@cache
def claims(task: str) -> tuple[tuple[str, Claim], ...]:
    """Every claim on a task whose methods a table trains, with that table. Raises SettingsError."""
    found = [Claim(**{**row, "tables": tuple(row["tables"])}) for row in _matrix()["claims"]]
    published = {name for name, table in tables().items() if table.published}
    for claim in found:
        if unknown := {claim.method, claim.reference} - set(variants()) | set(claim.tables) - published:
            names = ", ".join(sorted(unknown))
            raise SettingsError(f"config/matrix.yaml: claim '{claim.says}': {names}: no variant, or no published table")
    pairs = [(tables()[name], claim) for claim in found for name in claim.tables]
    return tuple(
        (table.name, claim)
        for table, claim in pairs
        if table.task == task and {claim.method, claim.reference} <= set(table.trained)
    )


@cache
def splits() -> dict[str, dict[str, dict[str, dict[str, list[str]]]]]:
    """Case ids by task, split, modality and part (train, validation, test)."""
    written = yaml.safe_load((ROOT / "config/splits.yaml").read_text("utf-8"))
    return {name: written[task.splits] for name, task in tasks().items()}


def archive_cases(archive: str) -> list[str]:
    """Every case of an archive that the splits name, in numerical order."""
    found = set()
    for task in tasks().values():
        for modality in (modality for modality, source in task.modalities.items() if source == archive):
            for split in splits()[task.name].values():
                found.update(case for cases in split[modality].values() for case in cases)
    return sorted(found, key=int)


def runs_of(variant: str, task: str, split: str, data: str, scale: str, seed: int) -> list[Run]:
    """The trainings of one method on one split: one if joint, else one a modality."""
    modalities = [None] if variants()[variant].joint else list(tasks()[task].modalities)
    return [Run(data, scale, task, split, seed, variant, modality) for modality in modalities]


def table_runs(table: str, data: str, scale: str, seeds: list[int]) -> list[Run]:
    """Every training that feeds a table."""
    row = tables()[table]
    return [
        run
        for seed in seeds
        for split in row.draws
        for method in row.trained
        for run in runs_of(method, row.task, split, data, scale, seed)
    ]


def claims_runs(task: str, data: str, scale: str, seeds: list[int]) -> list[Run]:
    """Every training that the claims on a task rest on."""
    tables_of_claims = dict.fromkeys(table for table, _ in claims(task))
    return list(dict.fromkeys(run for table in tables_of_claims for run in table_runs(table, data, scale, seeds)))
