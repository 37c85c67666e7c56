"""Every command of README and docs, as its reader would type it."""

import os
import re
import sys
from pathlib import Path

import pytest
import yaml
from project import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "config/README.md", *sorted(ROOT.glob("docs/**/*.md"))]
PROGRAM = re.compile(r"(make|snakemake|ssc|dvc|pip|python|cp|git|podman|sacctmgr|\.)\s")
NAMES = re.compile(r"(ssc \w+|dvc repro|make table6|snakemake all)")  # in the middle of a sentence: a name, no command
COMMANDS = yaml.safe_load((Path(__file__).parent / "documented.yaml").read_text("utf-8"))


def _printed(text: str) -> set[str]:
    """The commands in a page's blocks of code, and those inside its sentences."""
    blocks = "\n".join(re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE))
    lines = [re.sub(r"\s{2,}#.*", "", line.strip()) for line in blocks.splitlines()]
    inline = [" ".join(c.split()) for c in re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))]
    inline = [command for command in inline if not NAMES.fullmatch(command)]
    return {command for command in (*lines, *inline) if PROGRAM.match(command)}


def test_every_command_is_run_or_has_a_reason():
    printed = set().union(*(_printed(page.read_text("utf-8")) for page in PAGES))
    known = [command["printed"] for command in COMMANDS]
    assert len(known) == len(set(known)) and printed == set(known)
    assert all(command["reason"] for command in COMMANDS if "dry" in command)


def test_a_new_command_is_seen():
    assert _printed("Try `snakemake --bogus x`:\n```\nssc bogus  # a word\nls\n```\n") == {
        "snakemake --bogus x", "ssc bogus",
    }  # fmt: skip


@pytest.fixture(scope="module")
def project(reproduced, tmp_path_factory):
    """A copy of the project in git, with results at smoke scale, and this environment where `make` looks for one."""
    copy = reproduced.copy(tmp_path_factory.mktemp("documented") / "project")
    copy.tmp = copy.folder.parent / "tmp"
    copy.tmp.mkdir()
    (copy.folder / ".venv").symlink_to(sys.prefix)
    for file in ("requirements.lock", "pyproject.toml"):  # older than the environment, so that make finds it ready
        os.utime(copy.folder / file, (0, 0))
    return copy


@pytest.mark.long
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command["printed"])
def test_a_command_ends_well(project, command):
    typed = command["dry"] if "dry" in command else command.get("run", command["printed"])
    if typed is not None:
        project.run(f"bash -c {_quoted(typed.replace('{tmp}', str(project.tmp)))}")


def _quoted(command: str) -> str:
    return "'" + command.replace("'", "'\\''") + "'"
