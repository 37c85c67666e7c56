"""Folded networks give the same logits and are plain: a backbone and an image embedding."""

import json

import pytest
import torch
from networks import BACKBONES, METHODS, PAPER, images_of, network_of
from safetensors.torch import save_file

from ssc import matrix
from ssc.errors import RunError
from ssc.exporting import write_exported
from ssc.inference import Card
from ssc.models.backbones.build import build_backbone
from ssc.models.backbones.tapped import Scaled
from ssc.models.folding import fold, unfolded
from ssc.models.network import parameter_count

CROP = {"nnformer": (16, 32, 48), "swin_unet": (3, 64, 48)}
MODULATED = [name for name in PAPER if matrix.variants()[name].modulation]
FOREIGN = [name for name in BACKBONES if not matrix.backbones()[name].build.startswith("ssc.")]

both_backbones = pytest.mark.parametrize("backbone", ["nnformer", "swin_unet"])


def _trained(backbone, name, modulation="residual"):
    """A network all of whose parameters, modulation included, are far from their start."""
    network = network_of(backbone, name, modulation=modulation, crop=CROP.get(backbone))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        for embedding in network.class_embeddings.values():
            embedding.weight.copy_(torch.randn(embedding.weight.shape, generator=generator))
    return network.eval()


def _image(network):
    return next(iter(images_of(network, count=2, seed=2).values()))


@both_backbones
@pytest.mark.parametrize("name", MODULATED)
@pytest.mark.parametrize("modulation", ["residual", "literal"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_folded_logits_are_those_of_the_modulated_network(backbone, name, modulation, dtype, tolerance):
    network = _trained(backbone, name, modulation).to(dtype)
    image = _image(network).to(dtype)
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
@pytest.mark.parametrize("name", [name for name in METHODS if name not in MODULATED])
def test_without_modulation_folding_selects(backbone, name):
    network = _trained(backbone, name)
    image = _image(network)
    with torch.inference_mode():
        for m in network.modalities:
            assert torch.equal(fold(network, m).predict(image, m), network.predict(image, m))


@both_backbones
@pytest.mark.parametrize("name", ["baseline", "joint_v1_cr", "ours"])
def test_folded_network_is_a_backbone_and_an_image_embedding(backbone, name):
    network = _trained(backbone, name)
    modality, image = network.modalities[-1], _image(network)
    folded = fold(network, modality)
    kind = build_backbone(network.settings.backbone, network.view, 5, network.modalities)
    embedding = folded.image_embedding[modality]
    assert list(folded.image_embedding) == [modality]
    counts = [parameter_count(module.parameters()) for module in (folded, kind, embedding)]
    assert counts[0] == counts[1] + counts[2]
    again = unfolded(folded.settings, 5, modality, matrix.variants()[name].modulation).eval()
    again.load_state_dict(folded.state_dict())
    with torch.inference_mode():
        assert torch.equal(folded.predict(image, modality), again.predict(image, modality))


@pytest.mark.parametrize(
    "backbone", [pytest.param(b, marks=[pytest.mark.long] if b == "swin_unetr" else []) for b in FOREIGN]
)
@pytest.mark.parametrize("name", ["joint_plain", "joint_v2", "ours"])
def test_a_foreign_backbone_folds_too(backbone, name):
    """Into a convolution where a branch ends in one, else Φ stays as a constant a channel."""
    network = _trained(backbone, name).double()
    image = _image(network).double()
    modulated = matrix.variants()[name].modulation
    with torch.inference_mode():
        for m in network.modalities:
            logits = network.predict(image, m)
            folded = fold(network, m)
            assert (folded.predict(image, m) - logits).abs().max() <= 1e-10 * logits.abs().max()
            again = unfolded(folded.settings, 5, m, modulated).double().eval()
            again.load_state_dict(folded.state_dict())
            assert torch.equal(again.predict(image, m), folded.predict(image, m))
    kept = sum(isinstance(module, Scaled) for module in folded.modules())
    branches = len(matrix.backbones()[backbone].branches)
    assert kept == (branches if modulated and backbone != "segresnet" else 0)


def test_unknown_modality_is_an_error():
    with pytest.raises(RunError, match="modality pet: this network knows ct, mri"):
        fold(_trained("swin_unet", "ours"), "pet")


@pytest.mark.parametrize(
    "backbone",
    ["nnformer", "unet", *(pytest.param(slow, marks=pytest.mark.long) for slow in ("swin_unet", "swin_unetr"))],
)
def test_an_exported_network_gives_the_same_logits(backbone, tmp_path):
    image, logits = _folded_on_disk(backbone, tmp_path)
    write_exported(tmp_path, "export")
    found = torch.export.load(tmp_path / "ct.pt2").module()(image)
    assert (found - logits).abs().max() <= 1e-6 * logits.abs().max()
    metadata = json.loads((tmp_path / "ct.metadata.json").read_text())["network_data_format"]
    assert metadata["inputs"]["image"]["spatial_shape"] == list(image.shape[2:])
    assert metadata["outputs"]["pred"]["num_channels"] == logits.shape[1]


@pytest.mark.long  # `make test-all` installs the packages
@pytest.mark.parametrize("backbone", ["nnformer", "swin_unet", "unet"])
def test_an_onnx_network_gives_the_same_logits(backbone, tmp_path):
    import onnxruntime

    image, logits = _folded_on_disk(backbone, tmp_path)
    write_exported(tmp_path, "onnx")
    session = onnxruntime.InferenceSession(tmp_path / "ct.onnx")
    found = torch.from_numpy(session.run(["logits"], {"image": image.numpy()})[0])
    assert (found - logits).abs().max() <= 1e-5 * logits.abs().max()


def _folded_on_disk(backbone, folder):
    """A folded network of CT, written as ``ssc fold`` does; an image and its logits."""
    network = fold(_trained(backbone, "ours"), "ct")
    card = Card(
        run="phantom/x",
        commit="c",
        modality="ct",
        weights="ct.safetensors",
        labels={name: value for value, name in enumerate("abcd", start=1)},
        network=network.settings,
        modulated=True,
        preprocessing={"kind": "ct"},
        trained_on={},
    )
    save_file(network.state_dict(), folder / card.weights)
    (folder / "ct.folded.json").write_text(card.model_dump_json())
    image = _image(network)[:1]
    with torch.inference_mode():
        return image, network.predict(image, "ct")
