"""The experiment matrix: backbones, variants, runs, and which run feeds which table.

Everything is read from ``config/matrix.yaml`` and the tasks' files; nothing else in the project repeats it.
Importing this module loads neither torch nor pandas.
"""

from __future__ import annotations

import csv
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt, StrictBool, ValidationError

from ssc.errors import RunError, SettingsError
from ssc.presets import Data, Scale, read_yaml
from ssc.settings import Branch, Objective, Strict, explain, merged, nearest
from ssc.tasks import ROOT, Task, tasks

MATRIX = "config/matrix.yaml"
OTHER_FILES = re.compile("table3|published_audit|method|(claims|contrasts|rates)_.*")  # results/tables, notebooks
SECTIONS = {"backbones": dict, "variants": dict, "rates": dict, "tables": dict, "claims": list}
DEVELOPMENT = "development"
RATES = {"quarter": 0.25, "once": 1.0, "twice": 2.0}  # candidates for a method's learning rate, × the preset's
DATA, SCALES = get_args(Data), get_args(Scale)


class BackboneRow(Strict):
    """A network to be built; what each key means stands in ``config/matrix.yaml``."""

    name: str
    label: str
    build: str
    spatial_dims: Literal[2, 3]
    arguments: dict[str, Any]
    scales: dict[Scale, dict[str, Any]] = Field(default_factory=dict)
    taps: tuple[str, ...] = ()
    branches: tuple[Branch, ...] = ()
    multiple_of: PositiveInt = 1
    norm_per_modality: StrictBool = False
    imagenet: Literal["swin_tiny", "swin_large"] | None = None


def _times(text: Any) -> Any:
    """'×2' -> 2.0; a number would not be a factor of the preset's value."""
    if isinstance(text, str) and text.startswith("×"):
        return float(text[1:])
    raise ValueError(f"expected a factor of the preset's value such as '×2', found {text!r}")


Factor = Annotated[float, BeforeValidator(_times), Field(gt=0)]


class Changes(Strict):
    """What a row has instead of the configuration's values; of what depends on data or scale, a factor."""

    losses: Objective = Objective()
    steps: Factor | None = None
    learning_rate: Factor | None = None
    annotated: dict[str, PositiveInt] = Field(
        default_factory=dict
    )  # so many of a modality's training cases, drawn by the seed (few-shot)


def _no_hyphen(name: str) -> str:
    if "-" in name:
        raise ValueError(f"'{name}': a hyphen parts a method from its modality in the names of runs; use _")
    return name


# The flag that a value of the losses takes part with.
FLAG_OF = {"alpha": "eam", "aux_target": "eam", "beta": "mcr", "gamma": "icr", "tau": "icr"}


class Variant(Strict):
    """A row of flags; what each one switches on stands in ``config/matrix.yaml``."""

    name: Annotated[str, AfterValidator(_no_hyphen)]
    label: str
    backbone: str | dict[Literal[2, 3], str] | None = None  # of a mapping that of the task's rank; None: the task's
    joint: StrictBool = False
    image_embedding: StrictBool = True
    own_encoder: StrictBool = False
    eam: StrictBool = False
    modulation: StrictBool = False
    mcr: StrictBool = False
    icr: StrictBool = False
    external: StrictBool = False
    settings: Changes = Changes()

    def backbone_row(self, task: Task) -> BackboneRow:
        """The backbone that the variant has on a task. Raises SettingsError where there is none of that name."""
        name = self.backbone or task.backbone
        if isinstance(name, dict):
            rank = backbones()[task.backbone].spatial_dims if task.backbone in backbones() else None
            if rank and rank not in name:
                raise SettingsError(
                    f"{MATRIX}: variants.{self.name}: no backbone for rank {rank}, which {task.name} has"
                )
            name = name[rank] if rank else task.backbone
        if name not in backbones():
            raise SettingsError(
                f"{MATRIX}: variants.{self.name}: backbone '{name}' is none; {nearest(name, backbones())}"
            )
        return backbones()[name]


class Table(Strict):
    """A table: its methods in the paper's order, and where differences are taken from."""

    name: str
    published: str | None = None  # its number in the paper
    title: str
    task: str
    reference: str
    methods: tuple[str, ...]
    draws: tuple[str, ...]
    contrasts: tuple[tuple[str, str], ...] = ()  # pairs that are judged as one family, each the first less the second
    # modality -> cases without which contrasts are judged once more
    outliers: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    pictured: dict[str, tuple[str, ...]] = Field(default_factory=dict)  # modality -> cases that a figure shows

    @property
    def trained(self) -> tuple[str, ...]:
        """The methods that we train; the others are literature."""
        return tuple(method for method in self.methods if method in variants())


