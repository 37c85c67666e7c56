"""Training of one run: a fixed schedule, the last step's weights, and the same command goes on after a kill."""

from __future__ import annotations

import csv
import gc
import hashlib
import itertools
import json
import os
import platform
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import filelock
import monai
import torch
from monai.utils import set_determinism
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from ssc import matrix
from ssc.correspondence import correspondence
from ssc.data.sampling import Sampler, load_case
from ssc.data.verify import file_sha256
from ssc.errors import RunError
from ssc.inference import probabilities
from ssc.losses import objective
from ssc.metrics import dice
from ssc.models.network import Network, initialise, parameter_count
from ssc.models.pretrained import Report, load_imagenet
from ssc.runs import RunSettings, commit, read_settings, training_code, version_of
from ssc.settings import Optimiser
from ssc.whole import whole

VALIDATION_OVERLAP = 0.25
LOGS_A_RUN = 20
CROPS_FOR_CORRESPONDENCE = 30
SAVE = "state.pt"
UNSHOWN = ("step", "learning_rate", "cosine_")  # in the log's lines; history.csv has them


def train(folder: Path, imagenet: Path | None, state: Path, threads: int, device: torch.device) -> None:
    """Train the run of ``folder`` from its ``settings.json``; writes history, run record and, last, weights.

    ``state``: where runs under way keep their saves, each in its own folder. ``imagenet``: the checkpoint, where the
    settings ask for one. Raises RunError where they do and there is none, where another process trains the same run,
    and where a loss is not finite.
    """
    settings = read_settings(folder)
    run = matrix.Run.from_key(settings.key)
    if settings.code != training_code(settings.network):
        raise RunError(f"{run.key}: the code has changed since settings.json was written; run snakemake again")
    if settings.init == "imagenet" and imagenet is None:
        raise RunError(f"{run.key}: init is imagenet; give its weights with --imagenet, or set init=random")
    if settings.init == "random" and imagenet is not None:
        raise RunError(f"{run.key}: init is random; leave --imagenet {imagenet} out, or set init=imagenet")
    state = state / run.key
    state.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(state / "lock", timeout=0):
            _train(run, settings, folder, imagenet, state, threads, device)
    except filelock.Timeout:
        raise RunError(f"{run.key}: another process is training this run; wait for it or stop it") from None


def _train(
    run: matrix.Run,
    settings: RunSettings,
    folder: Path,
    imagenet: Path | None,
    state: Path,
    threads: int,
    device: torch.device,
) -> None:
    identity = {"settings": settings.model_dump_json(), "cases": _cases_digest(run), "device": device.type}
    identity["imagenet"] = file_sha256(imagenet) if imagenet else ""
    saved = _read_save(state / SAVE, identity)
    # Another number of threads changes sums in the last bits: a resumed run keeps its own.
    identity["threads"] = saved["identity"]["threads"] if saved else threads
    torch.set_num_threads(identity["threads"])
    set_determinism(run.seed)
    if device.type == "cpu":
        # As use_deterministic_algorithms(True), but without its import of torch's compiler (2 s a run).
        torch.set_deterministic_debug_mode("error")
        torch.utils.deterministic.fill_uninitialized_memory = False  # finds bugs, costs a tenth of a step
    training = Training(run, settings, imagenet, device)
    if saved:
        training.restore(saved)
    where = f"goes on at step {training.step}" if saved else f"starts at step 0: no save of it in {state}"
    print(f"{run.key}: {where}; {settings.optimiser.steps} steps in all", file=sys.stderr)
    gc.freeze()  # else every collection walks through all that torch and MONAI have loaded
    training.finish(identity, state / SAVE)
    _write_results(training, folder, identity)
    (state / SAVE).unlink(missing_ok=True)


def _read_save(path: Path, identity: dict[str, str]) -> dict[str, Any] | None:
    """The last save, if it was made with the same settings, cases and kind of device; else start over."""
    if not path.is_file():
        return None
    saved = torch.load(path, map_location="cpu", weights_only=True)
    return saved if identity.items() <= saved["identity"].items() else None


def _cases_digest(run: matrix.Run) -> str:
    manifests = [run.cases_folder(m) / "manifest.json" for m in run.modalities]
    return hashlib.sha256(b"".join(path.read_bytes() for path in manifests)).hexdigest()


