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
from collections.abc import Iterator
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

    A job of Slurm sees its own GPUs alone, and finds them free.
    """
    if torch.version.cuda is None and torch.version.hip is None:
        yield torch.device("cpu")
        return
    with lease_gpu() as gpu:
        if torch.cuda.is_available():
            if gpu is None:
                print("no nvidia-smi: the first GPU is taken, whoever else is on it", file=sys.stderr)
            yield torch.device("cuda", 0)
            return
    yield torch.device("cpu")


@contextlib.contextmanager
def lease_gpu() -> Iterator[str | None]:
    """Name of a GPU that this process holds and alone sees, from before torch looks at any; None: there is none.

    The lease is a file lock, so the kernel frees it when the job dies.
    """
    gpus = _visible_gpus()
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
                os.environ["CUDA_VISIBLE_DEVICES"] = gpu
                yield gpu
            finally:
                lock.release()
            return
        if not waiting:
            print(f"waiting for one of {len(gpus)} GPUs: other jobs of this user hold them", file=sys.stderr)
            waiting = True
        time.sleep(1)


def _visible_gpus() -> list[str]:
    """Names of the GPUs that nvidia-smi lists and CUDA_VISIBLE_DEVICES, if set, leaves; numbers are nvidia-smi's."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    found = subprocess.run(query, capture_output=True, text=True, check=False)
    listed = found.stdout.split() if found.returncode == 0 else []
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return listed
    chosen = []
    for word in map(str.strip, given.split(",")):
        name = listed[int(word)] if word.isdecimal() and int(word) < len(listed) else word
        if not name.startswith(("GPU-", "MIG-")):  # CUDA, too, ends the list at the first that is none
            break
        chosen.append(name)
    return chosen
