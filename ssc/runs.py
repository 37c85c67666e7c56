"""One training, typed: what decides it, the code that it uses, and a trained run read back. Loads no torch."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from ssc import matrix
from ssc.config import Settings
from ssc.errors import RunError
from ssc.presets import Init
from ssc.settings import (
    BackboneSettings,
    EamSettings,
    NetworkSettings,
    Objective,
    Optimiser,
    Sampling,
    Strict,
    View,
    explain,
)

FORMAT = 3  # of settings.json; 1 had a dict of anything for every part, 2 no kind of intensities in run.json


class RunSettings(Strict):
    """What decides one training, and nothing that it does not use. A run is what its settings.json says."""

    format: Literal[3] = FORMAT
    key: str
    structures: tuple[str, ...]
    cases: dict[str, dict[Literal["train", "validation"], tuple[str, ...]]]
    init: Init
    network: NetworkSettings
    objective: Objective
    optimiser: Optimiser
    sampling: Sampling
    code: str  # fingerprint

    @property
    def modalities(self) -> tuple[str, ...]:
        """What it is trained on."""
        return tuple(self.cases)

    @property
    def classes(self) -> int:
        """Number of classes Z, background included."""
        return len(self.structures) + 1


def run_settings(settings: Settings, run: matrix.Run) -> RunSettings:
    """The settings of one run: a changed value appears only in the runs that use it."""
    task, variant = matrix.tasks()[run.task], matrix.variants()[run.variant]
    backbone = variant.backbone_row(task)
    preset = settings.task(run.task).preset(run.data, run.scale)
    regime, changes = preset.regime(backbone.spatial_dims), variant.settings
    network = _network(settings, run, variant, backbone)
    changed = settings.augmentation.model_dump()
    for name in ("rotation_deg", "scaling", "intensity", "noise"):
        changed[name] = changed[name] * preset.augmentation
    return RunSettings(
        key=run.key,
        structures=tuple(structure.name for structure in task.structures),
        cases={m: {part: parts[part] for part in ("train", "validation")} for m, parts in run.cases.items()},
        init=(settings.init or preset.init) if backbone.imagenet else "random",
        network=network,
        objective=_objective(settings, variant),
        optimiser=Optimiser(
            steps=max(3, round(regime.steps * (changes.steps or 1))),
            learning_rate=regime.learning_rate * (changes.learning_rate or 1),
            validations=regime.validations,
            save_every=regime.save_every,
            **{name: getattr(preset, name) for name in ("schedule", "warm_up", "beta2", "weight_decay", "clip")},
        ),
        sampling=Sampling(
            images=regime.images, translation=regime.translation, class_ratios=preset.class_ratios, **changed
        ),
        code=training_code(network),
    )


def _network(
    settings: Settings, run: matrix.Run, variant: matrix.Variant, backbone: matrix.BackboneRow
) -> NetworkSettings:
    preset, method = settings.task(run.task).preset(run.data, run.scale), settings.method
    eam = EamSettings(heads=preset.eam_heads, map_scale=method.map_scale, correlations=variant.icr)
    return NetworkSettings(
        view=View(spatial_dims=backbone.spatial_dims, crop=preset.regime(backbone.spatial_dims).crop),
        backbone=BackboneSettings(
            build=backbone.build,
            arguments=backbone.arguments | backbone.scales.get(run.scale, {}),
            taps=backbone.taps if variant.eam or variant.modulation else (),
            branches=backbone.branches if variant.modulation else (),
            multiple_of=backbone.multiple_of,
            norm_per_modality=backbone.norm_per_modality,
        ),
        image_embedding=variant.image_embedding,
        own_encoder=variant.own_encoder,
        eam=eam if variant.eam else None,
        modulation=method.modulation if variant.modulation else None,
    )


def _objective(settings: Settings, variant: matrix.Variant) -> Objective:
    """The configuration's weights where the variant has the term, the row's own before them."""
    chosen = {name: getattr(settings.losses, name) for name, flag in matrix.FLAG_OF.items() if getattr(variant, flag)}
    return Objective(**(chosen | variant.settings.losses.model_dump(exclude_unset=True)))


# What turns cases into weights. Cases have fingerprints of their own, in the workflow (rules/common.smk).
COMMON = (
    "ssc/settings.py",
    "ssc/losses.py",
    "ssc/training.py",
    "ssc/correspondence.py",
    "ssc/data/sampling.py",
    "ssc/models/network.py",
    "ssc/models/modulation.py",
    "ssc/models/backbones/base.py",
    "ssc/models/backbones/build.py",
    "ssc/models/backbones/parted.py",
    "ssc/rivals/losses.py",
)
TAPPED = ("ssc/models/backbones/tapped.py", "ssc/models/backbones/convolutions.py")


def training_code(network: NetworkSettings) -> str:
    """Fingerprint of the code that a training of this network uses, and of no other."""
    files = list(COMMON)
    if network.backbone.build.startswith("ssc.rivals."):
        files += [*_rival(network.backbone.build.split(".")[2]), *TAPPED]
    elif network.backbone.build.startswith("ssc."):
        own = Path(*network.backbone.build.split(".")[:-1]).with_suffix(".py").as_posix()
        files += [own, "ssc/models/backbones/transformer.py", "ssc/models/backbones/windows.py", "ssc/models/mlp.py"]
    else:
        files += TAPPED
    files += ["ssc/models/eam.py", "ssc/models/mlp.py"] if network.eam else []
    return fingerprint(*dict.fromkeys(files))


def _rival(name: str) -> Iterator[str]:
    """The file of a rival's network, and those of others that it builds on."""
    path = f"ssc/rivals/{name}.py"
    yield path
    for other in re.findall(r"^from ssc\.rivals\.(\w+) import", (matrix.ROOT / path).read_text("utf-8"), re.MULTILINE):
        yield from _rival(other)


