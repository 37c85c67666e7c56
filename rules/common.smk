# Settings, wildcards and the few helpers that more than one rule file needs.
import hashlib
import json
import os
import shlex
import shutil
from pathlib import Path

from snakemake_logger_plugin_ssc import LogHandler
from ssc import jobs, matrix
from ssc.config import Settings
from ssc.errors import DataError, MissingDataError, UserError
from ssc.runs import commit, fingerprint, run_settings
from ssc.tasks import source_cases, sources, tasks

try:
    matrix.check()
    settings = Settings.read(config)
except UserError as error:
    raise WorkflowError(error)

# Jobs inherit this. By default glibc gives large tensors back to the system and pages them in anew, step by step.
os.environ.setdefault(
    "GLIBC_TUNABLES",
    "glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=8589934592:glibc.malloc.hugetlb=1",
)

# Jobs import the package from here, wherever they work (`home`).
os.environ.update(PYTHONPATH=os.pathsep.join([workflow.basedir, *filter(None, [os.getenv("PYTHONPATH")])]))

# Whether results lie in a storage instead of this folder. A job there has no repository to ask for the commit.
STORED = workflow.storage_settings.default_storage_provider is not None
if STORED:
    os.environ.setdefault("SSC_COMMIT", commit())
    workflow.register_envvars("SSC_COMMIT")

# None where an executor sends jobs elsewhere: `workflow.cores` is an error then.
CORES = workflow.resource_settings.cores or len(os.sched_getaffinity(0))
REAL_CORES = min(CORES, len(os.sched_getaffinity(0)))  # what this workflow may keep busy
GPUS_A_JOB = 1 if shutil.which("nvidia-smi") else 0


RESULTS_CODE = fingerprint("ssc/results", "ssc/statistics.py", "ssc/contrasts.py", "config/matrix.yaml")
PHANTOM_CODE = fingerprint("ssc/data/phantoms")
TABLES = [f"results/tables/{table.name}.csv" for table in matrix.tables().values() if table.published]


def last_lines():
    """What the screen ends with; pandas is loaded only now."""
    if workflow.dag_settings.until or workflow.dag_settings.omit_from:
        return []  # targets were not made
    if STORED:
        return [
            f"Made, below {workflow.storage_settings.default_storage_prefix}: {' '.join(workflow.dag_settings.targets)}"
        ]
    from ssc.results.closing import closing

    return closing(workflow.dag_settings.targets)


LogHandler.closing = staticmethod(last_lines)


wildcard_constraints:
    data="|".join(matrix.DATA),
    scale="|".join(matrix.SCALES),
    task="|".join(tasks()),
    source="|".join(sources()),
    table="|".join(matrix.tables()),
    key="[^/]+/[^/]+/[^/]+/[^/]+/seed[0-9]+/[^/]+",
    part="test|validation",


