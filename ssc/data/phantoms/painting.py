"""What phantoms are painted with: shapes in millimetres, one over the other, and smooth random fields.

A body's frame has x to the patient's left, y to the front and z to the head.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

SEED = 20260
AIR = 0
WARP_REACH_MM = 16.0
TISSUES = 256

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
Tissues = NDArray[np.uint8]
Window = tuple[slice, ...]
Shape = tuple[int, int, int]
Triple = tuple[float, float, float]

EVERYWHERE: Window = (slice(None),) * 3


@dataclass(frozen=True)
class Body:
    """A grid in the body's frame: its own axes in mm, warped points (3, X, Y, Z) in mm, tissue (X, Y, Z).

    ``cavity`` is the tissue between organs. ``directions`` holds the grid's axes in the body's frame as
    columns, ``middle`` the body's millimetres at the zero of the axes; by default both frames are one.
    """

    axes: Sequence[Array]
    points: Array
    tissue: Tissues
    cavity: int
    directions: Array = field(default_factory=lambda: np.eye(3, dtype=np.float32))
    middle: Array = field(default_factory=lambda: np.zeros(3, np.float32))

    def seen_from(self, place: Sequence[float], turn: Rotation) -> Body:
        """The same tissue in the frame of a part of the body: its zero lies at place (mm), its axes are turned."""
        matrix = turn.as_matrix().astype(np.float32).T
        points = np.tensordot(matrix, self.points - _column(place), 1)
        return replace(
            self, points=points, directions=matrix @ self.directions, middle=matrix @ (self.middle - np.float32(place))
        )

    def fill(self, window: Window, inside: Mask, tissue: int, over: Iterable[int]) -> None:
        """Paint a tissue where inside holds and one of the tissues in over was."""
        part = self.tissue[window]
        part[inside & lookup(dict.fromkeys(over, 1)).astype(bool)[part]] = tissue

    def layers(
        self,
        half: Sequence[float],
        depths_mm: Sequence[float],
        tissues: Sequence[int],
        middle: Sequence[float] = (0, 0),
    ) -> Array:
        """Paint the whole grid as an elliptic cylinder along z, by depth under its surface; return the depth in mm.

        ``half``: half axes (x, y); ``tissues``: the one outside, then those below each of ``depths_mm``.
        """
        x, y = (self.points[axis] - np.float32(middle[axis]) for axis in (0, 1))
        depth = (1 - np.hypot(x / half[0], y / half[1])) * half[1]
        self.tissue[...] = np.uint8(tissues)[np.searchsorted(np.float32(depths_mm), depth)]
        return depth

    def ellipsoid(
        self,
        tissue: int,
        centre: Sequence[float],
        radii: Sequence[float],
        over: Iterable[int] | None = None,
        *,
        turn: Sequence[float] = (0, 0, 0),
        bend: float = 0.0,
        gap_mm: float = 0.0,
    ) -> None:
        """Paint an ellipsoid over some tissues (the cavity if None), inside a layer of cavity that pushes them aside.

        The layer is gap_mm thick. The ellipsoid is turned by degrees about x, y and z; bend moves its poles (third
        radius) along -x by so many mm.
        """
        over = (self.cavity,) if over is None else over
        matrix = Rotation.from_euler("xyz", turn, degrees=True).as_matrix().astype(np.float32)
        reach = np.sqrt((self.directions.T @ matrix) ** 2 @ np.square(radii)) + gap_mm + abs(bend)
        window = self._window(centre, reach)
        u, v, w = np.tensordot(matrix.T, self.points[(slice(None), *window)] - _column(centre), 1)
        if bend:
            u = u + np.float32(bend / radii[2] ** 2) * w * w
        rho = (u / np.float32(radii[0])) ** 2 + (v / np.float32(radii[1])) ** 2 + (w / np.float32(radii[2])) ** 2
        if gap_mm:
            self.fill(window, rho < (1 + gap_mm / np.mean(radii)) ** 2, self.cavity, over)
            over = (self.cavity,)
        self.fill(window, rho < 1, tissue, over)

    def tube(self, tissue: int, line: NDArray, radius_mm: float | Sequence[float], over: Iterable[int]) -> None:
        """Paint a round tube along a line (n, 3) in mm; its radius is the same everywhere or given at each point."""
        over, radii = tuple(over), np.broadcast_to(np.float32(radius_mm), len(line))
        for (start, first), (end, last) in pairwise(zip(np.float32(line), radii, strict=True)):
            reach = np.abs(self.directions.T) @ (np.abs(end - start) / 2) + max(first, last)
            window = self._window((start + end) / 2, reach)
            offset = self.points[(slice(None), *window)] - _column(start)
            axis = end - start
            along = np.clip(np.tensordot(axis, offset, 1) / (axis @ axis), 0, 1)
            distance = np.square(offset - _column(axis) * along).sum(axis=0)
            self.fill(window, distance < (first + (last - first) * along) ** 2, tissue, over)

    def _window(self, centre: Sequence[float], reach_mm: Sequence[float]) -> Window:
        """The part of the grid that can hold a shape, given its reach along the grid's axes and that of the warp."""
        place = self.directions.T @ (np.asarray(centre) - self.middle)
        ends = zip(self.axes, place, np.add(reach_mm, WARP_REACH_MM), strict=True)
        return tuple(slice(*np.searchsorted(axis, (c - r, c + r))) for axis, c, r in ends)


