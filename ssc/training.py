"""Training of one run: a fixed schedule, the last step's weights, and the same command goes on after a kill."""

from __future__ import annotations

import csv
import gc
import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock
import torch
from monai.utils import set_determinism
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from ssc import matrix
from ssc.config import RunSettings
from ssc.data.sampling import Sampler, load_case
from ssc.errors import RunError
from ssc.inference import probabilities
from ssc.losses import objective
from ssc.metrics import dice
from ssc.models.network import Network, initialise, parameter_count

VALIDATION_OVERLAP = 0.25
LOGS_A_RUN = 20


@dataclass
class State:
    """Everything that changes during a run; a save holds all of it."""

    network: Network
    optimiser: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)

    def save(self, path: Path, identity: dict[str, Any]) -> None:
        """Write to a temporary name, then rename: a kill leaves the last good save."""
        content = {"identity": identity, "step": self.step, "seconds": self.seconds, "history": self.history}
        for name in ("network", "optimiser", "scheduler"):
            content[name] = getattr(self, name).state_dict()
        partial = path.with_suffix(".part")
        torch.save(content, partial)
        partial.replace(path)

    def load(self, content: dict[str, Any]) -> None:
        """Go on where a save was made."""
        for name in ("network", "optimiser", "scheduler"):
            getattr(self, name).load_state_dict(content[name])
        self.step, self.seconds, self.history = content["step"], content["seconds"], content["history"]


def train(folder: Path, threads: int, device: torch.device) -> None:
    """Train the run of ``folder`` from its ``settings.json``; writes history, run record and, last, weights.

    Raises RunError where another process trains the same run, or where a loss is not finite.
    """
    run = matrix.Run.from_key(str(folder))
    settings = RunSettings.model_validate_json((folder / "settings.json").read_text())
    run.state_folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(run.state_folder / "lock", timeout=0)
    try:
        with lock:
            _train(run, settings, folder, threads, device)
    except filelock.Timeout:
        raise RunError(f"{run.key}: another process is training this run; wait for it or stop it") from None


def _train(run: matrix.Run, settings: RunSettings, folder: Path, threads: int, device: torch.device) -> None:
    saved = run.state_folder / "state.pt"
    identity = {"settings": settings.model_dump_json(), "cases": _cases_digest(run), "device": device.type}
    content = _read_save(saved, identity)
    # Another number of threads changes sums in the last bits: a resumed run keeps its own.
    threads = content["identity"]["threads"] if content else threads
    torch.set_num_threads(threads)
    set_determinism(run.seed)
    if device.type == "cpu":
        # As use_deterministic_algorithms(True), but without its import of torch's compiler (2 s a run).
        torch.set_deterministic_debug_mode("error")
        torch.utils.deterministic.fill_uninitialized_memory = False  # finds bugs, costs a tenth of a step
    state = _fresh_state(run, settings, device)
    if content:
        state.load(content)
        print(f"{run.key}: goes on at step {state.step} of {settings.steps}", file=sys.stderr)
    sampler, validation = _load_cases(run, settings, device)
    gc.freeze()  # else every collection walks through all that torch and MONAI have loaded
    save = lambda: state.save(saved, identity | {"threads": threads})  # noqa: E731
    _run_steps(state, run, settings, sampler, validation, device, save)
    _write_results(state, run, folder, threads, device)
    saved.unlink(missing_ok=True)


def _read_save(saved: Path, identity: dict[str, str]) -> dict[str, Any] | None:
    """The last save, if it was made with the same settings, cases and kind of device; else start over."""
    if not saved.is_file():
        return None
    content = torch.load(saved, map_location="cpu", weights_only=True)
    return content if identity.items() <= content["identity"].items() else None


def _cases_digest(run: matrix.Run) -> str:
    manifests = [matrix.cases_folder(run.data, run.scale, run.task, m) / "manifest.json" for m in run.modalities]
    return hashlib.sha256(b"".join(path.read_bytes() for path in manifests)).hexdigest()