def job_threads(wildcards):
    """So many of Snakemake's cores that no more jobs run at a time than the machine has cores."""
    return -(-CORES // REAL_CORES)


def real_threads(wildcards, threads):
    """The threads that a job may really compute on: its share of the machine."""
    return max(1, REAL_CORES // max(1, CORES // threads))


def run_of(wildcards):
    return matrix.Run.from_key(wildcards.key)


def raw_folder(data, source):
    """Where the raw scans of an archive lie. Machine paths reach shell commands, never recorded params."""
    return settings.raw_folder(data, source)


def raw_of(names, data=None):
    """Where the raw scans of some tasks lie, by source."""
    return {
        tasks()[name].source(m): raw_folder(data or settings.data_of(name), tasks()[name].source(m))
        for name in names
        for m in tasks()[name].modalities
    }


def folder(path):
    """A folder that a job makes or needs. Object storages know no folders: there it travels as an archive."""
    return f"{path}.tar" if STORED else path


def made_folder(path):
    """A folder as an output."""
    return folder(path) if STORED else directory(path)


def unpack(wildcards, input):
    """A command, in front of a job's own, that unpacks the folders it needs."""
    archives = [shlex.quote(os.path.abspath(path)) for path in input if path.endswith(".tar")]
    return f"python -m ssc.jobs unpack {' '.join(archives)} && " if archives else ""


def pack(wildcards, output):
    """A command, behind a job's own, that packs the folders it made."""
    archives = [shlex.quote(os.path.abspath(path)) for path in output if path.endswith(".tar")]
    return f" && python -m ssc.jobs pack {' '.join(archives)}" if archives else ""


def raw_input(data, source):
    """The folder of raw scans, where the workflow makes or fetches it, or where it lies in a storage.

    A user's own folder on this machine is no input: it may move.
    """
    place = raw_folder(data, source)
    if data == "phantom" or (source == "chaos" and place == "data/real/chaos" and not STORED):
        return [ancient(folder(place))]
    return [in_storage(source, place)] if STORED else []


def in_storage(name, path):
    """A path below the storage's prefix. Raises WorkflowError for one of this machine."""
    if os.path.isabs(path):
        raise WorkflowError(
            f"{name}: {path} lies on this machine, where jobs elsewhere cannot see it. Copy it into the storage and "
            f"name it from the storage's prefix on, e.g. {name}=data/real/{os.path.basename(path)}"
        )
    return path


def raw_inputs(data, *sources):
    """The raw scans of a job that looks at them again. In this folder such a job finds phantoms or makes them: a
    clone after `dvc pull` has none, and as missing inputs they would start everything anew.
    """
    return [place for source in sources for place in raw_input(data, source)] if STORED else []


def raw_of_tasks(names, data=None):
    """`raw_inputs` of all modalities of some tasks."""
    return [f for name in names for f in raw_inputs(data or settings.data_of(name), *raw_of([name], data))]


def home(wildcards, output):
    """Where a job works: the folder that its results/ and data/ lie in."""
    return shlex.quote(jobs.home(output[0]))


def raw_manifests(run):
    return [f"data/manifests/{run.data}/{tasks()[run.task].source(m)}.json" for m in run.modalities]


def case_manifests(run):
    return [f"{run.cases_folder(m)}/manifest.json" for m in run.modalities]


def case_files(run):
    """The cases themselves. Their manifests tell whether one has changed."""
    return [ancient(folder(f"{run.cases_folder(m)}/files")) for m in run.modalities]


def table_runs(table):
    """The trainings behind a table, at the configured data, scale, seeds and folds."""
    return _configured(matrix.table_runs, table, matrix.tables()[table].task)


def rates_runs(task):
    """The trainings behind the choice of learning rates on a task."""
    return matrix.rates_runs(task, settings.data_of(task), settings.scale, settings.seeds[0])


def claims_runs(task):
    """The trainings behind the claims on a task."""
    return _configured(matrix.claims_runs, task, task)


def _configured(runs, name, task):
    try:
        return runs(name, settings.data_of(task), settings.scale, settings.seeds, settings.folds)
    except UserError as error:
        raise WorkflowError(error)


def raw_state(wildcards):
    """Names and sizes of real scans' files, so that a changed folder is verified anew and a moved one is not; where
    they are gone but their manifest is here (a clone after `dvc pull`), what the manifest says.
    """
    if wildcards.data == "phantom" or STORED:
        return "an input"
    from ssc.data.verify import listing  # loads SimpleITK, which phantoms don't need here

    try:
        return listing(Path(raw_folder("real", wildcards.source)), wildcards.source)
    except MissingDataError:
        manifest = Path(f"data/manifests/real/{wildcards.source}.json")
        return json.loads(manifest.read_text("utf-8"))["listing"] if manifest.exists() else "missing"
    except DataError as error:
        return f"faulty: {error}"  # verifying it says so in one line


def case_settings(wildcards):
    """What decides a case, as JSON: one value, so that no change can hide from Snakemake."""
    task, modality = settings.task(wildcards.task), wildcards.modality
    chosen = {
        "to_case": task.to_case(modality, wildcards.data, wildcards.scale),
        "values": task.values(modality),
        "code": fingerprint(
            "ssc/data/preprocess.py", "ssc/data/scan.py", "ssc/data/nifti.py", "ssc/data/dicom.py", "ssc/data/sources"
        ),
    }
    return json.dumps(chosen, sort_keys=True)


def imagenet_file(wildcards):
    """The checkpoint that a run starts from, none where it starts at random."""
    run = run_of(wildcards)
    if run_settings(settings, run).init == "random":
        return []
    name = matrix.variants()[run.variant].backbone_row(tasks()[run.task]).imagenet
    given = getattr(settings, name)
    if given and STORED:
        return in_storage(name, given)
    if given and Path(given).is_file():
        return given
    if name == "swin_tiny" and not given:
        return "data/weights/swin_tiny.pth"
    missing = f"{given} is not there" if given else "no download of them is known"
    raise WorkflowError(
        f"{run.key}: init=imagenet needs the ImageNet weights {name}, and {missing}. "
        f"Give the file as {name}=/path/to/file, or set init=random."
    )


def regime_of(run):
    """How the run's backbone is trained and applied at its data and scale."""
    dims = matrix.variants()[run.variant].backbone_row(tasks()[run.task]).spatial_dims
    return settings.task(run.task).preset(run.data, run.scale).regime(dims)


def evaluation(wildcards):
    run = run_of(wildcards)
    return {
        "overlap": regime_of(run).overlap,
        "cases": {m: parts[wildcards.part] for m, parts in run.cases.items()},
        "structures": str(tasks()[run.task].structures),
        "code": fingerprint(
            "ssc/inference.py", "ssc/evaluation.py", "ssc/scoring.py", "ssc/metrics.py", "ssc/data/preprocess.py"
        ),
    }


def tasks_of(half):
    """Figure 4 alone shows the paper's two tasks, with a task's name that one."""
    return [half.removeprefix("_")] if half else ["heart", "abdomen"]


def main_runs(task):
    """The trainings behind a task's main table."""
    return [run for run in table_runs(tasks()[task].main_table) if not run.external]


def scores_of(runs):
    """The scores of runs. Those of an external method are the user's to make."""
    files = [f"{run.predictions('test')}/scores.csv" for run in runs]
    for run, file in zip(runs, files):
        if run.external and not STORED and not os.path.exists(file):
            raise WorkflowError(
                f"{file}: not there. Make it with ssc score FOLDER --task {run.task} --split {run.split} "
                f"--seed {run.configured_seed} --method {run.variant} --data {run.data} --scale {run.scale}"
            )
    return files


def drawn_by(*names):
    """What decides how results of these tasks are counted, and look."""
    return f"{RESULTS_CODE} {[(tasks()[name].structures, tasks()[name].patients) for name in names]}"


def figure4_spec(wildcards):
    runs = {task: [run.key for run in main_runs(task)] for task in tasks_of(wildcards.half)}
    return {"data": settings.data, "scale": settings.scale, "runs": runs, "code": drawn_by(*runs)}


def table_spec(wildcards):
    """What decides a table, its contrasts and its figures."""
    table = matrix.tables()[wildcards.table]
    return {
        "data": settings.data_of(table.task),
        "scale": settings.scale,
        "runs": [run.key for run in table_runs(table.name)],
        "table": str(table),
        "code": drawn_by(table.task),
    }


def first_of_ours(task):
    """The run of Ours on the first split of a task."""
    table = tasks()[task].main_table
    if "ours" not in matrix.tables()[table].methods:
        raise WorkflowError(f"what Ours has learned of {task}: its main table, {table}, has no method 'ours'")
    return next(run for run in main_runs(task) if run.variant == "ours")


def browser_state(wildcards):
    """A digest of every file that decides what the page shows, by size and time, so that a change draws it anew."""
    from ssc.results.browser import Found

    if STORED:
        raise WorkflowError("the browser shows results in this folder: fetch them from the storage first")
    states = {str(path): path.stat() for path in Found.below(Path("results")).files(Path("results"))}
    text = "".join(f"{path} {state.st_size} {state.st_mtime_ns}\n" for path, state in states.items())
    return hashlib.sha256(text.encode()).hexdigest()
