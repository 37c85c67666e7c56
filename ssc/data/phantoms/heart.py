"""Made-up hearts in their chests, written in the layout of MM-WHS (contrast CT and bright-blood MRI).

The four chambers and the great vessels are painted in the heart's own frame, whose third axis runs from the base
to the apex, on a scan's oblique grid. Every case follows from its modality and number alone, so no CT has an MRI
of the same body.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation

from ssc.data.phantoms.painting import (
    EVERYWHERE,
    SEED,
    Body,
    Tissues,
    blurred,
    hounsfield,
    lookup,
    magnitude,
    smooth_field,
    textured,
)

CT_MODALITY, MRI_MODALITY = 3, 4  # 1 and 2 are the abdomens'
TURN_DEGREES, SHIFT_MM = 25, 15  # of a grid against the body, at most
STRAY_VOXELS, STRAY_VALUE = 1002, 1010  # the MRI cases with the archive's two kinds of faulty labels
MIDDLE = np.array([6.0, 4.0, 10.0])  # of chambers and ascending aorta, from the left ventricle's base
TO_RAS = np.diag([-1.0, 1.0, 1.0])

# What fills a voxel; finer than the labels.
Tissue = IntEnum(
    "Tissue",
    "AIR SKIN FAT MUSCLE BONE CANAL MEDIASTINUM LUNG LUNG_VESSEL DIAPHRAGM LIVER LIVER_VESSEL STOMACH OESOPHAGUS "
    "WALL MYOCARDIUM LEFT_VENTRICLE PAPILLARY RIGHT_VENTRICLE LEFT_ATRIUM RIGHT_ATRIUM LUNG_VEIN AORTA ARCH "
    "PULMONARY_ARTERY CAVA",
    start=0,
)
T = Tissue
# What the heart may push aside, then what its vessels may run through.
SOFT = (T.MEDIASTINUM, T.LUNG, T.LUNG_VESSEL, T.DIAPHRAGM, T.LIVER, T.LIVER_VESSEL, T.STOMACH, T.OESOPHAGUS)
RIGHT = (T.WALL, T.RIGHT_VENTRICLE, T.RIGHT_ATRIUM)
LEFT = (T.LEFT_ATRIUM, T.LUNG_VEIN)

LABELS = {
    T.MYOCARDIUM: 205, T.LEFT_ATRIUM: 420, T.LEFT_VENTRICLE: 500, T.PAPILLARY: 500, T.RIGHT_ATRIUM: 550,
    T.RIGHT_VENTRICLE: 600, T.AORTA: 820, T.PULMONARY_ARTERY: 850,
}  # fmt: skip

# The heart's axes in the body's frame as columns: through the septum to the right ventricle, up, base to apex.
POSE = Rotation.from_matrix(np.array([[-0.61, 0.41, 0.68], [0.79, 0.27, 0.55], [0.04, 0.87, -0.49]]))

RIGHT_ATRIUM = (36, -8, -24)

Case = tuple[NDArray[np.integer], NDArray[np.int16], NDArray[np.float64]]


def write_ct(folder: Path, cases: Sequence[str]) -> None:
    """Write CT cases ("1001", ...) as folder/ct_train/ct_train_1001_{image,label}.nii.gz."""
    _write(folder, "ct_train", cases, ct_case)


def write_mri(folder: Path, cases: Sequence[str]) -> None:
    """Write MRI cases ("1001", ...) as folder/mr_train/mr_train_1001_{image,label}.nii.gz."""
    _write(folder, "mr_train", cases, mri_case)


def _write(folder: Path, name: str, cases: Sequence[str], make: Callable[[int], Case]) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    for case in cases:
        image, label, affine = make(int(case))
        nib.save(nib.Nifti1Image(image, affine), folder / name / f"{name}_{case}_image.nii.gz")
        nib.save(nib.Nifti1Image(label, affine), folder / name / f"{name}_{case}_label.nii.gz")


def ct_case(case: int) -> Case:
    """Return one CT: image (X, Y, Z) in HU, label in MM-WHS's values and affine to RAS mm; oblique axial slices."""
    rng = np.random.default_rng([CT_MODALITY, case, SEED])
    grid = _grid(rng, np.eye(3))
    tissue = _tissues(rng, grid)
    image = blurred(textured(rng, tissue, lookup(_ct_values(rng)), 6.0), (0.6, 0.6, 0.4))
    return hounsfield(rng, image, noise_hu=(12, 20)), _labels(tissue), grid.affine


