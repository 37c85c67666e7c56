"""What is installed allows every Python that the project promises."""

import re
from importlib.metadata import distribution

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from ssc.matrix import ROOT

PINS = [line for line in (ROOT / "requirements.lock").read_text("utf-8").splitlines() if line and line[0] != "#"]
PROMISED = re.search(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text("utf-8")).group(1)


@pytest.mark.parametrize("pin", PINS)
def test_a_pin_allows_the_oldest_python_that_is_promised(pin):
    """Its own first release included: 3.11 is 3.11.0."""
    wanted = Requirement(pin)
    found = distribution(wanted.name)
    assert found.version in wanted.specifier, f"{pin}: {found.version} is installed"
    assert f"{PROMISED}.0" in SpecifierSet(found.metadata["Requires-Python"] or "")


def test_conda_and_pip_install_the_same():
    listed = yaml.safe_load((ROOT / "envs/environment.yaml").read_text("utf-8"))["dependencies"]
    by_pip = next(entry["pip"] for entry in listed if isinstance(entry, dict))
    assert sorted(PINS) == sorted(line for line in by_pip if "==" in line)
