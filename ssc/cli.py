"""The command line: ``ssc COMMAND``. Thin; torch and MONAI are loaded only by the commands that need them."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from ssc.errors import DataError, SettingsError, UserError, refused_by_the_system
from ssc.presets import Data, Scale
from ssc.settings import nearest
from ssc.tasks import natural, source_cases, sources, tasks
from ssc.whole import check_place, whole

SOURCES = "btcv, chaos, mmwhs_ct, mmwhs_mri, or TASK_MODALITY of a task of yours"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. A user's mistake is one line on stderr and exit status 1."""
    options = _parser().parse_args(arguments)
    if getattr(options, "threads", None):  # before numpy's and torch's thread pools exist
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[name] = str(options.threads)
    try:
        options.command(options)
        sys.stdout.flush()
    except UserError as error:
        print(f"ssc: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("ssc: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"ssc: {refused_by_the_system(error)}", file=sys.stderr)
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
        added.add_argument("--threads", type=_threads, default=len(os.sched_getaffinity(0)), help="default: all cores")

    predict = command(_predict, "predict", "Segment your own scans with a trained run")
    predict.add_argument("run", type=Path, help="folder of a run, e.g. results/runs/…/ours, or of `ssc fold`")
    predict.add_argument("scans", type=Path, nargs="+", metavar="scan", help="NIfTI file, folder of them, DICOM folder")
    predict.add_argument(
        "-o", "--output", type=Path, required=True, help="label map to write, .nii.gz; of several scans a folder"
    )
    predict.add_argument("--modality", help="as the run names it, e.g. ct; DICOM may say it itself")
    predict.add_argument("--series", metavar="UID", help="SeriesInstanceUID, where the folder holds several volumes")
    predict.add_argument("--report", type=Path, metavar="FILE", help="write input, run, volumes and warnings as JSON")
    predict.add_argument("--probabilities", action="store_true", help="also .npz, classes first, on the scan's grid")
    predict.add_argument("--overlap", type=_overlap, default=0.5, help="of two windows, default 0.5")
    threads(predict)

    fold = command(_fold, "fold", "Fold a trained run into one plain network a modality")
    fold.add_argument("run", type=Path, help="folder of a run")
    fold.add_argument("folder", type=Path, help="where weights (safetensors) and their description (JSON) go")
    fold.add_argument(
        "--format",
        choices=("weights", "export", "onnx"),
        default="weights",
        help="also write the network of one window: torch.export's .pt2, or .onnx (pip install onnx onnxscript)",
    )

    doctor = command(_doctor, "doctor", "Check a folder of raw scans case by case")
    doctor.add_argument("folder", type=Path)
    doctor.add_argument("--json", type=Path, metavar="FILE", help="also write what was found, for programs")
    doctor.add_argument("--source", metavar="ARCHIVE", help="all that are in the folder if left out")

    task = command(_task, "task", "Propose a task from folders of your own labelled scans")
    task.add_argument("name", help="of the task, its table and its file, config/tasks/NAME.yaml")
    task.add_argument("scans", nargs="+", metavar="MODALITY=FOLDER", help="nnU-Net raw, MSD, AMOS22 or plain pairs")
    task.add_argument("--backbone", nargs="+", default=["unet"], metavar="NAME", help="one or several; default unet")
    task.add_argument("--folds", type=int, help="parts that are tested in turn, default 5")
    task.add_argument("--repeats", type=int, help="of the folds, each a new partition, default 1")
    task.add_argument("--structures", nargs="+", default=[], metavar="NAME[=VALUE]", help="default: all that are named")
    task.add_argument("--layout", choices=("nnunet", "msd", "amos", "pairs"), help="default: as the folders look")
    task.add_argument("--images", metavar="PATTERN", help="of pairs, e.g. 'images/{case}.nii.gz'")
    task.add_argument("--labels", metavar="PATTERN", help="of pairs, e.g. 'labels/{case}.nii.gz'")
    task.add_argument(
        "--cases", nargs="+", default=[], metavar="MODALITY=IDS",
        help="which of a folder: globs with commas, or @FILE.csv:COLUMN=VALUE, whose column case has the ids",
    )  # fmt: skip
    task.add_argument("--splits", type=Path, metavar="FILE", help="splits_final.json, or a datalist with folds")
    task.add_argument("--test", nargs="+", default=[], metavar="CASE", help="the test part of each fold of --splits")
    task.add_argument("--patients", type=Path, metavar="FILE", help="CSV with the columns case and patient")

    train = command(_train, "train", "Train a run from its settings.json; goes on where it was stopped")
    train.add_argument("run", type=Path)
    train.add_argument("--imagenet", type=Path, help="checkpoint, where settings.json says init: imagenet")
    train.add_argument("--state", type=Path, default=Path("state"), help="where saves go, default state")
    threads(train)

    evaluate = command(_evaluate, "evaluate", "Segment and score a part of a run's split")
    evaluate.add_argument("run", type=Path)
    evaluate.add_argument("--part", choices=("test", "validation"), default="test")
    evaluate.add_argument("--overlap", type=_overlap, default=0.5, help="of two windows, default 0.5")
    threads(evaluate)

    preprocess = command(_preprocess, "preprocess", "Turn a folder of raw scans into cases")
    preprocess.add_argument("source", metavar="ARCHIVE", help=SOURCES)
    preprocess.add_argument("folder", type=Path, help="raw scans")
    preprocess.add_argument("cases", type=Path, help="folder to write")
    preprocess.add_argument("--settings", type=json.loads, required=True, help="to_case, values (JSON)")
    preprocess.add_argument("--need", nargs="*", default=[], metavar="CASE", help="cases that must be there")
    threads(preprocess)

    manifest = command(_manifest, "manifest", "Verify a folder of raw scans and write its checksums")
    manifest.add_argument("source", metavar="ARCHIVE", help=SOURCES)
    manifest.add_argument("folder", type=Path)
    manifest.add_argument("manifest", type=Path, help="JSON file to write")
    threads(manifest)

    phantoms = command(_phantoms, "phantoms", "Write phantoms in the layout of an archive")
    phantoms.add_argument("source", metavar="ARCHIVE", help="btcv, chaos, mmwhs_ct or mmwhs_mri")
    phantoms.add_argument("folder", type=Path)
    threads(phantoms)

    download = command(_download, "download", "Fetch the CHAOS archive (T2-SPIR series), or Swin-T's ImageNet weights")
    download.add_argument("what", choices=("chaos", "swin_tiny"))
    download.add_argument("path", type=Path, help="folder, or file, to make")

    explain = command(_explain, "explain", "Show the cases and files behind one number of a table")
    explain.add_argument("table", type=Path, help="e.g. results/tables/table6.csv")
    explain.add_argument("--method", default="ours", help="a row of the table, default ours")
    explain.add_argument("--modality", help="a modality of the table, or overall; default: all")
    explain.add_argument("--structure", default="mean", help="a structure's name, or mean (default)")
    explain.add_argument("--metric", choices=("dice", "asd"), default="dice")
    explain.add_argument("--grid", choices=("native", "preprocessed"), default="native")

    view = command(_view, "view", "Look at a label map on its scan, in a web browser")
    view.add_argument("labels", type=Path, help="label map, e.g. of `ssc predict`")
    view.add_argument("--scan", type=Path, required=True, help="NIfTI file or DICOM folder")
    view.add_argument("--truth", type=Path, help="the true label map")
    view.add_argument("--task", help="whose structures the values are, e.g. abdomen; default: numbers")
    view.add_argument("--modality", help="of that task: whose values the true label map has")
    view.add_argument("--save", type=Path, metavar="PAGE.html", help="write the page instead of opening it")

    score = command(_score, "score", "Score label maps from elsewhere, for a row `external: true` of a table")
    score.add_argument("folder", type=Path, help="label maps MODALITY_CASE.nii.gz of the test cases")
    score.add_argument("--method", required=True, help="the row of config/matrix.yaml")
    _of_split(score)
    score.add_argument("--map", type=_values, metavar="5=liver,…", help="values there; default: ours, 1, 2, …")

    export = command(_export, "export-nnunet", "Write a split as a data set of nnU-Net v2")
    export.add_argument("folder", type=Path, help="to make, e.g. nnUNet_raw/Dataset501_Abdomen")
    export.add_argument("--kind", choices=("cases", "raw"), default="cases", help="preprocessed, or scans")
    _of_split(export)
    export.add_argument(
        "--raw", nargs="+", default=[], metavar="MODALITY=FOLDER", help="scans; default: as in config/config.yaml"
    )

    learned = command(_learned, "learned", "Write what a run with External Attention Modules has learned")
    learned.add_argument("run", type=Path)
    learned.add_argument("arrays", type=Path, help=".npz file to write")
    threads(learned)

    describe = command(_describe, "describe", "Write Table 3: both backbones as they are built")
    describe.add_argument("table", type=Path, help="CSV file to write")
    describe.add_argument("--settings", type=json.loads, default={}, help="configuration (JSON)")

    command(_config, "config", "Print the default configuration with its explanations")
    return parser


