"""Files with flipped bits, cut ends and overwritten numbers: each is refused in one line or read, never a traceback.

`make test` takes the first seeds, `make test-all` all 300. Each runs in a process of its own: a decoder may crash.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import multiprocessing
import resource
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from archives import btcv_case, chaos_case, mmwhs_case

from ssc import cli
from ssc.matrix import tasks

SEEDS, SHORT = 300, 30
SECONDS, BYTES = 60, 4 * 2**30
EXTREMES = (b"\x00", b"\xff", b"\x7f\xc0\x00\x00", b"\xff\x7f", b"\x01\x00\x00\x80")


def _archives(folder: Path) -> list[Path]:
    btcv_case(folder, "0001")
    chaos_case(folder, "1")
    mmwhs_case(folder, "1001", "ct")
    mmwhs_case(folder, "1001", "mr")
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _damaged(content: bytes, generator: np.random.Generator) -> bytes:
    packed = content[:2] == b"\x1f\x8b" and generator.random() < 0.7
    data = bytearray(gzip.decompress(content) if packed else content)
    header = min(len(data), 352 if packed else 1200)
    kind = generator.integers(4)
    if kind == 0:
        del data[int(generator.integers(len(data))) :]
    elif kind == 1:
        for place in generator.integers(header * 8, size=int(generator.integers(1, 9))):
            data[place // 8] ^= 1 << (place % 8)
    elif kind == 2:
        start, extreme = int(generator.integers(header)), EXTREMES[int(generator.integers(len(EXTREMES)))]
        data[start : start + len(extreme)] = extreme
    else:
        start = int(generator.integers(len(data)))
        data[start : start + 64] = generator.bytes(64)
    return gzip.compress(bytes(data)) if packed else bytes(data)


def _examine(folder: Path, run: Path, scan: Path, modality: str, results) -> None:
    """Doctor, preprocessing, prediction: exit status and what was said. An exception gets through as it is."""
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        codes = [cli.main(["doctor", str(folder), "--json", str(folder / "found.json")])]
        for task in tasks().values():
            for modality in task.modalities:
                source = task.source(modality)
                chosen = task.to_case(modality, "real", "smoke")
                settings = json.dumps({"to_case": chosen, "values": task.values(modality)})
                arguments = ["preprocess", source, str(folder), str(folder / "cases" / source), "--settings", settings]
                codes.append(cli.main([*arguments, "--threads", "1"]))
        arguments = ["predict", str(run), str(scan), "-o", str(folder / "out.nii.gz"), "--modality", modality]
        codes.append(cli.main([*arguments, "--overlap", "0", "--threads", "1"]))
    results.put((codes, said.getvalue()))


@pytest.mark.parametrize(
    "seed", [*range(SHORT), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(SHORT, SEEDS))]
)
def test_a_damaged_file_is_one_line_or_read(tmp_path, folded, seed):
    generator = np.random.default_rng(seed)
    files = _archives(tmp_path)
    victim = files[int(generator.integers(len(files)))]
    victim.write_bytes(_damaged(victim.read_bytes(), generator))
    scan, modality = (victim.parent, "mri") if victim.suffix == ".dcm" else (victim, "ct")
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    process = context.Process(target=_examine, args=(tmp_path, folded, scan, modality, results))
    process.start()
    process.join(SECONDS)
    if process.is_alive():
        process.kill()
        pytest.fail(f"{victim.name}: still at work after {SECONDS} s")
    assert process.exitcode == 0, f"{victim.name}: exit {process.exitcode}"
    codes, said = results.get(timeout=5)
    assert set(codes) <= {0, 1} and "Traceback" not in said
    faults = [line for line in said.splitlines() if line.startswith("ssc: ") and "warning" not in line]
    assert len(faults) == sum(codes)  # one line each
    for source in ("btcv", "chaos", "mmwhs_ct", "mmwhs_mri"):  # a refused archive leaves no manifest
        folder = tmp_path / "cases" / source
        assert (folder / "manifest.json").exists() or not list(folder.glob(".part-*"))
    if codes[-1] == 0 and scan == victim:  # a label map has the geometry that an independent reader finds
        found, expected = nib.load(tmp_path / "out.nii.gz"), nib.load(victim)
        assert found.shape == expected.shape[:3] and np.allclose(found.affine, expected.affine, atol=1e-3)
    else:
        assert codes[-1] == 0 or not (tmp_path / "out.nii.gz").exists()
