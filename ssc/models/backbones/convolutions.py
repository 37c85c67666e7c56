"""How 3D convolutions are called in training on a CPU, which decides their time; what they compute stays.

The call is made channels last, since oneDNN's way back is up to four times as fast then. No other layer sees that
layout: torch 2.13's instance norm of one image gives wrong gradients in it. One small image is convolved beside an
empty one: torch does not hand it to oneDNN, and takes longer than for two.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conv3d(nn.Conv3d):
    """As torch's."""

    def forward(self, image: Tensor) -> Tensor:
        if not self.training or image.device.type != "cpu":
            return super().forward(image)
        return _quick(lambda x, weight: self._conv_forward(x, weight, self.bias), image, self.weight)


class ConvTranspose3d(nn.ConvTranspose3d):
    """As torch's."""

    def forward(self, image: Tensor) -> Tensor:
        if not self.training or image.device.type != "cpu":
            return super().forward(image)
        others = self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation
        return _quick(lambda x, weight: F.conv_transpose3d(x, weight, *others), image, self.weight)


OURS = {nn.Conv3d: Conv3d, nn.ConvTranspose3d: ConvTranspose3d}


def quick(layers: nn.Module) -> nn.Module:
    """The same module, its 3D convolutions changed in place."""
    for layer in layers.modules():
        layer.__class__ = OURS.get(type(layer), type(layer))
    return layers


def _quick(convolve: Callable[[Tensor, Tensor], Tensor], image: Tensor, weight: Tensor) -> Tensor:
    if image.requires_grad:
        image.register_hook(Tensor.contiguous)  # its gradient
    count = len(image)
    if count == 1:
        image = torch.cat([image, torch.zeros_like(image)])
    return convolve(image, weight.contiguous(memory_format=torch.channels_last_3d))[:count].contiguous()