def _of_split(added: argparse.ArgumentParser) -> None:
    """The options that name a split."""
    added.add_argument("--task", required=True)
    added.add_argument("--split", required=True, help="e.g. draw0")
    added.add_argument("--seed", type=int, default=0, help="the configuration's, default 0; a fold adds its own number")
    added.add_argument("--data", choices=get_args(Data), help="default: as in config/config.yaml")
    added.add_argument("--scale", choices=get_args(Scale), help="likewise")


def _values(text: str) -> dict[int, str]:
    pairs = [entry.partition("=") for entry in text.split(",")]
    if not all(value.isdecimal() and name for value, _, name in pairs):
        raise argparse.ArgumentTypeError(f"{text}: expected VALUE=STRUCTURE,…")
    return {int(value): name for value, _, name in pairs}


def _threads(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more")
    return int(text)


def _overlap(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= (overlap := float(text)) < 1:
            return overlap
    raise argparse.ArgumentTypeError(f"{text}: expected a share of a window, 0 or more and less than 1")


def _predict(options: argparse.Namespace) -> None:
    from ssc.data.reading import scans_in
    from ssc.device import lease, use_threads
    from ssc.inference import Predictor, predict_scan

    scans = [scan for given in options.scans for scan in scans_in(given)]
    outputs = _outputs(scans, options.scans, options.output)
    for option, file in [*(("-o", output) for output in outputs), ("--report", options.report)]:
        if file:
            _make_folder(file.parent, option)
            check_place(file)
    use_threads(options.threads)
    report = []
    with lease() as device:
        predictor = Predictor.load(options.run, options.overlap, device)
        for scan, output in zip(scans, outputs, strict=True):
            start = time.monotonic()
            try:
                found = predict_scan(predictor, scan, output, options.modality, options.series, options.probabilities)
            except UserError as error:
                if len(scans) == 1:
                    raise
                print(f"ssc: {error}", file=sys.stderr)  # the others are segmented all the same
                continue
            seconds = time.monotonic() - start
            for warning in found.warnings:
                print(f"ssc: warning: {scan}: {warning}", file=sys.stderr)
            volumes = ", ".join(f"{name} {volume:.0f} ml" for name, volume in found.volumes_ml.items())
            print(f"{output}: label map of {scan}, {found.modality.upper()}, {seconds:.0f} s: {volumes}", flush=True)
            place = {"scan": str(scan), "label_map": str(output), "seconds": round(seconds, 1)}
            report.append(place | asdict(found))
    if options.report:
        content = report if _several(scans, options.scans) else report[0]
        with whole(options.report) as path:
            path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    if len(report) < len(scans):
        raise DataError(f"{options.output}: {len(scans) - len(report)} of {len(scans)} scans have no label map")


def _several(scans: list[Path], given: list[Path]) -> bool:
    """Whether label maps go into a folder: several scans were given, or a folder of them."""
    return scans != given or len(scans) > 1


def _outputs(scans: list[Path], given: list[Path], output: Path) -> list[Path]:
    """A label map for each scan. Raises DataError where that cannot be."""
    from ssc.data.nifti import ENDINGS, stem

    if not _several(scans, given):
        if not output.name.endswith(ENDINGS):
            raise DataError(f"{output}: label maps are NIfTI; expected a name ending in .nii or .nii.gz")
        outputs = [output]
    else:
        if output.name.endswith(ENDINGS) or output.is_file():
            raise DataError(f"{output}: {len(scans)} scans were given; expected a folder for their label maps")
        stems = [stem(scan.name) for scan in scans]
        twice = sorted({stem for stem in stems if stems.count(stem) > 1})
        if twice:
            raise DataError(f"{output}: two scans are named {twice[0]}; give their folders in turn")
        outputs = [output / f"{stem}.nii.gz" for stem in stems]
    for scan, file in zip(scans, outputs, strict=True):
        if file.resolve() == scan.resolve():
            raise DataError(f"{file}: expected another file than the scan")
    return outputs


def _make_folder(folder: Path, option: str) -> None:
    """A folder for what an option names, before any work. Raises DataError where there can be none."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{folder}: no folder can be made there ({error.strerror}); name another with {option}"
        ) from None


def _fold(options: argparse.Namespace) -> None:
    from ssc.exporting import check_format, write_exported
    from ssc.inference import write_folded

    check_format(options.format)
    write_folded(options.run, options.folder)
    if options.format != "weights":
        write_exported(options.folder, options.format)


def _doctor(options: argparse.Namespace) -> None:
    from ssc.data.verify import doctor

    findings = []
    for found in doctor(options.folder, options.source, _use_of):
        volumes = ", ".join(f"{name} {volume:.0f} ml" for name, volume in found.volumes_ml.items())
        print(f"{found.source} {found.case}: {found.fault or f'ok; {volumes}'}", flush=True)
        for warning in found.warnings:
            print(f"ssc: warning: {found.source} {found.case}: {warning}", file=sys.stderr)
        findings.append(found)
    faults, warned = sum(found.fault is not None for found in findings), sum(bool(f.warnings) for f in findings)
    print(f"{len(findings)} cases, {faults} with faults, {warned} with warnings")
    checked = {
        name: {found.case for found in findings if found.source == name} for name in {f.source: 0 for f in findings}
    }
    missing = [f"{name} {case}" for name in checked for case in source_cases(name) if case not in checked[name]]
    if missing:
        print(f"not there, but named in a split: {', '.join(missing)}")
    if options.json:
        with whole(options.json) as path:
            path.write_text(json.dumps([asdict(found) for found in findings], indent=1) + "\n", "utf-8")
    if faults or missing:
        raise DataError(f"{options.folder}: {faults} of {len(findings)} cases have faults, {len(missing)} are missing")


def _task(options: argparse.Namespace) -> None:
    from ssc.proposal import propose, read_patients, wishes_of

    if bool(options.images) != bool(options.labels):
        raise SettingsError("--images and --labels go together")
    path = propose(
        options.name,
        wishes_of(options.scans, options.cases),
        options.backbone,
        options.folds,
        options.repeats,
        options.layout,
        (options.images, options.labels) if options.images else None,
        options.structures,
        options.splits,
        options.test,
        read_patients(options.patients) if options.patients else None,
        _progress,
    )
    print(f"{path}: read it, change what you like; then\nsnakemake --cores all -- results/tables/{options.name}.csv")


def _train(options: argparse.Namespace) -> None:
    from ssc.device import lease, use_threads
    from ssc.training import train

    use_threads(options.threads)
    with lease() as device:
        train(options.run, options.imagenet, options.state, options.threads, device)


def _evaluate(options: argparse.Namespace) -> None:
    from ssc.device import lease, use_threads
    from ssc.evaluation import evaluate

    use_threads(options.threads)
    with lease() as device:
        evaluate(options.run, options.part, options.overlap, device)


def _preprocess(options: argparse.Namespace) -> None:
    import SimpleITK as sitk

    from ssc.data import phantoms
    from ssc.data.preprocess import write_cases
    from ssc.data.sources import source

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(options.threads)
    archive, values = source(options.source), options.settings["values"]
    if options.folder == Path("data/phantom", options.source):
        phantoms.ensure(options.source, options.folder)  # a clone after `dvc pull` has none
    found = archive.cases(options.folder)
    missing = sorted(set(options.need) - set(found), key=natural)
    if missing:
        raise DataError(
            f"{options.folder}: {len(found)} {options.source} cases found, the splits also need "
            f"{', '.join(missing)}. See config/tasks and docs/data.md."
        )
    scans = (archive.read(options.folder, case, values) for case in _progress(found))
    write_cases(scans, options.cases, **options.settings["to_case"])


def _manifest(options: argparse.Namespace) -> None:
    from ssc.data.verify import manifest

    values = _use_of(options.source).values
    found = manifest(options.source, options.folder, values, _progress)
    with whole(options.manifest) as path:
        path.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def _phantoms(options: argparse.Namespace) -> None:
    from ssc.data.phantoms import ensure

    if options.folder.is_dir():
        if any(options.folder.iterdir()):
            raise DataError(f"{options.folder}: holds files already, expected it empty or absent. Remove it first.")
        options.folder.rmdir()
    ensure(options.source, options.folder)


def _download(options: argparse.Namespace) -> None:
    from ssc.data.download import download, extract

    options.path.parent.mkdir(parents=True, exist_ok=True)
    if options.what == "chaos":
        from ssc.data.sources.chaos import ARCHIVE

        archive = options.path.with_name("CHAOS_Train_Sets.zip")
        download(ARCHIVE.address, archive, ARCHIVE.size, ARCHIVE.sha256)
        extract(archive, options.path, ARCHIVE.members)
        return
    from ssc.models.pretrained import CHECKPOINTS

    weights = CHECKPOINTS["swin_unet"]
    try:
        download(weights.address, options.path, weights.size, weights.sha256)
    except DataError as error:
        raise DataError(f"{error} Or name a copy of yours: --config swin_tiny=/path/to/file.") from None


def _explain(options: argparse.Namespace) -> None:
    from ssc.results.explain import explain

    choice = (options.table, options.method, options.modality, options.structure, options.metric, options.grid)
    for line in explain(*choice):
        print(line)


def _view(options: argparse.Namespace) -> None:
    import tempfile
    import webbrowser

    from ssc.results.viewer import view

    task = tasks().get(options.task)
    if options.task and not task:
        raise SettingsError(f"--task {options.task}: {nearest(options.task, tasks())}")
    if options.modality and (not task or options.modality not in task.modalities):
        raise SettingsError(f"--modality {options.modality}: expected one of a --task's")
    if options.truth and task and not options.modality:
        raise SettingsError(f"--truth with --task: whose values has it? Give --modality: {', '.join(task.modalities)}")
    if options.save:
        check_place(options.save)
    page = view(options.labels, options.scan, options.truth, task, options.modality)
    path = options.save or Path(tempfile.mkdtemp(prefix="ssc-view-")) / "view.html"
    with whole(path) as partial:
        partial.write_text(page, "utf-8")
    print(path)
    if not options.save and not webbrowser.open(path.resolve().as_uri()):
        print("ssc: no web browser could be started; open the file above with one", file=sys.stderr)


def _score(options: argparse.Namespace) -> None:
    from ssc.scoring import score_folder

    run = _chosen_split(options, options.method)
    missing = score_folder(options.folder, run, options.map)
    if missing:
        print(f"ssc: warning: {options.folder}: no label map of {', '.join(missing)}: missed", file=sys.stderr)
    print(f"{run.predictions('test')}/scores.csv: {run.variant}")


def _export(options: argparse.Namespace) -> None:
    from ssc.nnunet import export

    run = _chosen_split(options, "joint_plain")
    export(run, options.kind, options.folder, _raw_folders(options, run), _progress)
    print(f"{options.folder}: {run.task}, {run.split}; set nnUNet_raw to {options.folder.parent}")


def _chosen_split(options: argparse.Namespace, method: str):
    """The run of a method on the split that was named. Raises SettingsError."""
    from ssc import matrix
    from ssc.config import Settings

    settings = Settings.of_file()
    for name, known in ((options.task, tasks()), (method, matrix.variants())):
        if name not in known:
            raise SettingsError(f"'{name}': {nearest(name, known)}")
    task = tasks()[options.task]
    if options.split not in task.splits:
        raise SettingsError(f"task {task.name}: no split '{options.split}'; {nearest(options.split, task.splits)}")
    data = options.data or settings.data_of(task.name)
    seed = options.seed + matrix.seed_offset(options.split)
    return matrix.Run(data, options.scale or settings.scale, task.name, options.split, seed, method, None)


def _raw_folders(options: argparse.Namespace, run) -> dict[str, Path]:
    """Where the raw scans of a run's modalities lie. Raises SettingsError."""
    from ssc.config import Settings
    from ssc.proposal import assigned

    settings, task = Settings.of_file(), tasks()[run.task]
    given = assigned(options.raw, "MODALITY=FOLDER")
    for modality in given:
        if modality not in task.modalities:
            raise SettingsError(f"--raw {modality}: no such modality; {nearest(modality, task.modalities)}")
    folders = {m: given.get(m) or settings.raw_folder(run.data, task.source(m)) for m in task.modalities}
    return {m: Path(folder).expanduser() for m, folder in folders.items()}


def _learned(options: argparse.Namespace) -> None:
    from ssc.device import use_threads
    from ssc.learned import write_learned

    use_threads(options.threads)
    write_learned(options.run, options.arrays)


def _describe(options: argparse.Namespace) -> None:
    import pandas as pd

    from ssc.config import Settings
    from ssc.describe import describe

    settings = Settings.read(options.settings)
    with whole(options.table) as path:
        pd.DataFrame(describe(settings, settings.data, settings.scale)).to_csv(path, index=False, lineterminator="\n")


def _config(options: argparse.Namespace) -> None:
    from ssc.config import default_yaml

    print(default_yaml(), end="")


def _use_of(source: str):
    """What some raw scans are for, of verify's type, at small scale. Raises SettingsError."""
    from ssc.data.verify import Use

    if source not in sources():
        raise SettingsError(f"{source}: no task in config/tasks uses it; known: {', '.join(sources())}")
    name, modality = sources()[source]
    task = tasks()[name]
    return Use(task.structures, task.values(modality), task.to_case(modality, "real", "small"))


def _progress(cases: Sequence[str]):
    """A bar in a terminal, nothing in a log file."""
    from tqdm import tqdm

    return tqdm(cases, unit="case", disable=not sys.stderr.isatty())
