"""Snakemake logger plugin: the screen with the time that is left and, at the end, what to open; logs/jobs.jsonl.

Its import also mends the command line.

``snakemake --cores 8 --resources gpu=2 TARGET`` is what users type, and stock Snakemake refuses it: its
``--resources`` takes every word up to the next option, the target too. Snakemake imports all installed
logger plugins before it reads its arguments, so the repair stands here.
"""

import json
import logging
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
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


class TimeLeft:
    """How long the jobs that are left will take, by the mean seconds of each rule's finished ones."""

    def __init__(self) -> None:
        self.start, self.left = time.time(), Counter()
        self.seconds: dict[str, list[float]] = {}

    def finished(self, rule: str, seconds: float) -> None:
        """Note a finished job."""
        self.left[rule] -= 1
        self.seconds.setdefault(rule, []).append(seconds)

    def __str__(self) -> str:
        """', about 12 min left'; nothing while more than a tenth of the jobs left are of rules not yet seen."""
        left = +self.left
        unseen = sum(count for rule, count in left.items() if rule not in self.seconds)
        if not left or unseen > 0.1 * left.total():
            return ""
        means = {rule: sum(seconds) / len(seconds) for rule, seconds in self.seconds.items()}
        work = sum(count * means.get(rule, 0) for rule, count in left.items())
        # as many jobs side by side as so far
        seconds = work * (time.time() - self.start) / sum(map(sum, self.seconds.values()))
        return f", about {seconds / 60:.0f} min left" if seconds >= 90 else f", about {seconds:.0f} s left"


class LogHandler(LogHandlerBase):
    """Snakemake's own screen with two things more, and a JSON line for each finished job.

    Behind each progress the time that is left; and last of all what to open, or that the same command goes on.
    """

    # Given by the Snakefile: the lines that end a run in which nothing failed.
    closing: Callable[[], Sequence[str]] = staticmethod(tuple)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.started: dict[int, dict] = {}
        self.time_left = TimeLeft()
        self.complete = self.failed = self.interrupted = False
        self.screen = self._screen()

    def _screen(self) -> logging.Handler:
        from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter

        options = self.common_settings
        progress = self.time_left

        class Formatter(DefaultFormatter):
            def format_progress(self, msg):
                return f"{super().format_progress(msg)}{progress}"

        shown = DefaultFilter(options.quiet, options.debug_dag, options.verbose, options.dryrun, options.printshellcmds)
        stream = sys.stdout if options.stdout else sys.stderr
        return ColorizingTextHandler(options.nocolor, stream, Formatter(options.quiet, options.show_failed_logs), shown)

    def emit(self, record) -> None:
        """Note a job's start; write its line when it ends; show what Snakemake shows."""
        event = str(getattr(record, "event", "")).rpartition(".")[2].lower()
        message = str(record.msg)
        self.failed |= record.levelno >= logging.ERROR
        self.interrupted |= message.endswith("on user request, this might take some time.")
        self.complete |= message.startswith("Nothing to be done")
        if event == "progress" and record.done == record.total:
            self.complete, self.failed = True, False  # what failed was tried again
        if event == "run_info":
            self.time_left.left = Counter({rule: n for rule, n in record.stats.items() if rule != "total"})
        elif event == "job_info":
            wildcards = {str(key): str(value) for key, value in dict(record.wildcards or {}).items()}
            self.started[record.jobid] = {"rule": record.rule_name, "wildcards": wildcards, "start": time.time()}
        elif event == "job_finished":
            self._finish(record.job_id)
        self.screen.handle(record)

    def _finish(self, number: int) -> None:
        job = self.started.pop(number, None)
        if job is not None:
            job["seconds"] = round(time.time() - job["start"], 2)
            self.time_left.finished(job["rule"], job["seconds"])
            self.settings.file.parent.mkdir(parents=True, exist_ok=True)
            with self.settings.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(job) + "\n")

    def close(self) -> None:
        """The last lines of a run."""
        super().close()
        lines: Sequence[str] = ()
        if self.interrupted:
            lines = ["Stopped. The same command goes on from here; a training from its last save."]
        elif self.complete and not self.failed and not self.common_settings.dryrun:
            lines = self.closing()
        for line in lines:
            print(line, file=self.screen.stream)
        self.interrupted = self.complete = False  # Python closes every handler once more at its exit

    @property
    def writes_to_stream(self) -> bool:
        """The screen is this plugin's."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """The plugin opens its file itself, job by job."""
        return False

    @property
    def has_filter(self) -> bool:
        """The screen has Snakemake's; the file takes every job."""
        return True

    @property
    def has_formatter(self) -> bool:
        """The screen has Snakemake's."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """The graph is not used."""
        return False
