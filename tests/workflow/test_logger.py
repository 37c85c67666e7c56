"""The last lines of Snakemake's screen, from runs of a Snakefile of two rules."""

import json
import signal
import subprocess
import sys
import time

import pytest

SNAKEFILE = """
from snakemake_logger_plugin_ssc import LogHandler
LogHandler.closing = staticmethod(lambda: ["Made: all of it"])
rule last:
    input: "first.txt"
    output: "last.txt"
    shell: "cp {input} {output}"
rule first:
    output: "first.txt"
    shell: "COMMAND"
"""


@pytest.fixture
def started(tmp_path):
    def start(command, *options):
        (tmp_path / "Snakefile").write_text(SNAKEFILE.replace("COMMAND", command), "utf-8")
        snakemake = [sys.executable, "-m", "snakemake", "--cores", "1", "--logger", "ssc", *options]
        return subprocess.Popen(snakemake, cwd=tmp_path, stderr=subprocess.PIPE, text=True)

    return start


def _last(process):
    return process.communicate(timeout=120)[1].splitlines()[-1]


def test_a_finished_run_says_what_it_made_and_notes_every_job(started, tmp_path):
    assert _last(started("touch {output}")) == "Made: all of it"
    noted = [json.loads(line) for line in (tmp_path / "logs/jobs.jsonl").read_text("utf-8").splitlines()]
    assert [job["rule"] for job in noted] == ["first", "last"] and all(job["seconds"] >= 0 for job in noted)
    assert _last(started("touch {output}")) == "Made: all of it"  # nothing was left to do


def test_a_job_that_came_right_on_its_second_try_is_no_failure(started):
    assert _last(started("[ -e tried ] || {{ touch tried; exit 1; }}; touch {output}", "--retries", "1")) == (
        "Made: all of it"
    )


@pytest.mark.parametrize(("command", "options"), [("exit 1", []), ("touch {output}", ["-n"])])
def test_a_run_that_failed_or_was_dry_made_nothing(started, command, options):
    process = started(command, *options)
    assert "Made" not in process.communicate(timeout=120)[1] and (process.returncode == 0) == bool(options)


def test_a_run_that_was_stopped_says_how_to_go_on(started, tmp_path):
    process = started("touch begun; sleep 3; touch {output}")
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert _last(process).startswith("Stopped. The same command goes on from here")
    assert process.returncode
