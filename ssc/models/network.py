"""A variant of the paper, assembled from its settings: image embeddings, backbone, EAMs, modulation."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssc.errors import SettingsError
from ssc.models.backbones.base import Backbone, Factors, Features
from ssc.models.backbones.build import build_backbone
from ssc.models.backbones.parted import Parted
from ssc.models.backbones.transformer import Transformer
from ssc.models.eam import ExternalAttentionModules, Semantics
from ssc.models.modulation import Modulation, stochastic_depth
from ssc.settings import NetworkSettings


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

    Without ``settings.eam`` it is also the network of inference: a state of the full one fits once the modules'
    entries are left out (``inference_state``). Raises SettingsError where the backbone lacks what a part needs.
    """

    def __init__(self, settings: NetworkSettings, classes: int, modalities: Sequence[str]):
        super().__init__()
        self.settings, self.view, self.modalities = settings, settings.view, tuple(modalities)
        self.image_embedding = nn.ModuleDict()
        if settings.image_embedding:
            channels, dims = self.view.channels, self.view.spatial_dims
            self.image_embedding.update({m: ImageEmbedding(channels, dims) for m in modalities})
        self.backbone = build_backbone(settings.backbone, self.view, classes, modalities)
        self.parted = [module for module in self.backbone.modules() if isinstance(module, Parted)]
        _check(settings, self.backbone)
        self.own_encoders = nn.ModuleDict()
        if settings.own_encoder:
            kinds = {m: build_backbone(settings.backbone, self.view, classes, modalities) for m in modalities}
            self.own_encoders.update({m: kind.encoder for m, kind in kinds.items()})
            self.backbone.encoder = None
        map_widths = self.backbone.map_widths
        self.class_embeddings, self.eam, self.modulation = nn.ModuleDict(), nn.ModuleDict(), None
        if settings.eam or settings.modulation:
            self.class_embeddings.update({m: ClassEmbeddings(classes, map_widths[0]) for m in modalities})
        if settings.eam:
            chosen = settings.eam
            arguments = (map_widths, chosen.heads, classes, chosen.correlations, chosen.map_scale)
            self.eam.update({m: ExternalAttentionModules(*arguments) for m in modalities})
        if settings.modulation:
            residual = settings.modulation == "residual"
            self.modulation = Modulation(classes, map_widths[0], self.backbone.branch_widths, residual)

    def forward(self, images: dict[str, Tensor], drop: dict[str, Tensor] | None = None) -> dict[str, Output]:
        """images: modality -> (B, channels, *S). All modalities pass the shared parts in one batch.

        ``drop``: stochastic depth, modality -> (branches, B).
        """
        counts = [len(image) for image in images.values()]
        maps, logits = self._features(images, drop)
        logits = [scale.split(counts) for scale in logits]
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
        return self._features({modality: image}, None, only_finest=True).logits[0]

    def _features(
        self, images: dict[str, Tensor], drop: dict[str, Tensor] | None, only_finest: bool = False
    ) -> Features:
        """The backbone's maps and logits of all images, one modality after the other."""
        embedded = {m: self.image_embedding[m](x) if self.image_embedding else x for m, x in images.items()}
        counts = {m: len(image) for m, image in images.items()}
        for module in self.parted:
            module.counts = counts
        factors = self._factors(counts, drop)
        if not self.own_encoders:
            return self.backbone(torch.cat(list(embedded.values())), factors, only_finest)
        own = _by_modality(factors, counts)
        skips = [self.backbone.encode(image, own[m], self.own_encoders[m]) for m, image in embedded.items()]
        skips = [torch.cat(level) for level in zip(*skips, strict=True)]
        size = next(iter(images.values())).shape[2:]
        return self.backbone.decode(skips, size, factors, only_finest)

    def _factors(self, counts: dict[str, int], drop: dict[str, Tensor] | None) -> Factors | None:
        """Factors of every branch, (B, C or 1) for all images; None: no factor."""
        factors = None
        if self.modulation is not None:
            embeddings = [self.class_embeddings[m].weight for m, count in counts.items() for _ in range(count)]
            embeddings = torch.stack(embeddings)
            with torch.autocast(embeddings.device.type, enabled=False):  # bfloat16 cannot tell 1.003 from 1
                factors = self.modulation(embeddings)
        if drop is not None:
            kept = torch.cat([drop[m] for m in counts], dim=-1)[..., None]  # (branches, B, 1)
            kept = kept.to(next(self.parameters()).device)
            factors = list(kept) if factors is None else [a * b for a, b in zip(factors, kept, strict=True)]
        return factors

    def draw_depth(self, counts: dict[str, int], seed: int, step: int) -> dict[str, Tensor] | None:
        """Stochastic depth of one training step, or None where the rate is 0."""
        rates = self.backbone.branch_rates
        if not any(rates):
            return None
        return {m: stochastic_depth(rates, n, seed, step, m) for m, n in counts.items()}


def _check(settings: NetworkSettings, backbone: Backbone) -> None:
    """What the method asks of a backbone, in one line where it is not there."""
    name = settings.backbone.build
    if settings.own_encoder and not isinstance(backbone, Transformer):
        raise SettingsError(f"backbone {name}: own_encoder needs an encoder apart, as nnFormer and Swin-Unet have")
    if settings.eam and len(backbone.map_widths) != 3:
        raise SettingsError(f"backbone {name}: eam needs three maps; name the modules that give them under 'taps'")
    if settings.modulation and not backbone.branch_widths:
        raise SettingsError(f"backbone {name}: modulation needs residual branches; name their modules under 'branches'")


def _by_modality(factors: Factors | None, counts: dict[str, int]) -> dict[str, Factors | None]:
    """The factors of all images, cut into those of each modality's."""
    cut, start = {}, 0
    for m, count in counts.items():
        cut[m] = None if factors is None else [factor[start : start + count] for factor in factors]
        start += count
    return cut


def inference_state(state: dict[str, Tensor], modulation: bool) -> dict[str, Tensor]:
    """The part of a network's state that inference needs: no External Attention Modules."""
    dropped = ("eam.",) if modulation else ("eam.", "class_embeddings.")
    return {name: value for name, value in state.items() if not name.startswith(dropped)}


def shared_name(name: str, modalities: Sequence[str]) -> str:
    """The name that a parameter's start is drawn under: a modality's own encoder has that of the shared one."""
    name = re.sub(rf"^own_encoders\.({'|'.join(modalities)})(?=\.|$)", "backbone.encoder", name)
    return name.removeprefix("backbone.")


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
