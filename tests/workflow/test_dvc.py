"""DVC beside Snakemake: what `dvc repro`, push and pull do, and what a clone still knows."""

import json

import pytest
import yaml
from project import Project, trained

from ssc.runs import COMMON

long = pytest.mark.long


def test_dvc_reads_its_stages(tmp_path):
    project = Project(tmp_path / "project")
    project.run("git init -q && git add -A")
    shown = project.run("dvc status")
    stages = yaml.safe_load((project.folder / "dvc.yaml").read_text("utf-8"))["stages"]
    assert len(stages) > 2 and all(f"{name}:" in shown for name in stages)
    dependencies = [d for stage in stages.values() for d in stage["deps"] if not d.startswith(("results/", "data/"))]
    assert all((project.folder / path).exists() for path in dependencies)
    fingerprinted = {*COMMON, "ssc/rivals", "ssc/models"}  # what decides a training
    assert all(any(path.startswith(d) for d in stages["train"]["deps"]) for path in fingerprinted)


@long
def test_dvc_repro_after_snakemake_trains_nothing(reproduced):
    assert trained(reproduced) == reproduced.before and len(reproduced.before) == 13
    assert (reproduced.folder / "dvc.lock").is_file()


@long
def test_dvc_repro_twice_is_up_to_date(reproduced):
    assert "Data and pipelines are up to date" in reproduced.run("dvc repro")


@long
def test_dvc_holds_every_result(reproduced):
    assert "Data and pipelines are up to date" in reproduced.run("dvc status")
    tracked = reproduced.run("dvc ls . results --dvc-only")
    assert {"cases", "runs", "predictions", "tables", "figures", "notebooks"} <= set(tracked.split())


@long
def test_snakemake_after_dvc_repro_has_nothing_to_do(reproduced):
    assert "Nothing to be done" in reproduced.run("snakemake --cores 8 --resources gpu=2 all")


@pytest.fixture(scope="module")
def clone(reproduced, tmp_path_factory):
    """A clone of the repository after `dvc push` to a folder and `dvc pull` from it."""
    folder = tmp_path_factory.mktemp("clone")
    commit = "git add -A && git -c user.name=t -c user.email=t@t commit -qm results"
    private = reproduced.folder / "data/real/btcv/img.nii.gz"
    private.parent.mkdir(parents=True)
    private.write_bytes(b"handed out to one person")
    reproduced.run('dvc add -q data/real/btcv && echo "  push: false" >> data/real/btcv.dvc')
    reproduced.run(f"dvc remote add -d storage {folder}/remote && {commit} && dvc push -q")
    reproduced.run(f"git clone -q . {folder}/project")
    project = Project.at(folder / "project")
    project.remote = folder / "remote"
    project.run("dvc pull", check=False)  # what was not pushed cannot come
    return project


@long
def test_a_clone_after_dvc_pull_has_nothing_to_do(clone):
    assert not (clone.folder / "data/phantom").exists()
    assert clone.jobs("snakemake --cores 2 all") == {}


@long
def test_a_clone_still_sees_a_changed_parameter(clone):
    jobs = clone.jobs("snakemake --cores 2 --config losses='{gamma: 0.7}' -- results/tables/table6.csv")
    assert jobs == {"settings": 1, "train": 1, "evaluate": 1, "table": 1}


@long
def test_a_clone_preprocesses_anew(clone):
    """The manifest of the raw scans came along, the phantoms did not: they are made by the way."""
    cases = "results/cases/phantom/small/heart/ct/manifest.json"
    clone.run(f"snakemake --cores 2 --config scale=small -- {cases}")
    assert (clone.folder / cases).is_file()


@long
def test_a_clone_redraws_without_training(clone):
    """Figure 4 shows scans: the phantoms are made by the way."""
    jobs = clone.jobs("snakemake --cores 2 --forcerun figure4 -- results/figures/figure4_abdomen.pdf")
    assert jobs == {"figure4": 1}
    clone.run("snakemake --cores 2 --forcerun figure4 -- results/figures/figure4_abdomen.pdf")
    assert clone.jobs("snakemake --cores 2 results/tables/table6.csv results/figures/figure4_abdomen.pdf") == {}


@long
def test_private_scans_are_never_pushed(clone):
    pushed = [path for path in clone.remote.rglob("*") if path.is_file()]
    assert len(pushed) > 50 and not any(b"handed out" in path.read_bytes() for path in pushed)
    assert not (clone.folder / "data/real/btcv").exists()


@long
def test_a_bucket_serves_as_a_remote(reproduced, bucket, tmp_path):
    pytest.importorskip("dvc_s3", reason="pip install dvc-s3")
    _, address = bucket
    told = f"dvc remote modify --local bucket endpointurl {address}"
    keys = "AWS_ACCESS_KEY_ID=key AWS_SECRET_ACCESS_KEY=secret AWS_DEFAULT_REGION=us-east-1"
    commit = "git add -A && git -c user.name=t -c user.email=t@t commit -qm bucket"
    reproduced.run(f"dvc remote add bucket s3://ssc/dvc && {told} && {commit} && {keys} dvc push -q -r bucket")
    reproduced.run(f"git clone -q . {tmp_path}/project")
    project = Project.at(tmp_path / "project")
    project.run(f"{told} && {keys} dvc pull -q -r bucket", check=False)  # what is never pushed cannot come
    assert project.jobs("snakemake --cores 2 all") == {}
    table = (project.folder / "results/tables/table6.csv").read_bytes()
    assert table == (reproduced.folder / "results/tables/table6.csv").read_bytes()
    redraw = "snakemake --cores 2 --forcerun table --allowed-rules table -- results/tables/table6.csv"
    assert project.jobs(redraw) == {"table": 1}
    project.run(redraw)
    assert (project.folder / "results/tables/table6.csv").read_bytes() == table


@long
def test_dvc_shows_metrics_and_plots(reproduced):
    shown = json.loads(reproduced.run("dvc metrics show --json"))
    assert "table6" in str(shown) and "ours" in str(shown)
    reproduced.run("dvc plots show -o plots")
    assert "seg_ct" in (reproduced.folder / "plots/index.html").read_text("utf-8")


@long
def test_one_changed_loss_weight_trains_what_uses_it(reproduced):
    before = trained(reproduced)
    reproduced.edit("config/config.yaml", "  gamma: 0.1\n  # temperature", "  gamma: 0.2\n  # temperature")
    shown = reproduced.run("dvc repro")
    changed = [path for path, when in trained(reproduced).items() if before[path] != when]
    assert sorted(path.parent.name for path in changed) == ["joint_v3_icr_tau1", "ours", "ours", "ours_1_mri"]
    assert "Stage 'prepare' didn't change, skipping" in shown
