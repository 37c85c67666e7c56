"""The command line: ``ssc COMMAND``. Thin; torch and MONAI are loaded only by the commands that need them."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ssc.errors import DataError, RunError, SettingsError, UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. A user's mistake is one line on stderr and exit status 1."""
    options = _parser().parse_args(arguments)
    if getattr(options, "threads", None):  # before numpy's and torch's thread pools exist
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[name] = str(options.threads)
    try:
        options.command(options)
    except UserError as error:
        print(f"ssc: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ssc", description=__doc__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(function: Callable[[argparse.Namespace], None], name: str, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(command=function)
        return added

    def threads(added: argparse.ArgumentParser) -> None:
        added.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: all cores")

    predict = command(_predict, "predict", "Segment your own scan with a trained run")
    predict.add_argument("run", type=Path, help="folder of a run, e.g. results/runs/…/ours")
    predict.add_argument("scan", type=Path, help="NIfTI file, or folder with one DICOM series")
    predict.add_argument("-o", "--output", type=Path, required=True, help="label map to write, .nii.gz")
    predict.add_argument("--modality", choices=("ct", "mri"), help="needed for NIfTI; DICOM names its own")
    predict.add_argument("--overlap", type=float, default=0.5, help="of two windows, default 0.5")
    threads(predict)

    doctor = command(_doctor, "doctor", "Check a folder of raw scans case by case")
    doctor.add_argument("folder", type=Path)
    doctor.add_argument("--source", choices=("btcv", "chaos"), help="guessed from the layout if left out")

    train = command(_train, "train", "Train a run from its settings.json; goes on where it was stopped")
    train.add_argument("run", type=Path)
    threads(train)

    evaluate = command(_evaluate, "evaluate", "Segment and score a part of a run's split")
    evaluate.add_argument("run", type=Path)
    evaluate.add_argument("--part", choices=("test", "validation"), default="test")
    evaluate.add_argument("--overlap", type=float, default=0.5, help="of two windows, default 0.5")
    evaluate.add_argument("--raw", nargs="+", required=True, metavar="MODALITY=FOLDER", help="raw scans")
    threads(evaluate)

    preprocess = command(_preprocess, "preprocess", "Turn a folder of raw scans into cases")
    preprocess.add_argument("source", choices=("btcv", "chaos"))
    preprocess.add_argument("folder", type=Path, help="raw scans")
    preprocess.add_argument("cases", type=Path, help="folder to write")
    preprocess.add_argument("--settings", type=json.loads, required=True, help="spacing_mm, plane, clip (JSON)")
    preprocess.add_argument("--need", nargs="*", default=[], metavar="CASE", help="cases that must be there")
    threads(preprocess)

    manifest = command(_manifest, "manifest", "Verify a folder of raw scans and write its checksums")
    manifest.add_argument("source", choices=("btcv", "chaos"))
    manifest.add_argument("folder", type=Path)
    manifest.add_argument("manifest", type=Path, help="JSON file to write")
    threads(manifest)

    phantoms = command(_phantoms, "phantoms", "Write phantoms in the layout of an archive")
    phantoms.add_argument("source", choices=("btcv", "chaos"))
    phantoms.add_argument("folder", type=Path)
    threads(phantoms)

    download = command(_download, "download", "Fetch the CHAOS archive and unpack its T2-SPIR series")
    download.add_argument("folder", type=Path)

    command(_config, "config", "Print the default configuration with its explanations")
    return parser


def _predict(options: argparse.Namespace) -> None:
    from ssc.device import lease, use_threads
    from ssc.inference import predict_scan

    if not options.output.name.endswith((".nii", ".nii.gz")):
        raise DataError(f"{options.output}: label maps are NIfTI; expected a name ending in .nii or .nii.gz")
    if not options.output.parent.is_dir() or options.output.resolve() == options.scan.resolve():
        raise DataError(f"{options.output}: expected another file than the scan, in a folder that exists")
    use_threads(options.threads)
    with lease() as device:
        predict_scan(options.run, options.scan, options.output, options.modality, options.overlap, device)


def _doctor(options: argparse.Namespace) -> None:
    from ssc.data.verify import doctor

    report = doctor(options.folder, options.source, _source_values)
    for case, found in report:
        print(f"{case}: {found}")
    faults = sum(found != "ok" for _, found in report)
    print(f"{len(report)} cases, {faults} with faults")
    missing = sorted(_split_cases(report) - {case for case, _ in report}, key=int)
    if missing:
        print(f"not there, but named in config/splits.yaml: {', '.join(missing)}")
    if faults or missing:
        raise DataError(f"{options.folder}: {faults} of {len(report)} cases have faults, {len(missing)} are missing")


def _train(options: argparse.Namespace) -> None:
    from ssc.device import lease, use_threads
    from ssc.training import train

    if not (options.run / "settings.json").is_file():
        raise RunError(f"{options.run}: settings.json is missing; make it with snakemake {options.run}/settings.json")
    use_threads(options.threads)
    with lease() as device:
        train(options.run, options.threads, device)


def _evaluate(options: argparse.Namespace) -> None:
    from ssc.device import lease, use_threads
    from ssc.inference import evaluate

    raw = {}
    for entry in options.raw:
        modality, _, folder = entry.partition("=")
        raw[modality] = Path(folder)
    use_threads(options.threads)
    with lease() as device:
        evaluate(options.run, options.part, options.overlap, raw, device)


def _preprocess(options: argparse.Namespace) -> None:
    import SimpleITK as sitk

    from ssc.data.preprocess import write_cases
    from ssc.data.sources import source

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(options.threads)
    archive, values = source(options.source), _source_values(options.source)
    found = archive.cases(options.folder)
    missing = sorted(set(options.need) - set(found), key=int)
    if missing:
        raise DataError(
            f"{options.folder}: {len(found)} {options.source} cases found, the splits also need "
            f"{', '.join(missing)}. See config/splits.yaml and docs/data.md."
        )
    scans = (archive.read(options.folder, case, values) for case in _progress(found))
    settings = {key: options.settings[key] for key in ("spacing_mm", "plane", "clip")}
    write_cases(scans, options.cases, **settings, classes=len(values) + 1)


def _manifest(options: argparse.Namespace) -> None:
    from ssc.data.verify import manifest

    found = manifest(options.source, options.folder, _source_values(options.source), _progress)
    options.manifest.parent.mkdir(parents=True, exist_ok=True)
    partial = options.manifest.with_suffix(".part")
    partial.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    partial.replace(options.manifest)


def _phantoms(options: argparse.Namespace) -> None:
    from ssc.data import phantoms
    from ssc.data.splits import BTCV_CASES, CHAOS_CASES

    partial = options.folder.with_name(f"{options.folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    write, cases = {
        "btcv": (phantoms.write_btcv, BTCV_CASES),
        "chaos": (phantoms.write_chaos, CHAOS_CASES),
    }[options.source]
    write(partial, cases)
    shutil.rmtree(options.folder, ignore_errors=True)
    partial.replace(options.folder)


def _download(options: argparse.Namespace) -> None:
    from ssc.data.download import download, extract
    from ssc.data.sources.chaos import ARCHIVE

    archive = options.folder.with_name("CHAOS_Train_Sets.zip")
    archive.parent.mkdir(parents=True, exist_ok=True)
    download(ARCHIVE.address, archive, ARCHIVE.size, ARCHIVE.sha256)
    extract(archive, options.folder, ARCHIVE.members)


def _config(options: argparse.Namespace) -> None:
    from ssc.config import default_yaml

    print(default_yaml(), end="")


def _source_values(name: str) -> list[tuple[int, int]]:
    """Label values of an archive, from the task that uses it. Raises SettingsError."""
    from ssc import matrix

    for task in matrix.tasks().values():
        if name in task.modalities.values():
            return task.source_values(name)
    raise SettingsError(f"config/matrix.yaml: no task uses the archive {name}")


def _split_cases(report: list[tuple[str, str]]) -> set[str]:
    """Every case that the splits name for the modality of these cases."""
    from ssc import matrix

    named = {}
    for split in (split for splits in matrix.splits().values() for split in splits.values()):
        for modality, parts in split.items():
            named.setdefault(modality, set()).update(case for cases in parts.values() for case in cases)
    return max(named.values(), key=lambda cases: len(cases & {case for case, _ in report}))


def _progress(cases: Sequence[str]):
    """A bar in a terminal, nothing in a log file."""
    from tqdm import tqdm

    return tqdm(cases, unit="case", disable=not sys.stderr.isatty())
