"""The page that puts the method around a reader's own network, run from the installed package alone."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_pages_program_runs(installed, tmp_path):
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/plug_in.md").read_text("utf-8"), re.DOTALL)
    assert len(program.splitlines()) <= 30
    checked = "\nimport ssc\nprint(ssc.__file__)\nprint(float(loss.detach()))\n"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", program + checked]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    package, loss = ran.stdout.split()
    assert Path(package).is_relative_to(installed) and 0 < float(loss) < 100
