"""Where a workflow script works, and the names that its files have there."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from ssc.jobs import Files, home, job


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