class Claim(Strict):
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
    def configured_seed(self) -> int:
        """The seed of the configuration, which a fold adds its own number to (see ``table_runs``)."""
        return self.seed - seed_offset(self.split)

    @property
    def cases(self) -> dict[str, dict[str, list[str]]]:
        """Case ids by modality and part (train, validation, test).

        A few-shot variant keeps the first cases of an order drawn by the seed: 1 of 3 is the 1.
        """
        parts = tasks()[self.task].splits[self.split]
        chosen = {m: {part: list(ids) for part, ids in parts[m].items()} for m in self.modalities}
        annotated = variants()[self.variant].settings.annotated
        for modality, count in ((m, n) for m, n in annotated.items() if m in chosen):
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
                and split in tasks()[task].splits
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
    def external(self) -> bool:
        """Whether its label maps come from elsewhere."""
        return variants()[self.variant].external

    @property
    def folder(self) -> Path:
        """Where the run's results lie: settings, weights, history; of an external one the record alone."""
        return Path("results/external" if self.external else "results/runs") / self.key

    def predictions(self, part: str) -> Path:
        """scores.csv and label_maps/ of one part of the split: 'test' or 'validation'."""
        return Path("results/external" if self.external else "results/predictions") / self.key / part

    def cases_folder(self, modality: str) -> Path:
        """The preprocessed cases of a modality that the run is trained on and scored with."""
        return cases_folder(self.data, self.scale, self.task, modality)


def cases_folder(data: str, scale: str, task: str, modality: str) -> Path:
    """Preprocessed cases of one modality: manifest.json, and what it lists in files/."""
    return Path("results/cases") / data / scale / task / modality


@cache
def _matrix() -> dict[str, Any]:
    """The file, its sections and rows looked at. Raises SettingsError."""
    found = read_yaml(ROOT / MATRIX)
    for name in dict.fromkeys([*found, *SECTIONS]):
        if name not in SECTIONS:
            raise SettingsError(f"{MATRIX}: unknown section '{name}'; {nearest(name, SECTIONS)}")
        if not isinstance(found.get(name), SECTIONS[name]):
            raise SettingsError(
                f"{MATRIX}: section '{name}': expected {'rows with names' if SECTIONS[name] is dict else 'a list'}"
            )
    for section in ("backbones", "variants", "tables"):
        for name, row in found[section].items():
            if not isinstance(row, dict):
                raise SettingsError(f"{MATRIX}: {section}.{name}: expected keys and values, found {row!r}")
    return found


def _read(kind: type[Strict], place: str, name: str, row: dict[str, Any]) -> Any:
    """A row, typed; ``place``: its file and section. Raises SettingsError in one line, with the nearest known name."""
    try:
        return kind.model_validate({"name": name, **row} if "name" in kind.model_fields else row)
    except ValidationError as error:
        raise SettingsError(f"{place}.{name}: {explain(error, kind)}") from None


def _with_likes(section: str, row: dict[str, Any], above: tuple[str, ...] = ()) -> dict[str, Any]:
    """The row, on top of the one that it is like; settings inside settings are merged. ``above``: those like it."""
    own = {key: value for key, value in row.items() if key != "like"}
    if "like" not in row:
        return own
    like, rows = str(row["like"]), _matrix()[section]
    if like not in rows:
        raise SettingsError(f"{MATRIX}: {section}: like '{like}'; {nearest(like, rows)}")
    if like in above:
        raise SettingsError(f"{MATRIX}: {section}: {like} is like itself, by way of {', '.join(above)}")
    return merged(_with_likes(section, rows[like], (*above, like)), own)


@cache
def backbones() -> dict[str, BackboneRow]:
    """All backbones by name."""
    rows = _matrix()["backbones"]
    return {
        name: _read(BackboneRow, f"{MATRIX}: backbones", name, _with_likes("backbones", row))
        for name, row in rows.items()
    }


@cache
def variants() -> dict[str, Variant]:
    """All variants by name. Raises SettingsError for a row that cannot be."""
    rows = _matrix()["variants"]
    found = {
        name: _read(Variant, f"{MATRIX}: variants", name, _with_likes("variants", row)) for name, row in rows.items()
    }
    for variant in found.values():
        _check_variant(variant)
    for method in dict.fromkeys(method for methods in rates().values() for method in methods):
        if method not in found:
            raise SettingsError(f"{MATRIX}: rates: '{method}' is no variant; {nearest(method, found)}")
        found |= {variant.name: variant for variant in at_rates(found[method])}
    return found


