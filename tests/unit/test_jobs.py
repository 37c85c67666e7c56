"""Where a workflow script works, and the names that its files have there."""

import io
import os
import shutil
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from ssc.errors import DataError
from ssc.jobs import Files, home, job, pack, unpack


@pytest.mark.parametrize(
    ("output", "folder"),
    [
        ("results/tables/table6.csv", "."),
        ("data/manifests/phantom/btcv.json", "."),
        (".snakemake/storage/s3/bucket/ssc/results/runs/real/x/run.json", ".snakemake/storage/s3/bucket/ssc/"),
        (".snakemake/storage/fs/data/my results/results/metrics.json", ".snakemake/storage/fs/data/my results/"),
        ("x/results/cases/real/small/data/ct/manifest.json", "x/"),  # a task named data
    ],
)
def test_a_job_works_where_its_results_lie(output, folder):
    assert home(output) == folder


class _Named(list):
    """Like Snakemake's: a list whose names give one file or several."""

    def __init__(self, **named):
        super().__init__(f for value in named.values() for f in ([value] if isinstance(value, str) else value))
        self.named = named

    def items(self):
        return self.named.items()


def test_files_are_named_as_seen_from_there():
    found = Files(_Named(csv="store/results/t.csv", many=["store/a", "elsewhere/b"]), "store/")
    assert list(found) == ["results/t.csv", "a", "../elsewhere/b"]
    assert found.csv == "results/t.csv" and found.many == ["a", "../elsewhere/b"]


def test_a_script_reads_and_writes_in_the_storages_copy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "store/results/tables").mkdir(parents=True)
    (tmp_path / "store/results/in.txt").write_text("x")
    rule = SimpleNamespace(
        input=_Named(one="store/results/in.txt"), output=_Named(csv="store/results/tables/t.csv"), log=["log"]
    )
    with job(rule) as (given, made):
        Path(made.csv).write_text(Path(given.one).read_text() + Path("results/in.txt").read_text())
    assert (tmp_path / "store/results/tables/t.csv").read_text() == "xx" and (tmp_path / "log").read_text() == ""


def test_a_folder_travels_as_an_archive_of_the_same_bytes(tmp_path):
    for name, age in (("a", 1), ("b", 2_000_000_000)):
        (tmp_path / name / "files/inner").mkdir(parents=True)
        (tmp_path / name / "files/inner/x").write_bytes(b"1")
        (tmp_path / name / "files/y").write_bytes(b"2")
        os.utime(tmp_path / name / "files/y", (age, age))
        pack(tmp_path / name / "files.tar")
    assert (tmp_path / "a/files.tar").read_bytes() == (tmp_path / "b/files.tar").read_bytes()
    (tmp_path / "c").mkdir()
    shutil.copy(tmp_path / "a/files.tar", tmp_path / "c/files.tar")
    unpack(tmp_path / "c/files.tar")
    unpack(tmp_path / "c/files.tar")
    found = {p.relative_to(tmp_path / "c/files").as_posix() for p in (tmp_path / "c/files").rglob("*") if p.is_file()}
    assert found == {"inner/x", "y", ".archive"} and (tmp_path / "c/files/inner/x").read_bytes() == b"1"


def test_another_archive_takes_the_folders_place(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name / "files").mkdir(parents=True)
        (tmp_path / name / "files" / name).write_bytes(b"1")
        pack(tmp_path / name / "files.tar")
        shutil.copy(tmp_path / name / "files.tar", tmp_path / "files.tar")
        unpack(tmp_path / "files.tar")
    assert {p.name for p in (tmp_path / "files").iterdir()} == {"new", ".archive"}


def test_nothing_leaves_the_archives_folder(tmp_path):
    with tarfile.open(tmp_path / "files.tar", "w") as file:
        entry = tarfile.TarInfo("../outside")
        entry.size = 1
        file.addfile(entry, io.BytesIO(b"1"))
    with pytest.raises(DataError, match=r"holds \.\./outside"):
        unpack(tmp_path / "files.tar")
    assert not (tmp_path / "outside").exists()
