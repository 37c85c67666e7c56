"""Clear the lock that a killed Snakemake left in this folder, if no other one of this machine works here."""

import subprocess
import sys
from pathlib import Path

import psutil

here = Path.cwd()


def works_here(process: psutil.Process) -> bool:
    """Is this a Snakemake at work in this folder?"""
    try:
        names = {Path(word).name for word in process.cmdline()[:5]}
        return "snakemake" in names and Path(process.cwd()) == here
    except (psutil.NoSuchProcess, psutil.ZombieProcess):  # ended meanwhile
        return False
    except psutil.AccessDenied:  # another user's: it may work here
        return process.name() == "snakemake"


if any(Path(".snakemake/locks").glob("*")) and not any(map(works_here, psutil.process_iter())):
    print("clearing the lock of a Snakemake that was killed")
    sys.exit(subprocess.run(["snakemake", "--unlock", "--cores", "1"]).returncode)
