"""GPUs of one machine: a false nvidia-smi, no CUDA, and what each job sees."""

import os
import subprocess
import sys
import time
import uuid

import pytest

JOB = (
    "import os, sys; from ssc.device import lease_gpu\n"
    "with lease_gpu() as gpu:\n"
    "    print(os.environ.get('CUDA_VISIBLE_DEVICES'), gpu, flush=True); sys.stdin.read()"
)


@pytest.fixture
def machine(tmp_path):
    """A machine with two GPUs: starts a job there, which holds its GPU until its stdin is closed."""
    gpus = [f"GPU-{uuid.uuid4()}" for _ in range(2)]
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\nprintf '{gpus[0]}\\n{gpus[1]}\\n'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    started = []

    def start(**environment):
        job = subprocess.Popen(
            [sys.executable, "-c", JOB], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(tmp_path),
                            **environment},
        )  # fmt: skip
        started.append(job)
        return job

    yield gpus, start
    for job in started:
        job.kill()
        job.communicate()


def test_each_job_sees_one_gpu_and_a_third_job_waits(machine):
    gpus, start = machine
    first, second = start(), start()
    seen = {job.stdout.readline().split()[0]: job for job in (first, second)}
    assert set(seen) == set(gpus)
    third = start()
    assert "waiting for one of 2 GPUs" in third.stderr.readline()
    seen[gpus[1]].kill()  # nothing is left of it but the kernel's word that its lock is free
    assert third.stdout.readline().split()[0] == gpus[1]


def test_a_job_keeps_within_the_gpus_that_it_was_given(machine):
    gpus, start = machine
    assert start(CUDA_VISIBLE_DEVICES="1").stdout.readline().split()[0] == gpus[1]
    assert start(CUDA_VISIBLE_DEVICES="").stdout.readline().split() == ["None"]
    assert start(CUDA_VISIBLE_DEVICES="-1,0").stdout.readline().split() == ["-1,0", "None"]  # as CUDA reads it
    begun = time.monotonic()
    other = start(CUDA_VISIBLE_DEVICES=gpus[0])  # by name; the first one is free
    assert other.stdout.readline().split()[0] == gpus[0] and time.monotonic() - begun < 60


def test_a_torch_without_cuda_holds_no_gpu(machine):
    import torch

    from ssc.device import lease

    if torch.cuda.is_available():
        pytest.skip("this torch has CUDA")
    with lease() as device:
        assert device.type == "cpu" and all(start().stdout.readline() for start in [machine[1]] * 2)