class Training:
    """One run under way. What a save holds: network, optimiser, schedule, step, seconds, history."""

    def __init__(self, run: matrix.Run, settings: RunSettings, imagenet: Path | None, device: torch.device):
        self.run, self.settings, self.device = run, settings, device
        self.network = initialise(Network(settings.network, settings.classes, run.modalities), run.seed)
        self.imagenet = load_imagenet(self.network, imagenet) if imagenet else None
        self.network.to(device)
        self.optimiser = _optimiser(self.network, settings.optimiser)
        self.scheduler = _schedule(self.optimiser, settings.optimiser)
        self.step, self.seconds, self.history, self.commit = 0, 0.0, [], commit()
        self.mixed_precision = device.type == "cuda"  # forward in bfloat16; weights and losses stay in float32
        view = settings.network.view
        self.sampler = Sampler(self._load("train"), settings.sampling, view, settings.classes, run.seed)
        self.validation = self._load("validation")

    def _load(self, part: str) -> dict[str, list[tuple[Tensor, Tensor]]]:
        """Image and label of every case of a part, by modality, held in the device's memory."""
        loaded = {}
        for m in self.run.modalities:
            pairs = (
                load_case(self.run.cases_folder(m), case, self.settings.network.view.crop)
                for case in self.settings.cases[m][part]
            )
            loaded[m] = [(image.to(self.device), label.to(self.device)) for image, label in pairs]
        return loaded

    def save(self, identity: dict[str, Any], file: Path) -> None:
        """Keep all that a resumed run needs; a kill meanwhile leaves the save before."""
        content = {"identity": identity, "step": self.step, "seconds": self.seconds, "history": self.history}
        content |= {name: getattr(self, name).state_dict() for name in ("network", "optimiser", "scheduler")}
        with whole(file) as path:
            torch.save(content, path)

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on where a save was made."""
        for name in ("network", "optimiser", "scheduler"):
            getattr(self, name).load_state_dict(saved[name])
        self.step, self.seconds, self.history = saved["step"], saved["seconds"], saved["history"]

    def finish(self, identity: dict[str, Any], file: Path) -> None:
        """All steps that are left, with log, validation and saves to ``file`` on the way."""
        choice = self.settings.optimiser
        steps = choice.steps
        validate_at = {round(steps * (i + 1) / choice.validations) for i in range(choice.validations)}
        log_every = max(1, steps // LOGS_A_RUN)
        bar = tqdm(total=steps, initial=self.step, desc=self.run.key, unit="step", disable=not sys.stderr.isatty())
        while self.step < steps:
            started = time.monotonic()
            parts = self.advance()
            row = {}
            if self.step % log_every == 0 or self.step in validate_at:
                row = {"step": self.step, "learning_rate": self.scheduler.get_last_lr()[0]}
                row |= {name: float(value) for name, value in parts.items()} | self.embedding_cosines()
            if self.step in validate_at:
                row |= self.validate()
            self.seconds += time.monotonic() - started
            if row:
                self.history.append(row)
                self._log(row)
            if self.step % choice.save_every == 0 or self.step == steps:
                self.save(identity, file)
            bar.update()
        bar.close()

    def advance(self) -> dict[str, Tensor]:
        """One optimiser step; the loss and its parts. Raises RunError where the loss is not finite."""
        self.network.train()
        torch.manual_seed(zlib.crc32(f"{self.run.seed} {self.step} dropout".encode()))  # a resumed run draws the same
        batch = self.sampler.batch(self.step)
        images = {m: drawn["image"].to(self.device) for m, drawn in batch.items()}
        labels = {m: drawn["label"].to(self.device) for m, drawn in batch.items()}
        drop = self.network.draw_depth({m: len(image) for m, image in images.items()}, self.run.seed, self.step)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed_precision):
            outputs = self.network(images, drop)
        embeddings = {m: entry.weight for m, entry in self.network.class_embeddings.items()}
        loss, parts = objective(outputs, labels, embeddings, self.settings.objective)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.optimiser.clip, foreach=True)
        if not torch.isfinite(loss + norm):  # before a step could spoil the weights
            raise RunError(self._not_finite(batch, {**parts, "gradient": norm}))
        self.optimiser.step()
        self.scheduler.step()
        self.step += 1
        return {"loss": loss.detach(), **parts}

    def _not_finite(self, batch: dict[str, dict[str, Any]], parts: dict[str, Tensor]) -> str:
        shown = ", ".join(f"{name} {float(value):.3g}" for name, value in parts.items())
        cases = "; ".join(
            f"{m} {', '.join(self.settings.cases[m]['train'][i] for i in drawn['cases'])}" for m, drawn in batch.items()
        )
        return (
            f"{self.run.key}: loss or gradient is not finite at step {self.step + 1} ({shown}); cases {cases}. "
            f"A save of an earlier step stays."
        )

    def validate(self) -> dict[str, float]:
        """Mean Dice (%) of every structure of every modality on the preprocessed grid, and their mean."""
        self.network.eval()
        row = {}
        for m, cases in self.validation.items():
            scores = []
            for image, label in cases:
                found = probabilities(self.network, image, m, VALIDATION_OVERLAP)
                found, truth = found.argmax(dim=0).cpu().numpy(), label[0].cpu().numpy()
                present = [(v, truth == v) for v in range(1, self.settings.classes) if (truth == v).any()]
                scores += [(v, dice(found == v, mask)) for v, mask in present]
            for value, structure in enumerate(self.settings.structures, start=1):
                values = [score for v, score in scores if v == value]
                row |= {f"dice_{m}_{structure}": sum(values) / len(values)} if values else {}
        return {**row, "dice": sum(row.values()) / len(row)}

    def embedding_cosines(self) -> dict[str, float]:
        """Cosine between the modalities' class embeddings, class by class; the mean over pairs of modalities."""
        weights = [entry.weight.detach() for entry in self.network.class_embeddings.values()]
        if len(weights) < 2:
            return {}
        names = ["background", *self.settings.structures]
        pairs = [torch.cosine_similarity(a, b, dim=-1) for a, b in itertools.combinations(weights, 2)]
        cosines = torch.stack(pairs).mean(dim=0).tolist()
        return {f"cosine_{name}": cosine for name, cosine in zip(names, cosines, strict=True)}

    def correspondence(self) -> list[float] | None:
        """What the correlations know of the classes, a scale at a time, on further training crops; None without any."""
        tau = self.settings.objective.tau
        if self.settings.objective.gamma is None or tau is None or len(self.run.modalities) < 2:
            return None
        batches = (self.sampler.batch(self.step + k) for k in range(CROPS_FOR_CORRESPONDENCE))
        images = ({m: drawn["image"].to(self.device) for m, drawn in batch.items()} for batch in batches)
        return correspondence(self.network, images, tau)

    def _log(self, row: dict[str, float]) -> None:
        steps = self.settings.optimiser.steps
        left = self.seconds / self.step * (steps - self.step)
        shown = " ".join(f"{name} {value:.4g}" for name, value in row.items() if not name.startswith(UNSHOWN))
        times = f"{self.seconds:.0f} s, {left:.0f} s left"
        tqdm.write(f"step {self.step}/{steps} {times}: {shown}", file=sys.stderr)