def _fresh_state(run: matrix.Run, settings: RunSettings, device: torch.device) -> State:
    task, choice = matrix.tasks()[run.task], settings.optimiser
    network = Network(task.backbone, task.spatial_dims, task.classes, run.modalities, settings.flags, settings.network)
    initialise(network, run.seed).to(device)
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": choice["weight_decay"]}, {"params": vectors, "weight_decay": 0.0}],
        lr=choice["learning_rate"],
        betas=(0.9, choice["beta2"]),
        fused=True,
    )
    return State(network, optimiser, _schedule(optimiser, choice, settings.steps))


def _schedule(
    optimiser: torch.optim.Optimizer, choice: dict[str, Any], steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    if choice["schedule"] == "one_cycle":
        return torch.optim.lr_scheduler.OneCycleLR(
            optimiser, choice["learning_rate"], steps, pct_start=choice["warm_up"], cycle_momentum=False
        )
    warm_up = max(1, round(choice["warm_up"] * steps))
    rising = torch.optim.lr_scheduler.LinearLR(optimiser, 1 / warm_up, total_iters=warm_up)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps - warm_up))
    return torch.optim.lr_scheduler.SequentialLR(optimiser, [rising, falling], milestones=[warm_up])


def _load_cases(run: matrix.Run, settings: RunSettings, device: torch.device) -> tuple[Sampler, dict]:
    """A sampler over the training cases, and the validation cases by modality; all held in memory."""
    crop, parts = settings.sampling["crop"], {}
    for part in ("train", "validation"):
        parts[part] = {}
        for m in run.modalities:
            cases = matrix.cases_folder(run.data, run.scale, run.task, m)
            loaded = [load_case(cases, case, crop) for case in settings.cases[m][part]]
            parts[part][m] = [(image.to(device), label.to(device)) for image, label in loaded]
    classes = matrix.tasks()[run.task].classes
    sampler = Sampler(parts["train"], settings.sampling, settings.augmentation_strength, classes, run.seed)
    return sampler, parts["validation"]


def _run_steps(state, run, settings, sampler, validation, device, save) -> None:
    """All steps that are left, with log, validation and saves on the way."""
    choice, steps = settings.optimiser, settings.steps
    validate_at = {round(steps * (i + 1) / choice["validations"]) for i in range(choice["validations"])}
    log_every = max(1, steps // LOGS_A_RUN)
    for step in _progress(state, steps, run.key):
        started = time.monotonic()
        parts = _step(state, run, settings, sampler.batch(step), step, device)
        state.step = step + 1
        row = {}
        if state.step % log_every == 0 or state.step in validate_at:
            row = {"step": state.step, "learning_rate": state.scheduler.get_last_lr()[0]}
            row |= {name: float(value) for name, value in parts.items()}
        if state.step in validate_at:
            row |= _validate(state.network, run, validation, settings.network["crop"])
        if row:
            state.history.append(row)
        state.seconds += time.monotonic() - started
        if row:
            _log(state, steps, row)
        if state.step % choice["save_every"] == 0 or state.step == steps:
            save()


def _progress(state: State, steps: int, name: str) -> Iterator[int]:
    """The steps that are left; a bar in a terminal, nothing in a file (there the log lines say it)."""
    left = range(state.step, steps)
    return tqdm(left, name, total=steps, initial=state.step, unit="step", disable=not sys.stderr.isatty())


def _step(state, run, settings, batch, step: int, device: torch.device) -> dict[str, Tensor]:
    network, network_mode = state.network, state.network.train()
    images = {m: drawn["image"].to(device) for m, drawn in batch.items()}
    labels = {m: drawn["label"].to(device) for m, drawn in batch.items()}
    drop = network_mode.draw_depth({m: len(image) for m, image in images.items()}, run.seed, step)
    drop = drop and {m: factors.to(device) for m, factors in drop.items()}
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        outputs = network(images, drop)
    embeddings = {m: entry.weight for m, entry in network.class_embeddings.items()}
    outputs = {m: _to_float32(output) for m, output in outputs.items()}
    loss, parts = objective(outputs, labels, embeddings, settings.losses)
    if not torch.isfinite(loss):
        shown = ", ".join(f"{name} {float(value):.3g}" for name, value in parts.items())
        cases = "; ".join(
            f"{m} {', '.join(settings.cases[m]['train'][i] for i in sampled['cases'])}" for m, sampled in batch.items()
        )
        raise RunError(
            f"{run.key}: the loss is not finite at step {step + 1} ({shown}); cases {cases}. The last save stays."
        )
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), settings.optimiser["clip"], foreach=True)
    state.optimiser.step()
    state.scheduler.step()
    return {"loss": loss.detach(), **parts}


