"""Snakemake logger plugin: one line a finished job in logs/jobs.jsonl; its import also mends the command line.

``snakemake --cores 8 --resources gpu=2 TARGET`` is what users type, and stock Snakemake refuses it: its
``--resources`` takes every word up to the next option, the target too. Snakemake imports all installed
logger plugins before it reads its arguments, so the repair stands here.
"""

import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase

_OPTIONS = ("--resources", "--res")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=\S+")


def repair(arguments: Sequence[str]) -> list[str]:
    """``arguments`` with the targets that ``--resources`` would swallow moved behind one ``--`` at the end.

    Words after ``--resources`` up to the next option that assign nothing are targets. Snakemake's own child
    processes (``--mode``) are left alone: their words are encoded.
    """
    arguments = list(arguments)
    if any(word == "--mode" or word.startswith("--mode=") for word in arguments):
        return arguments
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept, targets, inside = [], [], False
    for word in arguments[:end]:
        if word.startswith("-"):
            inside = word in _OPTIONS
        if inside and not word.startswith("-") and not _ASSIGNMENT.fullmatch(word):
            targets.append(word)
        else:
            kept.append(word)
    rest = arguments[end + 1 :]
    return [*kept, "--", *targets, *rest] if targets else arguments


def _called_as_snakemake() -> bool:
    program = Path(sys.argv[0])
    return program.name == "snakemake" or (program.name == "__main__.py" and program.parent.name == "snakemake")


if _called_as_snakemake():
    sys.argv[1:] = repair(sys.argv[1:])


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    """Settings of ``--logger ssc``."""

    file: Path = field(
        default=Path("logs/jobs.jsonl"), metadata={"help": "JSON lines to append: rule, wildcards, seconds"}
    )


class LogHandler(LogHandlerBase):
    """Appends one JSON line for each finished job: rule, wildcards, start, seconds."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.started: dict[int, dict] = {}

    def emit(self, record) -> None:
        """Note a job's start; write its line when it ends."""
        event = str(getattr(record, "event", "")).rpartition(".")[2].lower()
        if event == "job_info":
            wildcards = {str(key): str(value) for key, value in dict(record.wildcards or {}).items()}
            self.started[record.jobid] = {"rule": record.rule_name, "wildcards": wildcards, "start": time.time()}
        elif event == "job_finished":
            job = self.started.pop(record.job_id, None)
            if job is not None:
                job["seconds"] = round(time.time() - job["start"], 2)
                self.settings.file.parent.mkdir(parents=True, exist_ok=True)
                with self.settings.file.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(job) + "\n")

    @property
    def writes_to_stream(self) -> bool:
        """Nothing goes to the screen."""
        return False

    @property
    def writes_to_file(self) -> bool:
        """The plugin opens its file itself, job by job."""
        return False

    @property
    def has_filter(self) -> bool:
        """Snakemake adds its own filter."""
        return False

    @property
    def has_formatter(self) -> bool:
        """Lines are made in ``emit``."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """The graph is not used."""
        return False
