"""Jobs on machines that share no disk: each in an empty folder, with what it declares and nothing else."""

import shutil
import tarfile
from pathlib import Path

import pytest
from project import SHOWN, Project, without_seconds

PLUGIN = Path(__file__).parent / "elsewhere"
CONFIG = "--executor elsewhere --jobs 2 --shared-fs-usage none"
EQUAL = ("results/tables", "results/figures", "results/runs", "results/predictions", "results/cases")
pytestmark = pytest.mark.long


class Elsewhere(Project):
    """A copy of the project in git, whose results lie in a storage."""

    def __init__(self, folder: Path, storage: str):
        super().__init__(folder)
        self.leftovers, self.storage = folder.with_suffix(".leftovers"), storage
        self.run("git init -q && git add -A && git -c user.name=t -c user.email=t@t commit -qm all")

    def make(self, targets: str, more: str = "") -> str:
        """Snakemake's output; the commit is that of a copy without git, which the shared run has."""
        told = f"SSC_COMMIT=unknown ELSEWHERE_LEFTOVERS={self.leftovers} PYTHONPATH={self.folder}:{PLUGIN}"
        return self.run(f"{told} snakemake {CONFIG} {self.storage} {more} -- {targets}")


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """What the runs of Table 6 give, in a folder as storage."""
    if shutil.which("rsync") is None:
        pytest.skip("the storage plugin fs needs rsync: apt install rsync")
    folder = tmp_path_factory.mktemp("elsewhere")
    project = Elsewhere(folder / "project", f"--default-storage-provider fs --default-storage-prefix {folder}/storage")
    project.stored, project.log = folder / "storage", project.make(SHOWN)
    return project


def test_a_second_run_on_a_storage_does_nothing(stored):
    assert "Nothing to be done" in stored.make(SHOWN)


def test_a_storage_holds_what_a_shared_disk_holds_byte_for_byte(stored, shown):
    """Folders lie there as archives."""
    for archive in stored.stored.rglob("*.tar"):
        with tarfile.open(archive) as file:
            file.extractall(archive.with_suffix(""))
        archive.unlink()
    files = [f.relative_to(stored.stored) for top in EQUAL for f in (stored.stored / top).rglob("*") if f.is_file()]
    assert len(files) > 200 and Path("results/tables/table6.csv") in files
    varies = ("run.json",)  # seconds
    different = [
        str(f) for f in files
        if f.name not in varies and without_seconds(stored.stored / f) != without_seconds(shown.folder / f)
    ]  # fmt: skip
    assert different == []


def test_every_file_of_a_job_is_declared(stored):
    """Its folder held declared inputs alone, so it read no other; these it wrote beyond its outputs."""
    lines = stored.leftovers.read_text("utf-8").splitlines()
    own = (".snakemake/storage/", "state/")  # logs and benchmarks that went to the storage; saves of a training
    undeclared = [line for line in lines if not line.split(": ")[1].startswith(own)]
    undeclared += [
        line for line in lines if "/storage/fs/" in line and "/logs/" not in line and ".tar.lock" not in line
    ]
    assert undeclared == [] and lines


def test_an_evicted_training_says_where_it_looked_for_its_save(stored):
    log = stored.stored / "logs/train/phantom/smoke/abdomen/draw0/seed0/ours.log"
    assert "starts at step 0: no save of it in" in log.read_text("utf-8")


def test_a_folder_of_this_machine_is_refused_in_one_line(stored):
    shown = stored.run(
        f"PYTHONPATH={stored.folder}:{PLUGIN} snakemake -n {CONFIG} {stored.storage} --config data=real btcv=/scans "
        f"-- results/tables/table6.csv",
        check=False,
    )
    assert "btcv: /scans lies on this machine" in shown and "Traceback (most recent call last)" not in shown


def _in_bucket(folder: Path, address: str) -> Elsewhere:
    pytest.importorskip("snakemake_storage_plugin_s3", reason="pip install snakemake-storage-plugin-s3")
    project = Elsewhere(
        folder / "project",
        f"--default-storage-provider s3 --default-storage-prefix s3://ssc --storage-s3-endpoint-url {address} "
        f"--storage-s3-access-key key --storage-s3-secret-key secret",
    )
    return project


def test_a_bucket_holds_the_same_table(bucket, shown, tmp_path):
    client, address = bucket
    project = _in_bucket(tmp_path, address)
    project.make("results/tables/table6.csv")
    table = tmp_path / "tables/table6.csv"
    table.parent.mkdir()
    client.download_file("ssc", "results/tables/table6.csv", str(table))
    assert without_seconds(table) == without_seconds(shown.folder / "results/tables/table6.csv")
    assert "Nothing to be done" in project.make("results/tables/table6.csv")


def test_raw_scans_may_lie_in_the_bucket(bucket, shown, tmp_path):
    """The phantoms as a user's real scans, below the prefix; CHAOS named as a folder there, too."""
    client, address = bucket
    for source in ("btcv", "chaos"):
        for file in (shown.folder / f"data/phantom/{source}").rglob("*"):
            if file.is_file():
                key = f"data/real/my {source}/{file.relative_to(shown.folder / 'data/phantom' / source)}"
                client.upload_file(str(file), "ssc", key)
    project = _in_bucket(tmp_path, address)
    raw = "--config data=real 'btcv=data/real/my btcv' 'chaos=data/real/my chaos'"
    project.make("results/tables/table6.csv", raw)
    client.download_file("ssc", "results/tables/table6.csv", str(tmp_path / "table6.csv"))
    assert "real,smoke" in (tmp_path / "table6.csv").read_text("utf-8")
