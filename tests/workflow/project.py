"""A copy of the project with a small slice of its matrix, and what a user types there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".snakemake", "data", "logs", "state", "__pycache__", ".*_cache", "tmp"
)
BIN = Path(sys.executable).parent


# What the copy has less of, beside draws: three methods a table.
SLICE = {
    "[backbone, baseline, joint_v1, joint_v2, joint_v3, joint_v1_cr, joint_v2_cr, ours]": "[baseline, joint_v2, ours]",
    "[ummkd, backbone, baseline, joint_v2, joint_v3, ours]": "[ummkd, baseline, joint_v2, ours]",
    "[payer, ummkd, backbone, baseline, joint_v2, joint_v3, ours]": "[payer, ummkd, baseline, joint_v2, ours]",
    "[baseline, ours_1_mri, ours_3_mri, ours_1_ct, ours_3_ct, ours]": "[baseline, ours_1_mri, ours]",
    "[joint_v3, joint_v3_mcr, joint_v3_icr, ours]": "[joint_v3, ours]",
    "".join(f"      - joint_v3_icr{tau}\n" for tau in ("_tau2", "_tau3", "", "_tau5", "_tau6")): "",
}


# What shows the runs of Table 6.
SHOWN = " ".join((
    "results/tables/table3.html",
    "results/tables/table6.csv",
    "results/tables/claims_abdomen.html",
    "results/figures/figure1.pdf",
    "results/figures/figure4_abdomen.pdf",
    "results/figures/curves_abdomen.pdf",
    "results/figures/learned_abdomen.pdf",
    "results/notebooks/abdomen.ipynb",
))  # fmt: skip


class Project:
    """A copy of the project: smoke scale, seven trainings of the abdomen, six of the heart, fewer test cases."""

    def __init__(self, folder: Path):
        self.folder = folder
        shutil.copytree(ROOT, folder, ignore=lambda d, names: {*LEFT_OUT(d, names), *self._results(d, names)})
        (folder / "data").mkdir()
        shutil.copytree(ROOT / "ssc/data", folder / "ssc/data", dirs_exist_ok=True)  # its name is left out above
        self.edit("config/config.yaml", "scale: small", "scale: smoke")
        self.edit("config/tasks/abdomen.yaml", "draws: [draw0, draw1, draw2, draw3, draw4]", "draws: [draw0]")
        for two, four in (('"1003", "1008"', '"1014", "1019"'), ('"1007", "1009"', '"1018", "1019"')):
            self.edit("config/tasks/heart.yaml", f"test: [{two}, {four}]", f"test: [{two}]")
        for old, new in SLICE.items():
            self.edit("config/matrix.yaml", old, new)

    def copy(self, folder: Path) -> "Project":
        """The same, results and all, in another folder."""
        shutil.copytree(self.folder, folder)
        return Project.at(folder)

    @classmethod
    def at(cls, folder: Path) -> "Project":
        """A copy that lies there already."""
        project = cls.__new__(cls)
        project.folder = folder
        return project

    @staticmethod
    def _results(folder, names):
        return names if Path(folder).name == "results" and Path(folder).parent == ROOT else []

    def edit(self, file: str, old: str, new: str) -> None:
        text = (self.folder / file).read_text("utf-8")
        assert old in text, f"{file} no longer holds {old!r}"
        (self.folder / file).write_text(text.replace(old, new), "utf-8")

    def run(self, command: str, check: bool = True) -> str:
        """Output of a command line as a user would type it in the project's environment."""
        environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(self.folder)}
        done = subprocess.run(
            command, shell=True, cwd=self.folder, env=environment, encoding="utf-8", stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, done.stdout[-6000:]
        return done.stdout

    def jobs(self, command: str) -> dict[str, int]:
        """Jobs per rule that a dry run of the command announces."""
        shown = self.run(command.replace("snakemake ", "snakemake -n ", 1))
        if "Nothing to be done" in shown:
            return {}
        lines = shown.split("Job stats:")[1].split("\n\n")[0].splitlines()[3:]
        return {line.split()[0]: int(line.split()[1]) for line in lines if not line.startswith("total")}


def trained(project: Project) -> dict[Path, int]:
    """Every trained run's weights, and when they were written."""
    return {path: path.stat().st_mtime_ns for path in project.folder.glob("results/runs/**/weights.safetensors")}


def without_seconds(file: Path) -> bytes:
    """What a result holds, but for how long trainings took, which tables tell."""
    if file.parent.name != "tables":
        return file.read_bytes()
    if file.suffix == ".csv":
        return pd.read_csv(file, dtype=str).drop(columns="seconds_a_step", errors="ignore").to_csv().encode()
    return re.sub(rb"[0-9.]+(\s|&nbsp;|\xc2\xa0|~)(ms|min)\b", b"", file.read_bytes())