def fingerprint(*paths: str) -> str:
    """sha256 over the Python files of the given files and folders, relative to the project."""
    digest = hashlib.sha256()
    missing = [top for top in paths if not (matrix.ROOT / top).exists()]
    if missing:
        raise FileNotFoundError(f"fingerprint of {missing[0]}: not there")
    for path in sorted(p for top in paths for p in _files(matrix.ROOT / top)):
        digest.update(str(path.relative_to(matrix.ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _files(top: Path) -> list[Path]:
    found = [top] if top.is_file() else list(top.rglob("*.py"))
    if not found:
        raise FileNotFoundError(f"fingerprint of {top}: no Python file there")
    return found


def read_settings(folder: Path) -> RunSettings:
    """The settings.json of a run. Raises RunError where it is missing or of another version."""
    path = folder / "settings.json"
    if not path.is_file():
        raise RunError(f"{folder}: settings.json is missing; make it with snakemake {path}")
    text = path.read_text("utf-8")
    try:
        return RunSettings.model_validate_json(text)
    except ValidationError as error:
        try:
            found = json.loads(text).get("format", 1)
        except (ValueError, AttributeError):
            raise RunError(f"{path}: damaged; expected a run's settings in JSON. Make it anew with snakemake") from None
        if found != FORMAT:
            raise RunError(
                f"{path}: written by another version of ssc (format {found}, expected {FORMAT}). Use the version in "
                f"its run.json (commit), or train it again."
            ) from None
        raise RunError(f"{path}: {explain(error, RunSettings)}") from None


def read_record(folder: Path) -> dict[str, Any]:
    """The run.json of a trained run. Raises RunError where the run is not trained."""
    for name in ("run.json", "weights.safetensors"):
        if not (folder / name).is_file():
            raise RunError(f"{folder}: {name} is missing; is the run trained? Make it with snakemake {folder}/{name}")
    return json.loads((folder / "run.json").read_text("utf-8"))


def version_of(build: str) -> str | None:
    """Version of the package that a foreign backbone comes from, None for this project's."""
    top = build.partition(".")[0]
    return None if top == "ssc" else getattr(importlib.import_module(top), "__version__", "unknown")


def commit() -> str:
    """Short hash of the project's commit, '+' where code or configuration differ from it.

    'unknown' without git, and where the sources lie unpacked inside another repository. A job in a storage is told
    by its environment: SSC_COMMIT.
    """
    if told := os.environ.get("SSC_COMMIT"):
        return told
    git = ["git", "-C", str(matrix.ROOT)]
    try:
        top = subprocess.run([*git, "rev-parse", "--show-toplevel"], capture_output=True, text=True, check=True)
        if Path(top.stdout.strip()).resolve() != matrix.ROOT.resolve():
            return "unknown"
        head = subprocess.run([*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "status", "--porcelain", "--", "ssc", "config"], capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")