def _optimiser(network: Network, choice: Optimiser) -> torch.optim.Optimizer:
    """AdamW; weight decay on all that has more than one axis."""
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": choice.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=choice.learning_rate,
        betas=(0.9, choice.beta2),
        fused=True,
    )


def _schedule(optimiser: torch.optim.Optimizer, choice: Optimiser) -> torch.optim.lr_scheduler.LRScheduler:
    if choice.schedule == "one_cycle":
        return torch.optim.lr_scheduler.OneCycleLR(
            optimiser, choice.learning_rate, choice.steps, pct_start=choice.warm_up, cycle_momentum=False
        )
    warm_up = max(1, round(choice.warm_up * choice.steps))
    rising = torch.optim.lr_scheduler.LinearLR(optimiser, 1 / warm_up, total_iters=warm_up)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, choice.steps - warm_up))
    return torch.optim.lr_scheduler.SequentialLR(optimiser, [rising, falling], milestones=[warm_up])


def _write_results(training: Training, folder: Path, identity: dict[str, Any]) -> None:
    """history.csv, run.json and, last, weights.safetensors; each appears whole or not at all."""
    columns = list(dict.fromkeys(name for row in training.history for name in row))
    with whole(folder / "history.csv") as path, path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(training.history)
    with whole(folder / "run.json") as path:
        path.write_text(json.dumps(_record(training, identity), indent=1) + "\n", "utf-8")
    with whole(folder / "weights.safetensors") as path:
        save_file({name: value.contiguous().cpu() for name, value in training.network.state_dict().items()}, path)


def _record(training: Training, identity: dict[str, Any]) -> dict[str, Any]:
    """Where the weights come from: commit, versions, hardware, start, cases, seconds."""
    run, device = training.run, training.device
    manifests = {m: json.loads((run.cases_folder(m) / "manifest.json").read_text("utf-8")) for m in run.modalities}
    return {
        "key": run.key,
        "commit": training.commit,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "monai": monai.__version__,
        "backbone": version_of(training.settings.network.backbone.build),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU ({platform.machine()})",
        "cores": os.cpu_count(),
        "threads": identity["threads"],
        "seconds": round(training.seconds, 1),
        "steps": training.step,
        "parameters": parameter_count(training.network.parameters()),
        "correspondence": training.correspondence(),
        "init": training.settings.init,
        "imagenet": _imagenet_record(training.imagenet, identity["imagenet"]),
        "preprocessing": {m: manifest["settings"] for m, manifest in manifests.items()},
        "trained_on": {
            m: {case: manifests[m]["ranges"][case] for case in parts["train"]}
            for m, parts in training.settings.cases.items()
        },
        "cases": {m: manifest["files"] for m, manifest in manifests.items()},
    }


def _imagenet_record(report: Report | None, sha256: str) -> dict[str, Any] | None:
    """What became of every tensor of the network, and of the checkpoint."""
    if report is None:
        return None
    tensors = {row.parameter: f"{row.status} {row.source}".strip() for row in report.rows}
    return {"sha256": sha256, "tensors": tensors, "unused": report.unused}
