"""Any network as a backbone, by the names of its modules: three give the maps, others are branches to scale."""

from __future__ import annotations

import copy
import difflib
import itertools
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from ssc.errors import SettingsError
from ssc.models.backbones.base import Backbone, Factors, Features
from ssc.models.backbones.convolutions import quick
from ssc.settings import Branch, View

ENDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)  # layers that a factor can be folded into


class Tapped(Backbone):
    """A network whose ``taps`` and ``branches`` are read and scaled by forward hooks, only while they are needed.

    ``layers``: image (B, channels, *S) -> logits (B, Z, *S), or a sequence of them, fine to coarse. Images are padded
    at the far end with their minimum to a multiple of ``multiple_of``; maps and logits are cropped back. Raises
    SettingsError where a name is not there, and where the taps are not three maps, coarse to fine.
    """

    def __init__(
        self, layers: nn.Module, view: View, taps: Sequence[str], branches: Sequence[Branch], multiple_of: int = 1
    ):
        super().__init__()
        self.layers, self.taps, self.branches = quick(layers), tuple(taps), tuple(branches)
        self.multiple_of = multiple_of
        shapes = self._shapes(view)
        size = self._padded(view.size)
        self.map_widths = [shapes[name][1] for name in self._maps(shapes, size)]
        self.branch_widths = [self._width(branch, shapes) for branch in branches]
        self.branch_rates = [0.0] * len(branches)

    def forward(self, image: Tensor, factors: Factors | None = None, only_finest: bool = False) -> Features:
        size = image.shape[2:]
        padded = self._padded(size)
        if padded != tuple(size):
            image = _with_far_end(image, padded)
        found: dict[str, Tensor] = {}
        with ExitStack() as hooks:
            for name in () if only_finest else self.taps:
                hooks.enter_context(_hook(self.layers.get_submodule(name), lambda x, n=name: found.update({n: x})))
            for branch, factor in zip(self.branches, factors or (), strict=factors is not None):
                layer = self.layers.get_submodule(branch.module)
                hooks.enter_context(_hook(layer, lambda x, b=branch, f=factor: _scaled(x, f, b)))
            logits = self.layers(image)
        logits = [logits] if isinstance(logits, Tensor) else list(logits)
        maps = [_cropped(found[name], padded, size).movedim(1, -1) for name in self.taps if name in found]
        return Features(maps, [_cropped(x, padded, size) for x in logits[: 1 if only_finest else None]])

    @torch.no_grad()
    def fold(self, factors: Factors) -> None:
        """Into a branch's last layer where that is linear; else the factor stays, a constant a channel."""
        for branch, factor in zip(self.branches, factors, strict=True):
            place, _, name = branch.module.rpartition(".")
            layer = self.layers.get_submodule(branch.module)
            last = layer
            while isinstance(last, nn.Sequential) and len(last):
                last = last[-1]
            if isinstance(last, ENDS):
                last.weight.mul_(factor[0].view(-1, *(1,) * (last.weight.ndim - 1)))
                if last.bias is not None:
                    last.bias.mul_(factor[0])
            else:
                setattr(self.layers.get_submodule(place), name, Scaled(layer, factor, branch.channels))

    def _padded(self, size: Sequence[int]) -> tuple[int, ...]:
        return tuple(-(-s // self.multiple_of) * self.multiple_of for s in size)

    def _shapes(self, view: View) -> dict[str, tuple[int, ...]]:
        """Output shape of every module, from a pass without numbers (PyTorch's meta device)."""
        shapes: dict[str, tuple[int, ...]] = {}
        layers = copy.deepcopy(self.layers).to("meta").eval()
        for name, module in layers.named_modules():
            module.register_forward_hook(lambda _, __, x, n=name: shapes.update({n: tuple(x.shape)} if _is(x) else {}))
        size = self._padded(view.size)
        try:
            with torch.no_grad():
                layers(torch.empty(1, view.channels, *size, device="meta"))
        except (RuntimeError, ValueError, AssertionError) as error:
            raise SettingsError(f"{type(layers).__name__}: it refuses an image of {size}: {error}") from None
        return shapes

    def _maps(self, shapes: dict[str, tuple[int, ...]], size: Sequence[int]) -> tuple[str, ...]:
        """The taps, once they are three maps of the image's rank, coarse to fine, none finer than the image."""
        for name in self.taps:
            _known(name, "tap", shapes)
        found = [shapes[name] for name in self.taps]
        fit = all(
            len(shape) == len(size) + 2 and all(m <= s for m, s in zip(shape[2:], size, strict=True)) for shape in found
        )
        positions = [shape[2:] for shape in found]
        ordered = all(
            all(a <= b for a, b in zip(coarse, fine, strict=True)) for coarse, fine in itertools.pairwise(positions)
        )
        if found and not (fit and len(found) == 3 and ordered):
            listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items() if len(shape) == len(size) + 2)
            raise SettingsError(
                f"taps {', '.join(f'{name} {shapes[name]}' for name in self.taps)}: expected three maps "
                f"(B, D, {', '.join('…' for _ in size)}), coarse to fine, none finer than the image {tuple(size)}. "
                f"This network has: {listed}"
            )
        return self.taps

    @staticmethod
    def _width(branch: Branch, shapes: dict[str, tuple[int, ...]]) -> int:
        _known(branch.module, "branch", shapes)
        return shapes[branch.module][1 if branch.channels == "first" else -1]


class Scaled(nn.Module):
    """A folded branch that ends in no linear layer: its output times a constant a channel."""

    def __init__(self, layer: nn.Module, factor: Tensor, channels: str):
        super().__init__()
        self.layer, self.channels = layer, channels
        self.register_buffer("factor", factor.clone())

    def forward(self, *inputs: Tensor) -> Tensor:
        return _scaled(self.layer(*inputs), self.factor, Branch(module="", channels=self.channels))


def _hook(module: nn.Module, change: Callable[[Tensor], Tensor | None]):
    """A forward hook as a context."""
    return _Removed(module.register_forward_hook(lambda _, __, x: change(x)))


class _Removed:
    def __init__(self, handle):
        self.handle = handle

    def __enter__(self):
        return self.handle

    def __exit__(self, *_):
        self.handle.remove()


def _scaled(x: Tensor, factor: Tensor, branch: Branch) -> Tensor:
    """A branch's output times its factor (B, C); windows of an image (B·windows, …) share the image's."""
    factor = factor.repeat_interleave(len(x) // len(factor), dim=0)
    ones = (1,) * (x.ndim - 2)
    return x * (factor.view(len(x), -1, *ones) if branch.channels == "first" else factor.view(len(x), *ones, -1))


def _with_far_end(image: Tensor, padded: Sequence[int]) -> Tensor:
    """(B, channels, *S) -> (B, channels, *padded): its minimum beyond the far end."""
    whole = image.detach().min().expand(*image.shape[:2], *padded).clone()
    whole[(..., *(slice(s) for s in image.shape[2:]))] = image
    return whole


def _cropped(x: Tensor, padded: Sequence[int], size: Sequence[int]) -> Tensor:
    """A map (B, D, *s) of a padded image, without what lies beyond the image's far end."""
    kept = (-(-s * m // p) for s, m, p in zip(size, x.shape[2:], padded, strict=True))
    return x[(slice(None), slice(None), *(slice(k) for k in kept))]


def _known(name: str, what: str, shapes: dict[str, tuple[int, ...]]) -> None:
    if name not in shapes:
        near = difflib.get_close_matches(name, shapes, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'? " if near else ""
        listed = ", ".join(f"{known} {shape}" for known, shape in shapes.items() if known)
        raise SettingsError(f"{what} '{name}': no such module, or it gives no tensor; {hint}This network has: {listed}")


def _is(x: object) -> bool:
    return isinstance(x, Tensor)
