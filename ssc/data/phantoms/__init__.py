"""Made-up patients in the layouts of the archives, so that everything runs without a download."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ssc.data.phantoms import abdomen, heart

# What writes some cases of an archive into a folder.
WRITERS: dict[str, Callable[[Path, Sequence[str]], None]] = {
    "btcv": abdomen.write_btcv,
    "chaos": abdomen.write_chaos,
    "mmwhs_ct": heart.write_ct,
    "mmwhs_mri": heart.write_mri,
}