def _to_float32(output):
    """Losses are computed in float32, whatever the network's precision."""
    output.logits = [x.float() for x in output.logits]
    if output.semantics is not None:
        output.semantics.auxiliary = [x.float() for x in output.semantics.auxiliary]
    return output


def _validate(network: Network, run: matrix.Run, validation: dict, crop) -> dict[str, float]:
    """Mean Dice (%) of every structure of every modality on the preprocessed grid."""
    network.eval()
    structures, row = matrix.tasks()[run.task].structures, {}
    for m, cases in validation.items():
        scores = []
        for image, label in cases:
            found = probabilities(network, image, m, crop, VALIDATION_OVERLAP).argmax(dim=0).cpu().numpy()
            truth = label[0].cpu().numpy()
            scores.append([dice(found == v, truth == v) for v in range(1, len(structures) + 1)])
        means = [sum(column) / len(column) for column in zip(*scores, strict=True)]
        row |= {f"dice_{m}_{s.name}": mean for s, mean in zip(structures, means, strict=True)}
    row["dice"] = sum(row.values()) / len(row)
    return row


def _log(state: State, steps: int, row: dict[str, float]) -> None:
    left = state.seconds / state.step * (steps - state.step)
    shown = " ".join(f"{name} {value:.4g}" for name, value in row.items() if name not in ("step", "learning_rate"))
    tqdm.write(f"step {state.step}/{steps} {state.seconds:.0f} s, {left:.0f} s left: {shown}", file=sys.stderr)


def _write_results(state: State, run: matrix.Run, folder: Path, threads: int, device: torch.device) -> None:
    """history.csv, run.json and, last, weights.safetensors; each appears whole or not at all."""
    columns = list(dict.fromkeys(name for row in state.history for name in row))
    partial = folder / "history.csv.part"
    with partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(state.history)
    partial.replace(folder / "history.csv")
    _write_tensorboard(state.history, run.state_folder / "tensorboard")
    partial = folder / "run.json.part"
    partial.write_text(json.dumps(_record(state, run, threads, device), indent=1) + "\n")
    partial.replace(folder / "run.json")
    partial = folder / "weights.safetensors.part"
    save_file({name: value.contiguous().cpu() for name, value in state.network.state_dict().items()}, partial)
    partial.replace(folder / "weights.safetensors")


def _write_tensorboard(history: list[dict[str, float]], folder: Path) -> None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:  # TensorBoard is optional; history.csv holds the same
        return
    with SummaryWriter(str(folder)) as writer:
        for row in history:
            for name, value in row.items():
                writer.add_scalar(name, value, row["step"])


def _record(state: State, run: matrix.Run, threads: int, device: torch.device) -> dict[str, Any]:
    """Where the weights come from: commit, versions, hardware, cases, seconds."""
    manifests = {
        m: json.loads((matrix.cases_folder(run.data, run.scale, run.task, m) / "manifest.json").read_text())
        for m in run.modalities
    }
    return {
        "key": run.key,
        "commit": commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU",
        "cores": os.cpu_count(),
        "threads": threads,
        "seconds": round(state.seconds, 1),
        "steps": state.step,
        "parameters": parameter_count(state.network.parameters()),
        "preprocessing": {m: manifest["settings"] for m, manifest in manifests.items()},
        "cases": {m: manifest["files"] for m, manifest in manifests.items()},
    }


def commit() -> str:
    """Short hash of the project's commit, '+' where code or configuration differ from it."""
    git = ["git", "-C", str(matrix.ROOT)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "status", "--porcelain", "--", "ssc", "config"], capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")
