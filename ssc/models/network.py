"""A variant of the paper, assembled from flags: image embeddings, backbone, EAMs, modulation."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ssc.models.eam import ExternalAttentionModules, Semantics
from ssc.models.modulation import Modulation, stochastic_depth
from ssc.models.nnformer import NNFormer
from ssc.models.swin_unet import SwinUnet
from ssc.models.windows import Scales

BACKBONES = {"nnformer": NNFormer, "swin_unet": SwinUnet}


@dataclass
class Output:
    """What the network gives for the images of one modality."""

    logits: list[Tensor]  # (B, Z, *S), fine to coarse (deep supervision)
    semantics: Semantics | None  # of the External Attention Modules


class ImageEmbedding(nn.Module):
    """Two consecutive 1x1 convolutions that keep channels and size (Sec. 2.1); they start as the identity."""

    def __init__(self, channels: int, spatial_dims: int):
        super().__init__()
        convolution = {2: nn.Conv2d, 3: nn.Conv3d}[spatial_dims]
        self.layers = nn.Sequential(*(convolution(channels, channels, 1) for _ in range(2)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for layer in self.layers:
            nn.init.dirac_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image)


class ClassEmbeddings(nn.Module):
    """The learnable class embeddings Q (Z, 4C) of one modality."""

    def __init__(self, classes: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=0.02)


class Network(nn.Module):
    """One network for ``modalities``.

    ``flags``: own_encoder, eam, modulation, icr, as in ``config/matrix.yaml``; ``settings``: the network's
    part of a run's settings. Without ``eam`` it is also the network of inference: a state of the full one
    fits once the modules' entries are left out (``inference_state``).
    """

    def __init__(
        self,
        backbone: str,
        spatial_dims: int,
        classes: int,
        modalities: Sequence[str],
        flags: dict[str, bool],
        settings: dict[str, Any],
    ):
        super().__init__()
        self.modalities, self.spatial_dims = tuple(modalities), spatial_dims
        kind, width = BACKBONES[backbone], settings["width"]
        arguments = {key: settings[key] for key in ("crop", "width", "heads", "windows")}
        self.image_embedding = nn.ModuleDict({m: ImageEmbedding(kind.in_channels, spatial_dims) for m in modalities})
        shared = kind(**arguments, classes=classes)
        self.decoder, self.heads, self.encoder = shared.decoder, shared.heads, shared.encoder
        if flags["own_encoder"]:
            self.encoder = nn.ModuleDict({m: kind(**arguments, classes=classes).encoder for m in modalities})
        self.branch_rates = kind.branch_rates(settings["stochastic_depth"])
        map_widths = kind.map_widths(width)
        self.class_embeddings, self.eam, self.modulation = nn.ModuleDict(), nn.ModuleDict(), None
        if flags["eam"] or flags["modulation"]:
            self.class_embeddings.update({m: ClassEmbeddings(classes, map_widths[0]) for m in modalities})
        if flags["eam"]:
            arguments = (map_widths, settings["eam_heads"], classes, flags["icr"], settings["map_scale"])
            self.eam.update({m: ExternalAttentionModules(*arguments) for m in modalities})
        if flags["modulation"]:
            residual = settings["modulation"] == "residual"
            self.modulation = Modulation(classes, map_widths[0], kind.branch_widths(width), residual)

    def forward(self, images: dict[str, Tensor], drop: dict[str, Tensor] | None = None) -> dict[str, Output]:
        """images: modality -> (B, channels, *S). All modalities pass the shared parts in one batch.

        ``drop``: stochastic depth, modality -> (blocks, 2, B).
        """
        counts = [len(image) for image in images.values()]
        size = next(iter(images.values())).shape[2:]
        maps = self._decoder_maps(images, drop)
        logits = [scale.split(counts) for scale in self.heads(maps, size)]
        maps = [scale.split(counts) for scale in maps]
        outputs = {}
        for i, m in enumerate(images):
            semantics = None
            if self.eam:
                embeddings = self.class_embeddings[m].weight
                with torch.autocast(embeddings.device.type, enabled=False):  # exponents of unscaled maps
                    semantics = self.eam[m](embeddings, [scale[i].to(embeddings.dtype) for scale in maps])
            outputs[m] = Output([scale[i] for scale in logits], semantics)
        return outputs

    def predict(self, image: Tensor, modality: str) -> Tensor:
        """Logits (B, Z, *S) of images of one modality; External Attention Modules take no part."""
        maps = self._decoder_maps({modality: image}, None)
        return self.heads(maps, image.shape[2:], only_finest=True)[0]

    def _decoder_maps(self, images: dict[str, Tensor], drop: dict[str, Tensor] | None) -> list[Tensor]:
        embedded = {m: self.image_embedding[m](image) for m, image in images.items()}
        counts = {m: len(image) for m, image in images.items()}
        scales = self._branch_scales(counts, drop)
        encoder_blocks = len(scales) - 2 * len(self.decoder.stages)
        if isinstance(self.encoder, nn.ModuleDict):
            own = _by_modality(scales[:encoder_blocks], counts)
            skips = [self.encoder[m](image, own[m]) for m, image in embedded.items()]
            skips = [torch.cat(level) for level in zip(*skips, strict=True)]
        else:
            skips = self.encoder(torch.cat(list(embedded.values())), scales[:encoder_blocks])
        return self.decoder(skips, scales[encoder_blocks:])

    def _branch_scales(self, counts: dict[str, int], drop: dict[str, Tensor] | None) -> list[Scales | None]:
        """Factors of every block's two branches, (B, 1, …, 1, C or 1) for all images; None: no factor."""
        scales = [None] * len(self.branch_rates)
        if self.modulation is not None:
            embeddings = [self.class_embeddings[m].weight for m, count in counts.items() for _ in range(count)]
            embeddings = torch.stack(embeddings)
            with torch.autocast(embeddings.device.type, enabled=False):  # bfloat16 cannot tell 1.003 from 1
                scales = [tuple(map(self._spread, pair)) for pair in self.modulation(embeddings)]
        if drop is not None:
            kept = torch.cat([drop[m] for m in counts], dim=-1)[..., None]  # (blocks, 2, B, 1)
            kept = kept.to(next(self.parameters()).device)
            kept = [tuple(map(self._spread, pair)) for pair in kept]
            scales = (
                kept if scales[0] is None else [(a * c, b * d) for (a, b), (c, d) in zip(scales, kept, strict=True)]
            )
        return scales

    def _spread(self, factor: Tensor) -> Tensor:
        """(B, C) -> (B, 1, …, 1, C), over the positions of a channels-last map."""
        return factor.view(len(factor), *(1,) * self.spatial_dims, -1)

    def draw_depth(self, counts: dict[str, int], seed: int, step: int) -> dict[str, Tensor] | None:
        """Stochastic depth of one training step, or None where the rate is 0."""
        if not any(self.branch_rates):
            return None
        return {m: stochastic_depth(self.branch_rates, n, seed, step, m) for m, n in counts.items()}


