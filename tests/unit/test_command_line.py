"""The mended command line: what users type reaches Snakemake as they meant it."""

import pytest

from snakemake_logger_plugin_ssc import repair
from ssc.cli import main


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
