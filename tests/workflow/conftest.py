"""A small slice of Table 6, made once by the literal command in a copy of the project, which every process copies."""

import os
import subprocess
import sys
import time
import urllib.request

import pytest
from filelock import FileLock
from project import SHOWN, Project, trained


@pytest.fixture(scope="session")
def made(tmp_path_factory, worker_id):
    """The project after the command that its README shows."""
    base = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    first = base / "made"
    with FileLock(first.with_suffix(".lock")):
        if not first.exists():
            unfinished = Project(tmp_path_factory.mktemp("workflow") / "project")
            unfinished.run("snakemake --cores 8 --resources gpu=2 results/tables/table6.csv")
            unfinished.folder.rename(first)
    return Project.at(first).copy(tmp_path_factory.mktemp("copy") / "project")


@pytest.fixture(scope="session")
def shown(made):
    """The same project with what needs no further training: a figure, curves, a diagram, the task's notebook."""
    made.run(f"snakemake --cores 2 {SHOWN}")
    return made


@pytest.fixture(scope="session")
def everything(made):
    """The same project after `all`."""
    made.run("snakemake --cores 2 all")
    return made


@pytest.fixture(scope="session")
def reproduced(everything, tmp_path_factory):
    """A second copy in git, after `dvc repro`: the first command's results lie there already."""
    project = everything.copy(tmp_path_factory.mktemp("dvc") / "project")
    project.run("git init -q && git add -A && git -c user.name=t -c user.email=t@t commit -qm all")
    project.before = trained(project)
    project.log = project.run("dvc repro")
    return project


@pytest.fixture(scope="session")
def bucket(tmp_path_factory):
    """An S3 bucket on this machine, served by moto: a client, and the server's address."""
    pytest.importorskip("moto", reason="pip install 'moto[server]'")
    import boto3

    port = 5000 + os.getpid() % 1000
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-p", str(port)], stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(address, timeout=1)
                break
            except OSError:
                time.sleep(0.2)
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        client = boto3.client("s3", endpoint_url=address, **keys)
        client.create_bucket(Bucket="ssc")
        yield client, address
    finally:
        server.kill()
        server.wait()
