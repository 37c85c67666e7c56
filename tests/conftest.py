"""What the tests share."""

import os
import sys
from pathlib import Path

# Before torch is loaded: several test processes of several threads each would crawl on two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent / "unit"))
