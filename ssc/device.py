"""Threads and GPUs of a job: never more at work than the machine has, over all concurrent jobs."""

from __future__ import annotations

import contextlib
import getpass
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

    The lease is a file lock, so the kernel frees it when the job dies. A job of Slurm sees its own GPUs alone, and
    finds them free.
    """
    if not torch.cuda.is_available():
        yield torch.device("cpu")
        return
    folder = Path(tempfile.gettempdir()) / f"ssc-gpus-{getpass.getuser()}"
    folder.mkdir(exist_ok=True)
    identities = [str(torch.cuda.get_device_properties(i).uuid) for i in range(torch.cuda.device_count())]
    waiting = False
    while True:
        for index, identity in enumerate(identities):
            with contextlib.suppress(filelock.Timeout), filelock.FileLock(folder / f"{identity}.lock", timeout=0):
                yield torch.device("cuda", index)
                return
        if not waiting:
            print(f"waiting for one of {len(identities)} GPUs: other jobs of this user hold them", file=sys.stderr)
            waiting = True
        time.sleep(2)