@cache
def rates() -> dict[str, tuple[str, ...]]:
    """The methods whose learning rates are chosen on the development split, by task."""
    return {task: tuple(methods) for task, methods in _matrix()["rates"].items()}


def at_rates(variant: Variant) -> list[Variant]:
    """The candidates of a method: a row for each of the ``RATES``, at half its steps."""
    own = variant.settings
    return [
        variant.model_copy(
            update={
                "name": f"{variant.name}_rate_{name}",
                "label": f"{variant.label}, rate × {factor:g}",
                "settings": own.model_copy(
                    update={"steps": (own.steps or 1) / 2, "learning_rate": (own.learning_rate or 1) * factor}
                ),
            }
        )
        for name, factor in RATES.items()
    ]


def rates_runs(task: str, data: str, scale: str, seed: int) -> list[Run]:
    """Every training that a choice of learning rates on a task rests on."""
    names = [variant.name for method in rates()[task] for variant in at_rates(variants()[method])]
    return [run for name in names for run in runs_of(name, task, DEVELOPMENT, data, scale, seed)]


def _check_variant(variant: Variant) -> None:
    place = f"{MATRIX}: variants.{variant.name}"
    plain = Variant(name=variant.name, label=variant.label, joint=True, external=True)
    if variant.external and variant != plain:
        raise SettingsError(f"{place}: an external method has label, joint: true and external: true, and nothing else")
    if (variant.mcr or variant.icr) and not (variant.joint and variant.eam):
        raise SettingsError(f"{place}: mcr and icr need joint and eam")
    own = variant.settings.losses
    unused = [n for n, flag in FLAG_OF.items() if getattr(own, n) is not None and not getattr(variant, flag)]
    if own.kd is not None and not variant.joint:
        raise SettingsError(f"{place}: kd needs joint")
    if unused:
        raise SettingsError(f"{place}: settings.losses.{unused[0]} has no use: the loss that it belongs to is off")
    row = backbones().get(variant.backbone) if isinstance(variant.backbone, str) else None
    if row and variant.eam and not row.build.startswith("ssc.models.") and not row.taps:
        raise SettingsError(f"{place}: eam needs three maps; name them under backbones.{row.name}.taps")
    if row and variant.modulation and not row.build.startswith("ssc.models.") and not row.branches:
        raise SettingsError(f"{place}: modulation needs branches; name them under backbones.{row.name}.branches")


@cache
def tables() -> dict[str, Table]:
    """All tables by name. Raises SettingsError for a reference that a table does not train, and a misspelt method."""
    rows = [(MATRIX, name, row) for name, row in _matrix()["tables"].items()]
    for task in tasks().values():
        file = f"config/tasks/{task.name}.yaml"
        rows += [(file, name, {**row, "task": task.name}) for name, row in task.tables.items()]
    found = {}
    for file, name, row in rows:
        if name in found or OTHER_FILES.fullmatch(name):
            raise SettingsError(f"{file}: tables.{name}: another table, or another file of results, has this name")
        if row.get("task") not in tasks():
            raise SettingsError(f"{file}: tables.{name}: {nearest(str(row.get('task')), tasks())}")
        task = tasks()[row["task"]]
        found[name] = _read(Table, f"{file}: tables", name, {**row, "draws": row.get("draws", task.draws)})
        _check_table(found[name], f"{file}: tables.{name}")
    for task in tasks().values():
        if task.main_table not in found:
            raise SettingsError(f"config/tasks/{task.name}.yaml: main_table: {nearest(task.main_table, found)}")
    return found


def _check_table(table: Table, place: str) -> None:
    unknown = set(table.draws) - set(tasks()[table.task].splits)
    if unknown:
        name, splits = sorted(unknown)[0], tasks()[table.task].splits
        raise SettingsError(f"{place}: '{name}' is no split; {nearest(name, splits)}")
    splits = tasks()[table.task].splits.values()
    known = {(m, c) for split in splits for m, parts in split.items() for cases in parts.values() for c in cases}
    for key, named in (("outliers", table.outliers), ("pictured", table.pictured)):
        for case in ((m, case) for m, cases in named.items() for case in cases):
            if case not in known:
                raise SettingsError(f"{place}: {key}: no case {' '.join(case)}")
    # A method that is no variant is literature: the printed table must know it.
    if unknown := sorted(set(table.methods) - set(table.trained) - _printed(table.published)):
        name = unknown[0]
        raise SettingsError(f"{place}: '{name}' is no variant; {nearest(name, variants())}")
    compared = {table.reference, *(method for pair in table.contrasts for method in pair)}
    if unknown := sorted(compared - set(table.trained)):
        name = unknown[0]
        raise SettingsError(
            f"{place}: reference or contrasts: the table trains no '{name}'; {nearest(name, table.trained)}"
        )