def _by_modality(scales: Sequence[Scales | None], counts: dict[str, int]) -> dict[str, list[Scales | None]]:
    """The factors of all images, cut into those of each modality's."""
    cut, start = {}, 0
    for m, count in counts.items():
        rows = slice(start, start + count)
        cut[m] = [None if pair is None else (pair[0][rows], pair[1][rows]) for pair in scales]
        start += count
    return cut


def inference_state(state: dict[str, Tensor], modulation: bool) -> dict[str, Tensor]:
    """The part of a network's state that inference needs: no External Attention Modules."""
    dropped = ("eam.",) if modulation else ("eam.", "class_embeddings.")
    return {name: value for name, value in state.items() if not name.startswith(dropped)}


def shared_name(name: str, modalities: Sequence[str]) -> str:
    """The name that a part of a modality's own encoder has where the encoder is shared."""
    return re.sub(rf"^encoder\.({'|'.join(modalities)})(?=\.|$)", "encoder", name)


def initialise(network: Network, seed: int) -> Network:
    """Draw every module's parameters from a generator keyed by (seed, module name).

    So the parts that two variants share start bit-equal, whatever else they have. Both encoders of Joint V1
    are drawn under the name of the shared one. Parents come after their children and may overrule them.
    """
    for name, module in reversed(list(network.named_modules())):
        if hasattr(module, "reset_parameters"):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(zlib.crc32(f"{seed} {shared_name(name, network.modalities)}".encode()))
                module.reset_parameters()
    return network


def parameter_count(parameters: Iterable[Tensor]) -> int:
    """Number of scalars."""
    return sum(parameter.numel() for parameter in parameters)