def _column(vector: Sequence[float]) -> Array:
    return np.float32(vector).reshape(3, 1, 1, 1)


def hounsfield(rng: np.random.Generator, image: Array, noise_hu: tuple[float, float]) -> NDArray[np.int16]:
    """A CT's values: noise that is correlated in the plane (third axis: slices), whole numbers."""
    noise = ndimage.gaussian_filter(rng.standard_normal(image.shape, np.float32), (0.7, 0.7, 0))
    image = image + noise * np.float32(rng.uniform(*noise_hu) / noise.std())
    return np.clip(np.rint(image), -1024, 1500).astype(np.int16)


def magnitude(
    rng: np.random.Generator, signal: Array, bias: float, noise: tuple[float, float], scale: tuple[float, float]
) -> NDArray[np.uint16]:
    """An MRI's values from a signal of about 1: a smooth bias field, Rician noise, 12-bit whole numbers."""
    grid = tuple(np.arange(n, dtype=np.float32) / n for n in signal.shape)
    signal = signal * np.exp(bias * smooth_field(rng, grid, 0.5))
    real, imaginary = rng.standard_normal((2, *signal.shape), np.float32) * np.float32(rng.uniform(*noise))
    image = np.hypot(signal + real, imaginary) * np.float32(rng.uniform(*scale))
    return np.clip(np.rint(image), 0, 4095).astype(np.uint16)


def textured(rng: np.random.Generator, tissue: Tissues, values: Array, depth: float) -> Array:
    """Values by tissue, with a smooth unevenness (standard deviation depth) inside the body."""
    grid = tuple(np.arange(n, dtype=np.float32) for n in tissue.shape)
    return values[tissue] + np.float32(depth) * smooth_field(rng, grid, 12.0) * (tissue > AIR)


def blurred(image: Array, sigma_voxels: Triple) -> Array:
    """The image after the blur of a scanner."""
    return ndimage.gaussian_filter(image, sigma_voxels, truncate=2.5)


def smooth_field(rng: np.random.Generator, axes: Sequence[Array], scale: float) -> Array:
    """A random field of about unit variance with bumps of about scale (in the axes' unit)."""
    bases = []
    for axis in axes:
        knots = np.arange(axis[0] - scale, axis[-1] + 2 * scale, scale, dtype=np.float32)
        basis = np.exp(-0.5 * ((axis[:, None] - knots) / np.float32(0.6 * scale)) ** 2)
        bases.append(basis / np.sqrt((basis**2).sum(axis=1, keepdims=True)))
    field = rng.standard_normal([b.shape[1] for b in bases], np.float32)
    for basis in bases:
        field = np.tensordot(field, basis, axes=(0, 1))
    return field


def lookup(values: dict[int, float]) -> Array:
    """A table from tissue number to value, zero where none is given."""
    table = np.zeros(TISSUES, np.float32)
    table[list(values)] = list(values.values())
    return table
