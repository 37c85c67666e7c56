"""The MLP of a Transformer block."""

from torch import nn


class Mlp(nn.Sequential):
    """Two linear layers with a GELU between, ``ratio`` times as wide inside."""

    def __init__(self, width: int, ratio: int = 4):
        super().__init__(nn.Linear(width, ratio * width), nn.GELU(), nn.Linear(ratio * width, width))