@cache
def _printed(number: str | None) -> set[str]:
    """The methods of a table of the paper."""
    with (ROOT / "ssc/results/published.csv").open(encoding="utf-8") as file:
        return {row["method"] for row in csv.DictReader(file) if row["table"] == number}


@cache
def claims(task: str) -> tuple[tuple[str, Claim], ...]:
    """Every claim on a task whose methods a table trains, with that table. Raises SettingsError."""
    found = [
        _read(Claim, f"{MATRIX}: claims", str(number), row) for number, row in enumerate(_matrix()["claims"], start=1)
    ]
    published = {name for name, table in tables().items() if table.published}
    for claim in found:
        if unknown := {claim.method, claim.reference} - set(variants()) | set(claim.tables) - published:
            names = ", ".join(sorted(unknown))
            raise SettingsError(f"{MATRIX}: claim '{claim.says}': {names}: no variant, or no published table")
    pairs = [(tables()[name], claim) for claim in found for name in claim.tables]
    return tuple(
        (table.name, claim)
        for table, claim in pairs
        if table.task == task and {claim.method, claim.reference} <= set(table.trained)
    )


def check() -> None:
    """Read every row, so that a slip is found before anything runs. Raises SettingsError."""
    for table in tables().values():
        for method in table.trained:
            variants()[method].backbone_row(tasks()[table.task])
            _check_annotated(variants()[method], table)
    for task in tasks():
        claims(task)
    for task in rates():
        if task not in tasks() or DEVELOPMENT not in tasks()[task].splits:
            raise SettingsError(f"{MATRIX}: rates: '{task}' is no task with a development split")


def _check_annotated(variant: Variant, table: Table) -> None:
    """That every split of a table has the cases which a few-shot variant asks for."""
    for modality, count in variant.settings.annotated.items():
        place = f"{MATRIX}: variants.{variant.name}: settings.annotated.{modality}"
        for draw in table.draws:
            parts = tasks()[table.task].splits[draw]
            if modality not in parts:
                raise SettingsError(f"{place}: {nearest(modality, parts)} (table {table.name})")
            if count > (there := len(parts[modality]["train"])):
                raise SettingsError(f"{place}: {count} of {there} training cases (table {table.name}, {draw})")


def runs_of(variant: str, task: str, split: str, data: str, scale: str, seed: int) -> list[Run]:
    """The trainings of one method on one split: one if joint, else one a modality."""
    modalities = [None] if variants()[variant].joint else list(tasks()[task].modalities)
    return [Run(data, scale, task, split, seed, variant, modality) for modality in modalities]


def table_runs(table: str, data: str, scale: str, seeds: list[int], folds: Sequence[int] | None = None) -> list[Run]:
    """Every training that feeds a table; ``folds``: of these of its draws alone, by place. Raises SettingsError.

    Every fold is trained with a seed of its own, that trainings of one repeat share no chance: see ``seed_offset``.
    """
    row = tables()[table]
    missing = [fold for fold in folds or () if fold >= len(row.draws)]
    if missing:
        raise SettingsError(f"folds: {missing[0]} is none of table {table}, which has {len(row.draws)}, from 0")
    draws = row.draws if folds is None else [row.draws[fold] for fold in folds]
    return [
        run
        for seed in seeds
        for split in draws
        for method in row.trained
        for run in runs_of(method, row.task, split, data, scale, seed + seed_offset(split))
    ]


def seed_offset(split: str) -> int:
    """What a split adds to the configured seed: 10 a repeat and 1 a fold; nothing where it is no fold."""
    found = re.fullmatch(r"(?:repeat(\d+)_)?fold(\d+)", split)
    return 10 * int(found[1] or 0) + int(found[2]) if found else 0


def claims_runs(task: str, data: str, scale: str, seeds: list[int], folds: Sequence[int] | None = None) -> list[Run]:
    """Every training that the claims on a task rest on; ``folds`` as in ``table_runs``."""
    names = dict.fromkeys(table for table, _ in claims(task))
    return list(dict.fromkeys(run for name in names for run in table_runs(name, data, scale, seeds, folds)))
