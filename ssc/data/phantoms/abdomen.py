"""Made-up abdomens, written in the layouts of BTCV (CT) and CHAOS (T2-SPIR MRI).

One case is one random body: ellipsoids, tubes and smooth random fields, painted in millimetres over each
other on the scan's own grid (x to the patient's left, y to the front, z to the head), then given the look of
its modality. Every case follows from its modality and number alone, so no CT has an MRI of the same body.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from ssc.data.phantoms.dicom import write_series
from ssc.data.phantoms.painting import (
    EVERYWHERE,
    SEED,
    Array,
    Body,
    Shape,
    Tissues,
    Triple,
    blurred,
    hounsfield,
    lookup,
    magnitude,
    smooth_field,
    textured,
)

CT_MODALITY, MRI_MODALITY = 1, 2
MR_SLICE_SAMPLES = 2

# What fills a voxel; finer than the labels.
Tissue = IntEnum(
    "Tissue",
    "AIR SKIN FAT MUSCLE BONE DISC CAVITY LUNG HEART AORTA CAVA LIVER LIVER_VESSEL GALLBLADDER SPLEEN "
    "RIGHT_KIDNEY RIGHT_MEDULLA LEFT_KIDNEY LEFT_MEDULLA SINUS STOMACH_WALL STOMACH STOMACH_GAS "
    "GAS BOWEL_A BOWEL_B BOWEL_C BOWEL_D TABLE",
    start=0,
)
T = Tissue
BOWEL = (T.BOWEL_A, T.BOWEL_B, T.BOWEL_C, T.BOWEL_D)
# What an organ may push aside; muscle, bone and the body's outside stay where they are.
ORGANS = (T.LIVER, T.LIVER_VESSEL, T.GALLBLADDER, T.SPLEEN, T.STOMACH_WALL, T.STOMACH, T.STOMACH_GAS)
SOFT = (T.CAVITY, *ORGANS, *BOWEL, T.GAS)

BTCV_LABELS = {
    T.SPLEEN: 1, T.RIGHT_KIDNEY: 2, T.RIGHT_MEDULLA: 2, T.LEFT_KIDNEY: 3, T.LEFT_MEDULLA: 3,
    T.LIVER: 6, T.LIVER_VESSEL: 6, T.STOMACH_WALL: 7, T.STOMACH: 7, T.STOMACH_GAS: 7, T.AORTA: 8,
}  # fmt: skip
CHAOS_LABELS = {
    T.LIVER: 63, T.LIVER_VESSEL: 63, T.RIGHT_KIDNEY: 126, T.RIGHT_MEDULLA: 126,
    T.LEFT_KIDNEY: 189, T.LEFT_MEDULLA: 189, T.SPLEEN: 252,
}  # fmt: skip


def write_btcv(folder: Path, cases: Sequence[str]) -> None:
    """Write CT cases ("0001", ...) as folder/RawData/Training/{img/img0001,label/label0001}.nii.gz.

    Images are int16 HU and labels uint8 in BTCV's numbers, both (X, Y, Z) to the left, front and head.
    """
    training = folder / "RawData" / "Training"
    for part in ("img", "label"):
        (training / part).mkdir(parents=True, exist_ok=True)
    for case in cases:
        image, label, affine = ct_case(int(case))
        nib.save(nib.Nifti1Image(image, affine), training / "img" / f"img{case}.nii.gz")
        nib.save(nib.Nifti1Image(label, affine), training / "label" / f"label{case}.nii.gz")


def write_chaos(folder: Path, cases: Sequence[str]) -> None:
    """Write MRI cases ("1", ...) as folder/Train_Sets/MR/<id>/T2SPIR/{DICOM_anon/*.dcm,Ground/*.png}.

    Slices are uint16 DICOM files; each has a PNG of the same stem and rows in CHAOS's grey values.
    """
    for case in cases:
        image, label, spacing_mm, origin_mm = mri_case(int(case))
        series = folder / "Train_Sets" / "MR" / case / "T2SPIR"
        write_series(series, int(case), image, label, spacing_mm, origin_mm)


def ct_case(case: int) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.float64]]:
    """Return one CT: image in HU (X, Y, Z), label (X, Y, Z) and affine (axes L, A, S) to RAS mm."""
    rng = np.random.default_rng([CT_MODALITY, case, SEED])
    in_plane = rng.uniform(2.9, 3.4)
    size = round(rng.uniform(340, 380) / in_plane)
    spacing_mm = (in_plane, in_plane, rng.uniform(4.0, 6.0))
    below, above = rng.uniform(150, 225), rng.uniform(105, 135)
    shape = (size, size, round((below + above) / spacing_mm[2]))
    axes = _axes(rng, shape, spacing_mm, below)
    tissue = _tissues(rng, axes)
    _lay_on_table(tissue)
    image = _ct_image(rng, tissue)
    affine = np.diag([-spacing_mm[0], spacing_mm[1], spacing_mm[2], 1.0])
    affine[:3, 3] = (-axes[0][0], axes[1][0], axes[2][0])
    return image, lookup(BTCV_LABELS).astype(np.uint8)[tissue], affine


def mri_case(case: int) -> tuple[NDArray[np.uint16], NDArray[np.uint8], Triple, Triple]:
    """Return one MRI: image and label (slices from feet to head, rows to the back, columns to the left).

    With them the spacing in mm (column, row, slice) and the first voxel's centre in LPS mm.
    """
    rng = np.random.default_rng([MRI_MODALITY, case, SEED])
    in_plane = rng.uniform(2.6, 3.0)
    size = round(rng.uniform(325, 365) / in_plane)
    below, above = rng.uniform(128, 165), rng.uniform(100, 140)
    slices = round(float(np.clip((below + above) / rng.uniform(6.5, 9.0), 27, 39)))
    gap = (below + above) / slices
    fine = (in_plane, in_plane, gap / MR_SLICE_SAMPLES)
    axes = _axes(rng, (size, size, slices * MR_SLICE_SAMPLES), fine, below)
    tissue = _tissues(rng, axes)
    image = _mri_image(rng, tissue)
    label = lookup(CHAOS_LABELS).astype(np.uint8)[tissue[:, :, MR_SLICE_SAMPLES // 2 :: MR_SLICE_SAMPLES]]
    origin_mm = (float(axes[0][0]), float(-axes[1][-1]), float(axes[2][:MR_SLICE_SAMPLES].mean()))
    return _as_slices(image), _as_slices(label), (in_plane, in_plane, gap), origin_mm


def _axes(rng: np.random.Generator, shape: Shape, spacing_mm: Triple, below_mm: float) -> list[Array]:
    """Voxel centres in body millimetres; the patient lies off the middle of the field of view."""
    shift = rng.uniform((-24, -22, -11), (24, 22, 11))
    starts = (-(shape[0] - 1) / 2 * spacing_mm[0], -(shape[1] - 1) / 2 * spacing_mm[1], -below_mm)
    grids = zip(shape, spacing_mm, shift + starts, strict=True)
    return [np.float32(start + np.arange(size) * step) for size, step, start in grids]


def _tissues(rng: np.random.Generator, axes: Sequence[Array]) -> Tissues:
    """Paint a whole patient and return its tissues (X, Y, Z)."""
    size = rng.uniform(0.94, 1.07, 3)
    axes = [np.float32(axis / factor) for axis, factor in zip(axes, size, strict=True)]
    warp = [5 * smooth_field(rng, axes, 75) + 1.5 * smooth_field(rng, axes, 32) for _ in range(3)]
    points = np.stack(np.broadcast_arrays(*np.ix_(*axes))) + warp
    body = Body(axes, points, np.zeros(points.shape[1:], np.uint8), T.CAVITY)
    inner = _wall(rng, body)
    _spine_and_muscles(rng, body, inner)
    _bowel(rng, body, inner)
    _liver(rng, body, inner)
    _stomach_and_spleen(rng, body, inner)
    _kidneys(rng, body, inner)
    _chest(rng, body, inner)
    return body.tissue


def _wall(rng: np.random.Generator, body: Body) -> tuple[float, float]:
    """Paint skin, fat, muscle ring with ribs, and the cavity; return the cavity's half axes in mm."""
    fat, muscle = rng.uniform(7, 16), rng.uniform(9, 13)
    half = np.float32(rng.uniform(78, 88) + 2.5 + fat + muscle) * np.float32([rng.uniform(1.36, 1.44), 1])
    levels = np.float32([0, 2.5, 2.5 + fat, 2.5 + fat + muscle])
    depth = body.layers(half, levels, (T.AIR, T.SKIN, T.FAT, T.MUSCLE, T.CAVITY))
    x, y, z = body.points
    height = z - 0.35 * np.abs(x) + 0.45 * y
    ribs = (np.sin(height * np.float32(2 * np.pi / 30)) > 0.45) & (z > -60)
    body.fill(EVERYWHERE, ribs & (np.abs(depth - levels[2] - muscle / 2) < 4), T.BONE, (T.MUSCLE,))
    width, thickness = half * (1 - levels[3] / half[1])
    return float(width), float(thickness)


def _spine_and_muscles(rng: np.random.Generator, body: Body, inner: tuple[float, float]) -> None:
    """Paint vertebrae with discs, the muscles behind and beside them, and the two great vessels."""
    back, tall = -inner[1], 1e4
    for side in (-1, 1):
        body.ellipsoid(T.MUSCLE, (side * 34, back - 4, 0), (34, 24, tall), (T.CAVITY, T.FAT))
        body.ellipsoid(T.MUSCLE, (side * 38, back + 30, -150), (20, 24, 110), turn=(0, side * -6, 0))
    for y, width, thickness in ((back + 22, 24, 19), (back - 6, 8, 22)):
        body.ellipsoid(T.BONE, (0, y, 0), (width, thickness, tall), (T.CAVITY, T.MUSCLE, T.FAT))
    x, y, z = body.points
    between = np.sin(z * np.float32(2 * np.pi / 34)) > 0.75
    body.fill(EVERYWHERE, between & (np.abs(x) < 30) & (y < back + 45), T.DISC, (T.BONE,))
    radius = rng.uniform(9, 12)
    body.ellipsoid(T.AORTA, (10, back + 53, 0), (radius, radius, tall))
    body.ellipsoid(T.CAVA, (-18, back + 54, 0), (1.3 * radius, radius, tall))


def _bowel(rng: np.random.Generator, body: Body, inner: tuple[float, float]) -> None:
    """Fill the cavity with loops whose contents look like any of the organs."""
    for _ in range(240):
        angle, far = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0, 0.8))
        centre = (inner[0] * far * np.cos(angle), inner[1] * far * np.sin(angle) + 12, rng.uniform(-200, 60))
        contents = T.GAS if rng.random() < 0.06 else BOWEL[rng.integers(len(BOWEL))]
        radii, turn = rng.uniform((11, 10, 13), (25, 19, 32)), rng.uniform(-90, 90, 3)
        body.ellipsoid(contents, centre, radii, (*BOWEL, T.GAS), turn=turn, gap_mm=3)


def _liver(rng: np.random.Generator, body: Body, inner: tuple[float, float]) -> None:
    """Paint two lobes, vessels in them and the gallbladder."""
    right = rng.normal((-0.52 * inner[0], 4, 12), (4, 4, 6))
    radii = rng.normal((71, 75, 84), (1.5, 1.5, 2)) * rng.uniform(0.98, 1.04)
    loops = (*BOWEL, T.GAS)
    body.ellipsoid(T.LIVER, right, radii, loops, turn=(0, rng.normal(18, 4), 0), gap_mm=4)
    left, turn = right + rng.normal((58, 28, 18), (5, 4, 5)), (0, rng.normal(-15, 5), rng.normal(-15, 5))
    body.ellipsoid(T.LIVER, left, rng.normal((62, 33, 44), 3), loops, turn=turn, gap_mm=4)
    _part_from_wall(body, inner, T.LIVER)
    vessels = np.abs(smooth_field(rng, body.axes, 34)) < 0.05
    body.fill(EVERYWHERE, vessels, T.LIVER_VESSEL, (T.LIVER,))
    bladder = right + rng.normal((24, 42, -52), 4)
    body.ellipsoid(T.GALLBLADDER, bladder, (13, 15, 24), SOFT, turn=(20, 0, 0), gap_mm=2)


def _part_from_wall(body: Body, inner: tuple[float, float], organ: Tissue) -> None:
    """Put a thin layer of fat between an organ and the body wall."""
    x, y, _ = body.points
    near = np.hypot(x / np.float32(inner[0] - 3), y / np.float32(inner[1] - 3)) > 1
    body.fill(EVERYWHERE, near, T.CAVITY, (organ,))


def _stomach_and_spleen(rng: np.random.Generator, body: Body, inner: tuple[float, float]) -> None:
    """Paint the stomach with wall, contents and gas, then the spleen behind it against the wall."""
    stomach, radii = rng.normal((0.46 * inner[0], 20, 34), 5), rng.normal((34, 30, 44), 4)
    turn = (rng.normal(-20, 8), rng.normal(-25, 8), 0)
    body.ellipsoid(T.STOMACH_WALL, stomach, radii, SOFT, turn=turn, gap_mm=3)
    body.ellipsoid(T.STOMACH, stomach, radii - 4, (T.STOMACH_WALL,), turn=turn)
    body.ellipsoid(T.STOMACH_GAS, np.add(stomach, (0, 14, 6)), radii * 0.55, (T.STOMACH,), turn=turn)
    spleen, radii = rng.normal((0.76 * inner[0], -30, 28), (4, 5, 8)), rng.normal((34, 48, 59), (1.5, 2, 3))
    body.ellipsoid(T.SPLEEN, spleen, radii, SOFT, turn=rng.normal((-12, -8, -20), 5), bend=-10, gap_mm=3)
    _part_from_wall(body, inner, T.SPLEEN)


def _kidneys(rng: np.random.Generator, body: Body, inner: tuple[float, float]) -> None:
    """Paint bean-shaped kidneys with medulla and sinus in their own fat, the right one lower."""
    kidneys = ((-1, -52, T.RIGHT_KIDNEY, T.RIGHT_MEDULLA), (1, -38, T.LEFT_KIDNEY, T.LEFT_MEDULLA))
    for side, height, cortex, medulla in kidneys:
        centre = rng.normal((side * 62, 38 - inner[1], height), (4.5, 4.5, 7))
        radii = rng.normal((30.5, 28.5, 56), (0.8, 0.8, 1.5))
        turn = rng.normal((-8, side * -12, side * 25), (4, 4, 8))
        body.ellipsoid(cortex, centre, radii, SOFT, turn=turn, bend=side * 10, gap_mm=6)
        body.ellipsoid(medulla, centre, radii * 0.66, (cortex,), turn=turn, bend=side * 10)
        hilum = np.add(centre, (-side * 17, 5, 0))
        body.ellipsoid(T.SINUS, hilum, (15, 9, 20), (cortex, medulla, T.CAVITY), turn=turn)


def _chest(rng: np.random.Generator, body: Body, inner: tuple[float, float]) -> None:
    """Paint lung above two domes of the diaphragm, and the heart between them."""
    x, y, z = body.points
    right, left = rng.normal((92, 84), 3)
    dome = np.maximum(right - 40 * ((x + 62) / 60) ** 2, left - 40 * ((x - 66) / 60) ** 2)
    body.fill(EVERYWHERE, z > dome - 50 * (y / inner[1]) ** 2, T.LUNG, SOFT)
    body.ellipsoid(T.HEART, rng.normal((22, 28, 118), 5), (56, 48, 40), (T.LUNG, T.CAVITY))


def _lay_on_table(tissue: Tissues) -> None:
    """Put a thin board under the back, where the field of view reaches that far."""
    lowest = int(np.argmax((tissue > 0).any(axis=(0, 2))))
    board = tissue[:, max(lowest - 4, 0) : max(lowest - 1, 0)]
    board[board == T.AIR] = T.TABLE


def _ct_image(rng: np.random.Generator, tissue: Tissues) -> NDArray[np.int16]:
    """Hounsfield units (X, Y, Z): contrast phase, partial volume and correlated noise."""
    image = blurred(textured(rng, tissue, lookup(_ct_values(rng)), 5.0), (0.6, 0.6, 0.4))
    return hounsfield(rng, image, noise_hu=(12, 20))


def _ct_values(rng: np.random.Generator) -> dict[Tissue, float]:
    """HU of each tissue; enhancement (0 none, 1 strong) differs by case."""
    dose, early = rng.uniform(0, 1, 2)
    muscle = rng.normal(56, 4) + 8 * dose
    liver = rng.normal(60, 5) + 50 * dose * (1 - 0.5 * early)
    spleen = rng.normal(52, 4) + 75 * dose
    kidney = rng.normal(38, 4) + 130 * dose
    aorta = rng.normal(42, 4) + dose * (110 + 110 * early)
    cava, medulla = 0.7 * aorta + 15, kidney - 45 * dose * early
    return {
        T.AIR: -1000, T.SKIN: 0, T.FAT: -105, T.MUSCLE: muscle, T.BONE: rng.uniform(190, 300),
        T.DISC: 85, T.CAVITY: -95, T.LUNG: -830, T.HEART: cava, T.AORTA: aorta, T.CAVA: cava,
        T.LIVER: liver, T.LIVER_VESSEL: liver + 30 * dose - 10, T.GALLBLADDER: 8, T.SPLEEN: spleen,
        T.RIGHT_KIDNEY: kidney, T.LEFT_KIDNEY: kidney, T.RIGHT_MEDULLA: medulla, T.LEFT_MEDULLA: medulla,
        T.SINUS: -60, T.STOMACH_WALL: muscle + 15 * dose, T.STOMACH: rng.uniform(10, 220),
        T.STOMACH_GAS: -900, T.GAS: -900,
        T.BOWEL_A: kidney + rng.normal(0, 20), T.BOWEL_B: spleen + rng.normal(0, 20),
        T.BOWEL_C: liver + rng.normal(0, 20), T.BOWEL_D: rng.uniform(10, 60), T.TABLE: 40,
    }  # fmt: skip


def _mri_image(rng: np.random.Generator, tissue: Tissues) -> NDArray[np.uint16]:
    """T2-SPIR signal (X, Y, slices): thick slices, a strong smooth bias field and Rician noise."""
    fine = textured(rng, tissue, lookup(_mri_values(rng)), 0.03)
    thick = fine.reshape(*fine.shape[:2], -1, MR_SLICE_SAMPLES).mean(axis=3)
    image = blurred(thick, (0.6, 0.6, 0.3))
    return magnitude(rng, image, bias=0.35, noise=(0.03, 0.05), scale=(500, 1100))


def _mri_values(rng: np.random.Generator) -> dict[Tissue, float]:
    """Signal of each tissue, about 1 for fluid; fat is suppressed."""
    muscle, liver, spleen, kidney = rng.normal((0.24, 0.38, 0.68, 0.72), (0.02, 0.03, 0.04, 0.04))
    return {
        T.AIR: 0.0, T.SKIN: 0.25, T.FAT: 0.14, T.MUSCLE: muscle, T.BONE: 0.22, T.DISC: 0.5, T.CAVITY: 0.13,
        T.LUNG: 0.03, T.HEART: 0.35, T.AORTA: 0.12, T.CAVA: 0.3, T.LIVER: liver, T.LIVER_VESSEL: liver + 0.2,
        T.GALLBLADDER: 1.1, T.SPLEEN: spleen, T.RIGHT_KIDNEY: kidney, T.LEFT_KIDNEY: kidney,
        T.RIGHT_MEDULLA: kidney + 0.1, T.LEFT_MEDULLA: kidney + 0.1, T.SINUS: 0.35, T.STOMACH_WALL: 0.45,
        T.STOMACH: rng.uniform(0.4, 1.0), T.STOMACH_GAS: 0.03, T.GAS: 0.03, T.BOWEL_A: kidney,
        T.BOWEL_B: spleen, T.BOWEL_C: liver, T.BOWEL_D: rng.uniform(0.4, 1.0), T.TABLE: 0.0,
    }  # fmt: skip


def _as_slices(volume: NDArray) -> NDArray:
    """From (left, front, head) to (slice, row to the back, column to the left)."""
    return np.ascontiguousarray(volume.transpose(2, 1, 0)[:, ::-1])
