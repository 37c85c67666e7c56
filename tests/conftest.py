"""What the tests share."""

import os

# Before torch is loaded: several test processes of several threads each would crawl on two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
