"""The mended command line: what users type reaches Snakemake as they meant it."""

import json

import pytest
from archives import VALUES, btcv_case

from snakemake_logger_plugin_ssc import repair
from ssc import matrix
from ssc.cli import main
from ssc.config import Settings, preprocessing
from ssc.whole import whole


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--cores 8 --resources gpu=2 t.csv", "--cores 8 --resources gpu=2 -- t.csv"),
        ("--cores 8 --res gpu=2 t.csv", "--cores 8 --res gpu=2 -- t.csv"),
        ("--resources gpu=2 mem_mb=1000 t.csv u.csv -n", "--resources gpu=2 mem_mb=1000 -n -- t.csv u.csv"),
        ("--resources gpu=2 t.csv --set-resources rule:gpu=2", "--resources gpu=2 --set-resources rule:gpu=2 -- t.csv"),
        ("--resources gpu=2 a --config data=real -- b", "--resources gpu=2 --config data=real -- a b"),
        # stock spellings stay as they are
        ("--cores 8 t.csv --resources gpu=2", "--cores 8 t.csv --resources gpu=2"),
        ("--cores 8 --resources gpu=2 -- t.csv", "--cores 8 --resources gpu=2 -- t.csv"),
        ("--cores 8 --resources=gpu=2 t.csv", "--cores 8 --resources=gpu=2 t.csv"),
        ("--resources gpu=2 --cores 8 t.csv", "--resources gpu=2 --cores 8 t.csv"),
        ("--cores 8 t.csv", "--cores 8 t.csv"),
        ("", ""),
        # Snakemake's own child processes
        (
            "--resources base64//Z3B1PTI= t.csv --mode subprocess",
            "--resources base64//Z3B1PTI= t.csv --mode subprocess",
        ),
        ("--resources a b --mode=remote", "--resources a b --mode=remote"),
    ],
)
def test_repair(typed, meant):
    assert repair(typed.split()) == meant.split()


def test_a_users_mistake_is_one_line_and_exit_status_1(tmp_path, capsys):
    assert main(["doctor", str(tmp_path)]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("ssc: ") and shown.count("\n") == 1


def test_training_without_settings_says_how_to_make_them(tmp_path, capsys):
    assert main(["train", str(tmp_path)]) == 1
    assert "settings.json is missing" in capsys.readouterr().err


def test_fewer_cases_than_the_splits_need_are_named_before_any_is_written(tmp_path, capsys):
    btcv_case(tmp_path / "btcv", "0001")
    arguments = preprocessing(Settings(), "real", "smoke", matrix.tasks()["abdomen"], "ct")
    settings = json.dumps({"to_case": arguments, "values": VALUES["btcv"]})
    needed = ["--settings", settings, "--need", "0001", "0030"]
    assert main(["preprocess", "btcv", str(tmp_path / "btcv"), str(tmp_path / "cases"), *needed]) == 1
    assert "1 btcv cases found, the splits also need 0030" in capsys.readouterr().err
    assert not (tmp_path / "cases").exists()


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    with whole(tmp_path / "new/file.txt") as path:
        path.write_text("half")
        assert not (tmp_path / "new/file.txt").exists() and path.suffix == ".txt"
    assert (tmp_path / "new/file.txt").read_text() == "half"
    with pytest.raises(OSError, match="full disk"), whole(tmp_path / "new/file.txt") as path:
        path.write_text("other")
        raise OSError("full disk")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["file.txt"]
    assert (tmp_path / "new/file.txt").read_text() == "half"