def mri_case(case: int) -> Case:
    """Return one MRI: image (X, Y, Z), label in MM-WHS's values and affine to RAS mm; slices along any body axis."""
    rng = np.random.default_rng([MRI_MODALITY, case, SEED])
    grid = _grid(rng, np.eye(3)[:, rng.permutation(3)] * rng.choice((-1, 1), 3))
    tissue = _tissues(rng, grid)
    signal = blurred(textured(rng, tissue, lookup(_mri_values(rng)), 0.04), (0.6, 0.6, 0.4))
    label = _labels(tissue)
    if case == STRAY_VOXELS:
        label[0, :3, :2] = 205
        label[-1, -2:, -1] = 820
    if case == STRAY_VALUE:
        label.flat[np.flatnonzero(label == 420)[:40]] = 421
    return magnitude(rng, signal, bias=0.15, noise=(0.02, 0.04), scale=(500, 1000)), label, grid.affine


def _labels(tissue: Tissues) -> NDArray[np.int16]:
    return lookup(LABELS).astype(np.int16)[tissue]


# --- anatomy -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Grid:
    """A scan's voxels: axes in mm, zero in their middle; their directions as columns and that middle in the body."""

    axes: list[NDArray[np.float64]]
    directions: NDArray[np.float64]
    middle: NDArray[np.float64]

    @property
    def affine(self) -> NDArray[np.float64]:
        """From voxels to RAS mm."""
        affine = np.eye(4)
        affine[:3, :3] = TO_RAS @ self.directions * [axis[1] - axis[0] for axis in self.axes]
        affine[:3, 3] = TO_RAS @ (self.directions @ [axis[0] for axis in self.axes] + self.middle)
        return affine


def _grid(rng: np.random.Generator, stack: NDArray) -> Grid:
    """A grid whose axes lie near those of ``stack`` (columns) and whose middle lies near the heart's."""
    shape = (*np.repeat(rng.integers(98, 113), 2), rng.integers(74, 87))
    spacing_mm = (*np.repeat(rng.uniform(1.85, 2.1), 2), rng.uniform(2.4, 2.75))
    about = rng.normal(size=3)
    about *= TURN_DEGREES * rng.beta(2, 4) / np.linalg.norm(about)
    directions = Rotation.from_rotvec(about, degrees=True).as_matrix() @ stack
    axes = [(np.arange(n) - (n - 1) / 2) * step for n, step in zip(shape, spacing_mm, strict=True)]
    return Grid(axes, directions, MIDDLE + SHIFT_MM * (2 * rng.beta(6, 6, 3) - 1))


def _tissues(rng: np.random.Generator, grid: Grid) -> Tissues:
    """Paint a whole patient and return its tissues (X, Y, Z)."""
    size = rng.uniform(0.96, 1.1)
    axes = [np.float32(axis / size) for axis in grid.axes]
    directions, middle = np.float32(grid.directions), np.float32(grid.middle / size)
    warp = [3 * smooth_field(rng, axes, 60) + smooth_field(rng, axes, 25) for _ in range(3)]
    points = np.tensordot(directions, np.stack(np.broadcast_arrays(*np.ix_(*axes))), 1)
    points += middle.reshape(3, 1, 1, 1) + warp
    body = Body(axes, points, np.zeros(points.shape[1:], np.uint8), T.MEDIASTINUM, directions, middle)
    _chest(rng, body)
    _heart(rng, body)
    return body.tissue


