"""The literal command, its table, and what a change runs again."""

import json
import re
import time

import pandas as pd
import pytest

COMMAND = "snakemake --cores 8 --resources gpu=2 results/tables/table6.csv"
ALL_RUNS = {"settings": 4, "train": 4, "evaluate": 4, "table": 1}


def test_the_literal_command_makes_the_table(made):
    table = pd.read_csv(made.folder / "results/tables/table6.csv")
    assert len(table) == 3 * 9 * 2 * (2 * 5 + 1)  # methods, metrics, grids, numbers a line
    assert list(table["method"].unique()) == ["baseline", "joint_v2", "ours"]
    assert (table["data"] == "phantom").all() and (table["scale"] == "smoke").all()
    assert table.loc[table["mean"].isna(), "missed"].equals(table.loc[table["mean"].isna(), "n"])
    assert table.query("metric in ('dice', 'asd')")["published_mean"].notna().all()
    ours = table.query("method == 'ours' and metric == 'dice' and modality == 'overall'").iloc[0]
    assert ours["published_mean"] == 93.3 and ours["published_difference"] == 2.6


def test_job_times_are_noted(made):
    jobs = [json.loads(line) for line in (made.folder / "logs/jobs.jsonl").read_text("utf-8").splitlines()]
    assert [job["rule"] for job in jobs].count("train") >= 4
    assert all(job["seconds"] > 0 for job in jobs if job["rule"] == "train")


def test_the_cells_follow_from_the_case_files(made):
    """One cell by hand: the liver in CT, Ours, on the scan's own grid."""
    scores = pd.read_csv(made.folder / "results/predictions/phantom/smoke/abdomen/draw0/seed0/ours/test/scores.csv")
    values = scores.query("modality == 'ct' and structure == 'liver' and grid == 'native'")["dice"]
    assert len(values) == 6
    table = pd.read_csv(made.folder / "results/tables/table6.csv")
    cell = table.query("method == 'ours' and modality == 'ct' and structure == 'liver' and grid == 'native'").iloc[0]
    assert cell["mean"] == pytest.approx(sum(values) / 6, abs=1e-4) and cell["patients"] == 6


def test_the_rendered_tables_are_marked_and_complete(made):
    for name in ("table6.md", "table6.html"):
        text = (made.folder / "results/tables" / name).read_text("utf-8").replace("\xa0", " ")
        assert "PHANTOM DATA" in text and "Scale: smoke" in text
        assert all(label in text for label in ("Baseline", "Joint V2", "Ours (w/ CR)", "R-kdy", "93.3"))


def test_a_second_run_has_nothing_to_do(made):
    started = time.monotonic()
    assert "Nothing to be done" in made.run(COMMAND)
    assert time.monotonic() - started < 30
    for spelling in (
        "snakemake --cores 8 results/tables/table6.csv --resources gpu=2",
        "snakemake --cores 8 --resources=gpu=2 results/tables/table6.csv",
        "python -m snakemake --cores 8 --resources gpu=2 results/tables/table6.csv",
    ):
        assert "Nothing to be done" in made.run(spelling)


@pytest.mark.parametrize(
    ("config", "jobs"),
    [
        ("losses='{gamma: 0.7}'", {"settings": 1, "train": 1, "evaluate": 1, "table": 1}),
        ("losses='{alpha: 0.7}'", ALL_RUNS),
        ("tasks='{abdomen: {presets: {phantom: {small: {volumes: {steps: 7}}}}}}'", {}),
        ("tasks='{abdomen: {presets: {phantom: {smoke: {volumes: {overlap: 0.5}}}}}}'", {"evaluate": 4, "table": 1}),
        ("tasks='{abdomen: {presets: {phantom: {smoke: {slices: {steps: 7}}}}}}'", {}),  # of 2D backbones
        ("btcv=/elsewhere", {}),
    ],
)
def test_a_changed_setting_runs_exactly_what_uses_it(made, config, jobs):
    assert made.jobs(f"snakemake --cores 8 --config {config} --resources gpu=2 -- results/tables/table6.csv") == jobs


