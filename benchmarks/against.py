"""Seconds of a training step here against another commit of this repository, in pairs in turn.

    python benchmarks/against.py COMMIT [--pairs 20] [--variant ours] [what `step.py` takes …]

Two processes, each with its own commit's code, take turns at a few steps of `step.py`; the ratio is the median over
pairs, with the quartiles. Memory is handled as in the workflow (GLIBC_TUNABLES of rules/common.smk).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
# Answers each line with the milliseconds of a step, measured by the checkout's own benchmark.
WORKER = """
import argparse, json, sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/benchmarks"]
import step, torch
from ssc import matrix
options = argparse.Namespace(**json.loads(sys.argv[2]))
torch.set_num_threads(options.threads)
for _ in sys.stdin:
    print(1000 * step.seconds(matrix.variants()[options.variant], options), flush=True)
"""


class Worker:
    """A process that measures the step of one checkout when asked."""

    def __init__(self, checkout: Path, options: argparse.Namespace):
        tunables = re.search(r"glibc\.malloc\.[^\"]*", (ROOT / "rules/common.smk").read_text("utf-8"))
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(checkout), json.dumps(vars(options))],
            cwd=checkout,
            env={**os.environ, "GLIBC_TUNABLES": tunables.group()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def milliseconds(self) -> float:
        """Of one step, measured now."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(self.process.wait())
        return float(answer)


def main() -> None:
    """Print a line a pair, and the median ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--variant", default="ours")
    parser.add_argument("--task", default="abdomen")
    parser.add_argument("--data", default="real")
    parser.add_argument("--scale", default="small")
    parser.add_argument("--images", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5)
    options = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder) / "there"
        subprocess.run(["git", "clone", "--quiet", ROOT, there], check=True)
        subprocess.run(["git", "-C", there, "checkout", "--quiet", options.commit], check=True)
        new, old = Worker(ROOT, options), Worker(there, options)
        for pair in range(options.pairs):
            took = {worker: worker.milliseconds() for worker in ((old, new) if pair % 2 else (new, old))}
            ratios.append(took[new] / took[old])
            print(f"{took[old]:8.1f} ms at {options.commit}, {took[new]:8.1f} ms here: {ratios[-1]:.2f} x", flush=True)
        for worker in (new, old):
            worker.process.kill()
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(f"median of {options.pairs} pairs: {middle:.2f} x (quartiles {low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
