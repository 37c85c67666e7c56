"""Threads and GPUs of a job: never more at work than the machine has, over all concurrent jobs."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import filelock
import SimpleITK as sitk
import torch


def use_threads(threads: int) -> None:
    """Let torch and SimpleITK compute on this many threads."""
    torch.set_num_threads(threads)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


@contextlib.contextmanager
def lease() -> Iterator[torch.device]:
    """A device for one job: a visible GPU that no other job of this user holds, else the CPU.

    The job then sees that GPU alone. The lease is a file lock, so the kernel frees it when the job dies. A job of Slurm
    sees its own GPUs alone, and finds them free.
    """
    with _one_of(_visible_gpus()) as gpu:
        if gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # before torch looks at any
        if torch.cuda.is_available():
            yield torch.device("cuda", 0)
            return
        if gpu:
            print(f"GPU {gpu} is there, but this torch has no CUDA: the job runs on the CPU", file=sys.stderr)
        yield torch.device("cpu")


def _visible_gpus() -> list[str]:
    """Names of the GPUs that nvidia-smi lists and CUDA_VISIBLE_DEVICES, if set, leaves."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    found = subprocess.run(query, capture_output=True, text=True, check=False)
    listed = found.stdout.split() if found.returncode == 0 else []
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return listed
    chosen = [word.strip() for word in given.split(",") if word.strip() not in ("", "-1")]
    return [listed[int(word)] if word.isdigit() and int(word) < len(listed) else word for word in chosen]


@contextlib.contextmanager
def _one_of(gpus: Sequence[str]) -> Iterator[str | None]:
    """One that is free, held until the end; None where there is none at all."""
    if not gpus:
        yield None
        return
    folder = Path(tempfile.gettempdir()) / f"ssc-gpus-{getpass.getuser()}"
    folder.mkdir(exist_ok=True)
    locks = {gpu: filelock.FileLock(folder / f"{gpu}.lock", timeout=0) for gpu in gpus}
    waiting = False
    while True:
        for gpu, lock in locks.items():
            try:
                lock.acquire()
            except filelock.Timeout:
                continue
            try:
                yield gpu
            finally:
                lock.release()
            return
        if not waiting:
            print(f"waiting for one of {len(gpus)} GPUs: other jobs of this user hold them", file=sys.stderr)
            waiting = True
        time.sleep(1)
