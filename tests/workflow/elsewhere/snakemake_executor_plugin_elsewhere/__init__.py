"""Snakemake executor for tests: every job in an empty folder of its own, as on a machine that shares no disk.

A job gets the deployed sources and what it declares. What it leaves in its folder beyond them is appended to the file
that ELSEWHERE_LEFTOVERS names.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.settings import CommonSettings

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=True,
    job_deploy_sources=True,
    auto_deploy_default_storage_provider=False,
)
OWN = (".snakemake/log", ".snakemake/metadata", ".snakemake/incomplete", ".snakemake/locks", ".snakemake/auxiliary",
       ".snakemake/source_cache", ".snakemake/snakemake-cache", ".snakemake/iocache")  # fmt: skip


class Executor(RemoteExecutor):
    """Runs what a pod would run."""

    def __post_init__(self):
        self.places = Path(tempfile.mkdtemp(prefix="elsewhere-"))

    def run_job(self, job):
        place = self.places / str(job.jobid)
        place.mkdir()
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        process = subprocess.Popen(
            ["bash", "-c", self.format_job_exec(job)], cwd=place, env=environment, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=(self.places / f"{job.jobid}.log").open("w"), stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.report_job_submission(SubmittedJobInfo(job, external_jobid=str(process.pid), aux={"process": process}))

    async def check_active_jobs(self, active_jobs):
        for info in active_jobs:
            status = info.aux["process"].poll()
            if status is None:
                yield info
            elif status == 0:
                self._note_leftovers(info.job)
                self.report_job_success(info)
            else:
                self.report_job_error(info, msg=(self.places / f"{info.job.jobid}.log").read_text()[-4000:])

    def shutdown(self):
        super().shutdown()
        shutil.rmtree(self.places, ignore_errors=True)

    def cancel_jobs(self, active_jobs):
        for info in active_jobs:
            info.aux["process"].kill()

    def _note_leftovers(self, job):
        place = self.places / str(job.jobid)
        deployed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout.split("\n")
        left = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()} - set(deployed)
        unpacked = tuple(mark.parent.relative_to(place).as_posix() for mark in place.rglob(".archive"))  # declared so
        left = sorted(path for path in left if not path.startswith((*OWN, *unpacked)) and "__pycache__" not in path)
        with Path(os.environ["ELSEWHERE_LEFTOVERS"]).open("a") as file:
            file.writelines(f"{job.rule.name}: {path}\n" for path in left)
