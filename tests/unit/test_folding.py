"""Folded networks give the same logits and are plain: a backbone and an image embedding."""

import pytest
import torch

from ssc import matrix
from ssc.errors import RunError
from ssc.models.folding import fold
from ssc.models.network import BACKBONES, Network, initialise, parameter_count

CROP = {"nnformer": (16, 32, 48), "swin_unet": (3, 64, 48)}
DIMS = {"nnformer": 3, "swin_unet": 2}
VARIANTS = [name for name, variant in matrix.variants().items() if not (variant.annotated or variant.tau)]
MODULATED = [name for name in VARIANTS if matrix.variants()[name].modulation]
PLAIN = {"own_encoder": False, "eam": False, "modulation": False, "icr": False}

both_backbones = pytest.mark.parametrize("backbone", list(CROP))


def _made(backbone, flags, modalities, modulation="residual"):
    settings = {
        "crop": CROP[backbone], "width": 8, "heads": (1, 2, 4, 8), "windows": (4, 4, 8, 4), "stochastic_depth": 0.2,
        "eam_heads": 4, "map_scale": "none", "modulation": modulation,
    }  # fmt: skip
    return Network(backbone, DIMS[backbone], 5, modalities, flags, settings)


def _trained(backbone, name, modulation="residual"):
    """A network all of whose parameters, modulation included, are far from their start."""
    variant = matrix.variants()[name]
    modalities = ("ct", "mri") if variant.joint else ("ct",)
    network = initialise(_made(backbone, variant.flags(), modalities, modulation), seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        for embedding in network.class_embeddings.values():
            embedding.weight.copy_(torch.randn(embedding.weight.shape, generator=generator))
    return network.eval()


def _image(backbone):
    generator = torch.Generator().manual_seed(2)
    shape = (2, 1, *CROP[backbone]) if DIMS[backbone] == 3 else (2, *CROP[backbone])
    return torch.randn(shape, generator=generator)


@both_backbones
@pytest.mark.parametrize("name", MODULATED)
@pytest.mark.parametrize("modulation", ["residual", "literal"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_folded_logits_are_those_of_the_modulated_network(backbone, name, modulation, dtype, tolerance):
    network, image = _trained(backbone, name, modulation).to(dtype), _image(backbone).to(dtype)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    logits = {}
    with torch.inference_mode():
        for m in network.modalities:
            logits[m] = network.predict(image, m)
            found = fold(network, m).predict(image, m)
            assert (found - logits[m]).abs().max() <= tolerance * logits[m].abs().max()
    assert (logits["ct"] - logits["mri"]).abs().max() > 0.1 * logits["ct"].abs().max()  # Φ does something
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@both_backbones
@pytest.mark.parametrize("name", [name for name in VARIANTS if name not in MODULATED])
def test_without_modulation_folding_selects(backbone, name):
    network, image = _trained(backbone, name), _image(backbone)
    with torch.inference_mode():
        for m in network.modalities:
            assert torch.equal(fold(network, m).predict(image, m), network.predict(image, m))


@both_backbones
@pytest.mark.parametrize("name", ["baseline", "joint_v1_cr", "ours"])
def test_folded_network_is_a_backbone_and_an_image_embedding(backbone, name):
    network = _trained(backbone, name)
    modality = network.modalities[-1]
    folded, plain = fold(network, modality), _made(backbone, PLAIN, (modality,))
    kind = BACKBONES[backbone](CROP[backbone], 8, (1, 2, 4, 8), (4, 4, 8, 4), classes=5)
    embedding = folded.image_embedding[modality]
    assert list(folded.image_embedding) == [modality]
    counts = [parameter_count(module.parameters()) for module in (folded, kind, embedding)]
    assert counts[0] == counts[1] + counts[2]
    plain.load_state_dict(folded.state_dict())
    with torch.inference_mode():
        found = [network.predict(_image(backbone), modality) for network in (folded, plain)]
    assert torch.equal(*found)


def test_unknown_modality_is_an_error():
    with pytest.raises(RunError, match="modality pet: this network knows ct, mri"):
        fold(_trained("swin_unet", "ours"), "pet")
