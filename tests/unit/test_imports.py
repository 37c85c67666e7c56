"""Who may know whom, and what must stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "monai")


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)


def _of(folder):
    top = ROOT / "ssc" / folder
    return [top] if top.suffix else sorted(top.rglob("*.py"))


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("", ("snakemake", "dvc")),
        ("models", ("ssc.data", "ssc.training", "ssc.inference", "ssc.results", "ssc.config", "ssc.matrix")),
        ("losses.py", ("ssc.data", "ssc.training", "ssc.inference", "ssc.results")),
        ("data", ("ssc.models", "ssc.losses", "ssc.training", "ssc.inference", "ssc.results")),
        ("results", ("torch", "monai", "ssc.models", "ssc.training", "ssc.inference")),
        ("statistics.py", ("torch", "monai", "ssc.data", "ssc.models")),
        ("models/eam.py", ("ssc.models.backbones", "ssc.models.network")),
        ("models/backbones", ("ssc.models.eam", "ssc.models.modulation", "ssc.models.network")),
        ("settings.py", ("ssc", "torch")),
        ("errors.py", ("ssc",)),
    ],
)
def test_arrows_point_one_way(room, forbidden):
    for path in _of(room):
        for name in _imports(path):
            wrong = [f for f in forbidden if name == f or name.startswith(f + ".")]
            assert not wrong, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize(
    "code",
    [
        "import ssc.config, ssc.matrix, ssc.runs",
        "import ssc.results.tables, ssc.results.figures, ssc.results.notebooks",
        "import ssc.cli\ntry: ssc.cli.main(['--help'])\nexcept SystemExit: pass",
    ],
)
def test_light_parts_load_no_torch(code):
    script = f"{code}\nimport sys\nprint([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


def test_ssc_and_rules_hold_no_machine_path():
    for path in [*ROOT.glob("ssc/**/*.py"), *ROOT.glob("rules/*"), *ROOT.glob("workflow_scripts/*")]:
        if path.is_file():
            text = path.read_text("utf-8")
            assert not any(f"/{top}/" in text for top in ("home", "Users", "root")), path
