"""Small networks of any variant around any backbone, and images for them."""

from __future__ import annotations

import torch

from ssc import matrix
from ssc.models.network import Network, initialise
from ssc.settings import BackboneSettings, EamSettings, NetworkSettings, Objective, View

CLASSES = 5
CROPS = {  # the deepest map of the Transformers has 2x2 tokens in the plane, in one window
    "nnformer": (16, 64, 64),
    "swin_unet": (3, 64, 64),
    "unet": (16, 16, 24),
    "unet_2d": (3, 32, 24),
    "segresnet": (16, 16, 24),
    "swin_unetr": (40, 24, 24),  # padded to 64, 32, 32: one position at the bottom is too few for a norm
}
ARGUMENTS = {
    "nnformer": {"width": 8, "heads": (1, 2, 4, 8), "windows": (4, 4, 8, 4)},
    "swin_unet": {"width": 8, "heads": (1, 2, 4, 8), "windows": (4, 4, 8, 4)},
    "unet": {"channels": (8, 16, 32, 64)},
    "unet_2d": {"channels": (8, 16, 32, 64)},
    "segresnet": {"init_filters": 8},
    "swin_unetr": {"feature_size": 12},
}
# What the method can stand around: the rivals' networks give no maps.
BACKBONES = [name for name, row in matrix.backbones().items() if row.taps or row.build.startswith("ssc.models.")]
# One network a row: rows that differ in settings alone, or in the backbone, are left out.
METHODS = [
    name for name, v in matrix.variants().items() if v.settings == matrix.Changes() and not (v.backbone or v.external)
]
PAPER = [name for name in METHODS if name != "joint_plain"]


def settings_of(
    backbone: str, name: str, crop=None, modulation="residual", arguments: dict | None = None, **changes
) -> NetworkSettings:
    """The settings of a variant around a backbone. ``arguments``: of the backbone; ``changes``: of the network."""
    row, variant = matrix.backbones()[backbone], matrix.variants()[name]
    eam = EamSettings(heads=4, map_scale="none", correlations=variant.icr) if variant.eam else None
    chosen = {
        "view": View(spatial_dims=row.spatial_dims, crop=crop or CROPS[backbone]),
        "backbone": BackboneSettings(
            build=row.build,
            arguments=row.arguments | ARGUMENTS[backbone] | (arguments or {}),
            taps=row.taps,
            branches=row.branches,
            multiple_of=row.multiple_of,
        ),
        "image_embedding": variant.image_embedding,
        "own_encoder": variant.own_encoder,
        "eam": eam,
        "modulation": modulation if variant.modulation else None,
    }
    return NetworkSettings(**{**chosen, **changes})


def network_of(backbone: str, name: str, seed: int = 0, **changes) -> Network:
    """An initialised network of a variant; of CT alone where the variant is not joint."""
    modalities = ("ct", "mri") if matrix.variants()[name].joint else ("ct",)
    return initialise(Network(settings_of(backbone, name, **changes), CLASSES, modalities), seed)


def images_of(network: Network, count: int = 1, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random images of every modality, (B, channels, *S)."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, network.view.channels, *network.view.size)
    return {m: torch.randn(shape, generator=generator) for m in network.modalities}


def terms_of(name: str) -> Objective:
    """The losses of a variant."""
    v = matrix.variants()[name]
    weights = {"alpha": (0.4, v.eam), "aux_target": ("soft", v.eam), "beta": (0.1, v.mcr), "gamma": (0.1, v.icr)}
    weights["tau"] = (4.0, v.icr)
    return Objective(**{key: value for key, (value, used) in weights.items() if used})