def _chest(rng: np.random.Generator, body: Body) -> None:
    """Paint the wall with ribs, spine and sternum, then lungs, mediastinum and what lies below the diaphragm."""
    fat, muscle = rng.uniform(4, 18), rng.uniform(9, 13)
    middle, inner = rng.normal((-12, -16), 4), rng.normal((122, 80), 4)
    half = inner + 2.5 + fat + muscle
    levels = (0, 2.5, 2.5 + fat, 2.5 + fat + muscle)
    depth = body.layers(half, levels, (T.AIR, T.SKIN, T.FAT, T.MUSCLE, T.LUNG), middle)
    x, y, z = body.points
    ribs = np.sin((z - 0.4 * np.abs(x) + 0.5 * y) * np.float32(2 * np.pi / 30)) > 0.3
    body.fill(EVERYWHERE, ribs & (np.abs(depth - levels[2] - muscle / 2) < 4), T.BONE, (T.MUSCLE,))
    vessels = np.abs(smooth_field(rng, body.axes, 15)) > 2.1
    body.fill(EVERYWHERE, vessels, T.LUNG_VESSEL, (T.LUNG,))
    _below_diaphragm(rng, body)
    centre, back, front = middle[0], middle[1] - inner[1], middle[1] + inner[1]
    body.ellipsoid(T.MEDIASTINUM, (centre + 4, -12, 75), (40, 50, 70), SOFT)
    body.ellipsoid(T.MEDIASTINUM, (centre + 6, back + 30, 0), (28, 24, 1e4), SOFT)
    body.ellipsoid(T.MEDIASTINUM, (centre, front - 5, 0), (22, 16, 1e4), SOFT)
    body.ellipsoid(T.BONE, (centre, front + 2, 0), (17, 7, 1e4), (T.MEDIASTINUM, T.MUSCLE, T.LUNG, T.LIVER))
    spine = ((T.BONE, 15, 19, 16), (T.BONE, -12, 9, 16), (T.CANAL, -6, 8, 7))  # vertebra, spinous process, canal
    for tissue, y, width, thickness in spine:
        body.ellipsoid(tissue, (centre, back + y, 0), (width, thickness, 1e4), (*SOFT, T.MUSCLE, T.FAT, T.BONE))
    body.ellipsoid(T.OESOPHAGUS, (centre + 6, back + 40, 0), (8, 5, 1e4))


def _below_diaphragm(rng: np.random.Generator, body: Body) -> None:
    """Paint the liver's dome on the right, the stomach's on the left, and the sheet of muscle over both."""
    x, y, z = body.points
    right, left, low = rng.normal((-16, -30, -58), 5)
    dome = np.maximum(right - 32 * ((x + 75) / 55) ** 2, left - 32 * ((x - 66) / 55) ** 2)
    depth = np.maximum(dome, low) - 35 * ((y + 15) / 80) ** 2 - z
    lung = (T.LUNG, T.LUNG_VESSEL)
    body.fill(EVERYWHERE, (depth > 3) & (x < 20), T.LIVER, lung)
    body.fill(EVERYWHERE, depth > 3, T.STOMACH, lung)
    body.fill(EVERYWHERE, depth > 0, T.DIAPHRAGM, lung)
    body.fill(EVERYWHERE, np.abs(smooth_field(rng, body.axes, 30)) < 0.06, T.LIVER_VESSEL, (T.LIVER,))


def _heart(rng: np.random.Generator, body: Body) -> None:
    """Paint the chambers in the heart's frame, whose zero is the middle of the left ventricle's base, then vessels."""
    place = rng.normal(0, 2, 3)
    pose = POSE * Rotation.from_euler("xyz", rng.normal(0, (3, 3, 5)), degrees=True)
    heart = body.seen_from(place, pose)
    cavity, wall, length = rng.uniform((21, 11, 60), (26, 13.5, 72))
    outer = cavity + wall
    heart.ellipsoid(T.MEDIASTINUM, (7, 0, 18), (outer + 22, outer + 16, length + 24), SOFT)
    _right_side(rng, heart, outer)
    centre = (0, 0, 12)
    heart.ellipsoid(T.MYOCARDIUM, centre, (outer, outer, length + 0.9 * wall), (*SOFT, *RIGHT))
    heart.ellipsoid(T.LEFT_VENTRICLE, centre, (cavity, cavity, length), (T.MYOCARDIUM,))
    for side in (-1, 1):
        muscle = np.multiply((side * 0.4, -0.5, 1.7), cavity) + rng.normal(0, 2, 3)
        heart.ellipsoid(T.PAPILLARY, muscle, (4, 4, 13), (T.LEFT_VENTRICLE,))
    heart.fill(EVERYWHERE, heart.points[2] < 0, T.MEDIASTINUM, (T.MYOCARDIUM, T.LEFT_VENTRICLE))
    _left_atrium(rng, heart)

    def in_body(point: Sequence[float]) -> NDArray:
        return place + pose.apply(point)

    _veins(rng, body, in_body)
    _arteries(rng, body, in_body, outer)


