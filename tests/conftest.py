"""What the tests share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Before torch is loaded: several test processes of several threads each would crawl on two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """A folder with the package as its wheel installs it, without the checkout."""
    target = tmp_path_factory.mktemp("installed")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--target", target]
    root = Path(__file__).parent.parent
    subprocess.run([sys.executable, "-m", "pip", "install", *options, root], check=True)
    return target