@pytest.mark.parametrize(
    ("file", "jobs"),
    [
        ("ssc/models/eam.py", ALL_RUNS),
        ("ssc/models/backbones/nnformer.py", ALL_RUNS),
        ("ssc/models/backbones/swin_unet.py", {}),  # not Table 6's backbone
        ("ssc/models/backbones/tapped.py", {}),
        ("ssc/models/folding.py", {}),
        ("ssc/losses.py", ALL_RUNS),
        ("ssc/training.py", ALL_RUNS),
        ("ssc/data/sampling.py", ALL_RUNS),
        ("ssc/data/preprocess.py", {"preprocess": 2, "train": 4, "evaluate": 4, "table": 1}),
        (
            "ssc/data/phantoms/painting.py",
            {"phantom_code": 1, "phantoms": 2, "verify": 2, "preprocess": 2, "train": 4, "evaluate": 4, "table": 1},
        ),
        ("ssc/data/download.py", {}),
        ("ssc/inference.py", {"evaluate": 4, "table": 1}),
        ("ssc/metrics.py", {"evaluate": 4, "table": 1}),
        ("ssc/results/tables.py", {"table": 1}),
        ("ssc/statistics.py", {"table": 1}),
        ("README.md", {}),
    ],
)
def test_an_edit_of_code_runs_exactly_what_it_decides(made, file, jobs):
    text = (made.folder / file).read_text("utf-8")
    try:
        (made.folder / file).write_text(text + "\n# an edit\n", "utf-8")
        assert made.jobs(COMMAND) == jobs
    finally:
        (made.folder / file).write_text(text, "utf-8")


def test_the_browser_is_made_of_what_is_there(made):
    assert made.jobs("snakemake results/browser/index.html") == {"browser": 1}  # it trains nothing


def test_touching_files_runs_nothing(made):
    made.run("find results data config -type f -exec touch {} +")
    assert made.jobs(COMMAND) == {}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("sclae=small", "unknown key 'sclae'; did you mean 'scale'?"),
        ("losses='{gama: 0.3}'", "unknown key 'losses.gama'; did you mean 'gamma'?"),
        ("data=real btcv=/nowhere chaos=/nowhere", "btcv: no cases in /nowhere"),
    ],
)
def test_a_users_mistake_is_said_in_plain_words(made, config, message):
    shown = made.run(f"snakemake --cores 2 --config {config} -- results/tables/table6.csv", check=False)
    assert message in shown and "Traceback" not in shown
    assert not (made.folder / "data/manifests/real/btcv.json").exists()


JOINT_V2 = "{ label: Joint V2, joint: true, eam: true }"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (JOINT_V2, JOINT_V2.replace("eam: true", "eam: 'no'"), "variants.joint_v2: eam = 'no'"),
        (JOINT_V2, JOINT_V2.replace("eam", "aem"), "unknown key 'aem'; did you mean 'eam'?"),
        ("{ losses: { tau: 1 } }", "{ losses: { tao: 1 } }", "unknown key 'settings.losses.tao'; did you mean 'tau'?"),
        ("backbone: nnformer\n", "backbone: nformer\n", "backbone 'nformer' is none; did you mean 'nnformer'?"),
        ("{ like: joint_v2, label", "{ like: joint_v22, label", "like 'joint_v22'; did you mean 'joint_v2'?"),
        ("[baseline, joint_v2, ours]", "[baselin, joint_v2, ours]", "'baselin' is no variant; did you mean 'baseline'"),
        ("task: abdomen\n    reference", "task: abdomne\n    reference", "did you mean 'abdomen'?"),
        ("{ name: liver, label", "{ nmae: liver, label", "structures.0.name' is missing"),
        ("main_table: table6", "main_table: tabel6", "did you mean 'table6'?"),
    ],
)
def test_a_slip_in_the_matrix_is_one_line_before_anything_trains(made, old, new, message):
    files = [made.folder / name for name in ("config/matrix.yaml", "config/tasks/abdomen.yaml")]
    (file,) = [file for file in files if old in file.read_text("utf-8")]
    text = file.read_text("utf-8")
    try:
        made.edit(str(file.relative_to(made.folder)), old, new)
        shown = made.run("snakemake -n --cores 2 results/tables/table6.csv", check=False)
    finally:
        file.write_text(text, "utf-8")
    assert message in shown and "Traceback" not in shown, shown[-2000:]


def test_a_folder_of_scans_may_have_a_space(made):
    target = "results/predictions/real/smoke/abdomen/draw0/seed0/ours/test/scores.csv"
    shown = made.run(f"snakemake -n -p --config data=real btcv='/my scans/CT' -- {target}")
    for part in ("manifest btcv '/my scans/CT' ", "preprocess btcv '/my scans/CT' "):
        assert part in shown


def test_a_dry_run_loads_no_torch(made):
    shown = made.run(f"python -X importtime -m {COMMAND.replace(' ', ' -n ', 1)}")
    assert not re.search(r"\|\s+(torch|monai)\s*$", shown, re.MULTILINE)