def _right_side(rng: np.random.Generator, heart: Body, outer: float) -> None:
    """Paint the right ventricle, which the left one will push into a crescent, and the right atrium."""
    ventricle, radii = rng.normal((0.92 * outer, 0, 28), 2), rng.normal((26, 33, 46), 2)
    atrium, wide = rng.normal(RIGHT_ATRIUM, 2), rng.normal((25, 29, 26), 2)
    heart.ellipsoid(T.WALL, atrium, wide + 2.5, SOFT)
    heart.ellipsoid(T.WALL, ventricle, radii + 4, SOFT)
    heart.ellipsoid(T.RIGHT_ATRIUM, atrium, wide, (T.WALL,))
    heart.ellipsoid(T.RIGHT_VENTRICLE, ventricle, radii, (T.WALL,))


def _left_atrium(rng: np.random.Generator, heart: Body) -> None:
    """Paint the left atrium, which opens into the ventricle's base, and its appendage."""
    radii = rng.normal((23, 28, 25), 1.5)
    atrium = rng.normal((-10, 2, -0.8 * radii[2]), (2, 2, 0.7))
    ear, turn = atrium + rng.normal((-16, 14, 14), 2), rng.normal(0, 20, 3)
    heart.ellipsoid(T.WALL, atrium, radii + 2.5, (*SOFT, *RIGHT))
    heart.ellipsoid(T.WALL, ear, (10, 9, 15), SOFT, turn=turn)
    heart.ellipsoid(T.LEFT_ATRIUM, atrium, radii, (T.WALL,))
    heart.ellipsoid(T.LEFT_ATRIUM, ear, (8, 7, 13), (T.WALL,), turn=turn)


