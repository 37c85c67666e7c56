"""What the tests share."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

collect_ignore = [] if find_spec("playwright") else ["browser"]


def pytest_report_header():
    """What is left out, at the top."""
    return ["without tests/browser: playwright is not installed"] if collect_ignore else []


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


@pytest.fixture(scope="session")
def folded(tmp_path_factory):
    """A folded network of the abdomen, untrained."""
    from networks import network_of
    from safetensors.torch import save_file

    from ssc.inference import Card
    from ssc.models.folding import fold
    from ssc.tasks import tasks

    folder, task = tmp_path_factory.mktemp("folded"), tasks()["abdomen"]
    for modality in task.modalities:
        network = fold(network_of("unet", "joint_plain"), modality)
        save_file(network.state_dict(), folder / f"{modality}.safetensors")
        card = Card(
            run="real/smoke/abdomen/draw0/seed0/joint_plain", commit="unknown", modality=modality,
            weights=f"{modality}.safetensors", labels={s.name: v for v, s in enumerate(task.structures, start=1)},
            network=network.settings, modulated=False,
            preprocessing=task.to_case(modality, "real", "smoke"),
            trained_on={"1": {"intensity": [-1000, 1000], "extent_mm": [300, 300, 300]}},
        )  # fmt: skip
        (folder / f"{modality}.folded.json").write_text(card.model_dump_json(), "utf-8")
    return folder