def _veins(rng: np.random.Generator, body: Body, in_body: Callable[[Sequence[float]], NDArray]) -> None:
    """Paint four lung veins, of which the stubs at the left atrium count as its part, and both caval veins."""
    atrium = in_body((-10, 2, -20))
    for side, height in ((1, 16), (1, -8), (-1, 14), (-1, -9)):
        end, radius = rng.normal((side * 62, -30, 1.5 * height), 5), rng.uniform(5, 7)
        line = _curve(atrium, (side * 20, -14, height), end)
        body.tube(T.LUNG_VEIN, line, radius, (*SOFT, T.WALL))
        body.tube(T.LEFT_ATRIUM, line[: len(line) // 2], radius, (T.LUNG_VEIN,))
    atrium = in_body(RIGHT_ATRIUM)
    upper = _curve(atrium + np.array((2, -6, 12)), (3, -2, 33), rng.normal((2, 2, 103), 4))
    lower = _curve(atrium + np.array((0, -6, -14)), (2, -6, -46), rng.normal((6, -14, -126), 4))
    _vessel(body, T.CAVA, upper, rng.uniform(8, 11), SOFT)
    _vessel(body, T.CAVA, lower, rng.uniform(10, 13), SOFT)


def _arteries(
    rng: np.random.Generator, body: Body, in_body: Callable[[Sequence[float]], NDArray], outer: float
) -> None:
    """Paint the pulmonary artery with its fork, then the aorta; only its ascending part is labelled."""
    outflow, fork = in_body((0.9 * outer, 30, 6)), rng.normal((14, -34, 34), 3)
    over, radius = (*SOFT, T.WALL), rng.uniform(11, 14)
    _vessel(body, T.PULMONARY_ARTERY, _curve(outflow, (8, -2, 18), fork), radius, (*over, T.RIGHT_VENTRICLE))
    for side, back in ((-1, -14), (1, -18)):
        branch = _curve(outflow + fork, (side * 26, back, 2), rng.normal((side * 62, back - 8, -4), 4))
        _vessel(body, T.PULMONARY_ARTERY, branch, rng.uniform(8, 10), over)
    up = rng.normal(((-9, 2, 24), (-12, 2, 48), (4, -18, 76)), ((2,), (2,), (3,)))
    down = up[-1] + rng.normal(((14, -34, -12), (16, -52, -45), (12, -58, -110), (8, -61, -230)), 2)
    line, wide = _curve(in_body((10, 7, 2)), *up, *down, count=36), rng.uniform(13.5, 17.5)
    radii = np.interp(np.arange(len(line)), (0, 3, 14, 20, 35), np.multiply(wide, (1.1, 1, 0.9, 0.75, 0.65)))
    _vessel(body, T.ARCH, line, radii, (*over, *LEFT, *RIGHT, T.PULMONARY_ARTERY, T.CAVA))
    top = int(line[:, 2].argmax())
    body.tube(T.AORTA, line[:top], radii[:top], (T.ARCH,))


def _vessel(body: Body, tissue: Tissue, line: NDArray, radius_mm: ArrayLike, over: Sequence[Tissue]) -> None:
    """Paint a tube with a thin wall."""
    body.tube(T.WALL, line, np.add(radius_mm, 1.5), over)
    body.tube(tissue, line, radius_mm, (T.WALL,))


def _curve(start: NDArray, *offsets: ArrayLike, count: int = 10) -> NDArray[np.float64]:
    """Evenly spaced points (count, 3) on a smooth line from start through points given by their offsets from it."""
    knots = np.stack([np.zeros(3), *offsets])
    at = np.concatenate([[0], np.linalg.norm(np.diff(knots, axis=0), axis=1).cumsum()])
    return start + CubicSpline(at, knots)(np.linspace(0, at[-1], count))


# --- look of the modalities ----------------------------------------------------------------------------


def _ct_values(rng: np.random.Generator) -> dict[Tissue, float]:
    """HU of each tissue; the contrast agent may have left the right heart (late scan) or still fill it."""
    left = rng.uniform(280, 420)
    right = left * rng.uniform(0.4, 0.75)
    ventricle, atrium, aorta, artery, pooled = rng.normal((left, 1.06 * left, 0.96 * left, right, right), 12)
    myocardium, muscle, liver, bone = rng.uniform((95, 50, 65, 180), (140, 70, 115, 300))
    return {
        T.AIR: -1000, T.SKIN: 0, T.FAT: -100, T.MUSCLE: muscle, T.BONE: bone, T.CANAL: 30, T.MEDIASTINUM: -90,
        T.LUNG: -830, T.LUNG_VESSEL: 0.6 * right, T.DIAPHRAGM: muscle, T.LIVER: liver, T.LIVER_VESSEL: liver + 30,
        T.STOMACH: rng.uniform(20, 150), T.OESOPHAGUS: 40, T.WALL: 0.8 * myocardium, T.MYOCARDIUM: myocardium,
        T.LEFT_VENTRICLE: ventricle, T.PAPILLARY: myocardium + 30, T.RIGHT_VENTRICLE: pooled,
        T.LEFT_ATRIUM: atrium, T.RIGHT_ATRIUM: pooled + rng.normal(0, 25), T.LUNG_VEIN: atrium, T.AORTA: aorta,
        T.ARCH: aorta, T.PULMONARY_ARTERY: artery, T.CAVA: right * rng.uniform(0.6, 1.2),
    }  # fmt: skip


def _mri_values(rng: np.random.Generator) -> dict[Tissue, float]:
    """Signal of each tissue, about 1 for blood; fat is bright too."""
    ventricle, atrium, aorta, artery, right = rng.normal((1.05, 1.0, 1.0, 0.78, 0.78), 0.04)
    myocardium, muscle, fat, liver = rng.uniform((0.28, 0.2, 0.6, 0.3), (0.36, 0.3, 0.72, 0.5))
    return {
        T.AIR: 0, T.SKIN: 0.3, T.FAT: fat, T.MUSCLE: muscle, T.BONE: 0.4, T.CANAL: 0.9, T.MEDIASTINUM: 0.9 * fat,
        T.LUNG: 0.05, T.LUNG_VESSEL: 0.6, T.DIAPHRAGM: muscle, T.LIVER: liver, T.LIVER_VESSEL: liver + 0.3,
        T.STOMACH: rng.uniform(0.3, 0.9), T.OESOPHAGUS: 0.4, T.WALL: 0.9 * myocardium, T.MYOCARDIUM: myocardium,
        T.LEFT_VENTRICLE: ventricle, T.PAPILLARY: myocardium + 0.1, T.RIGHT_VENTRICLE: right,
        T.LEFT_ATRIUM: atrium, T.RIGHT_ATRIUM: right + rng.normal(0, 0.03), T.LUNG_VEIN: atrium, T.AORTA: aorta,
        T.ARCH: aorta, T.PULMONARY_ARTERY: artery, T.CAVA: rng.uniform(0.7, 0.9),
    }  # fmt: skip
