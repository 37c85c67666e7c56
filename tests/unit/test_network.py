"""All ten variants: every parameter learns, shared parts are equal, inference needs no External Attention."""

import pytest
import torch

from ssc import matrix
from ssc.losses import objective
from ssc.models.network import Network, inference_state, initialise

CROP = {  # the deepest map has 2x2 tokens in the plane, in one window
    "nnformer": (16, 64, 64),
    "swin_unet": (3, 64, 64),
}
NETWORK = {
    "width": 8, "heads": (1, 2, 4, 8), "windows": (4, 4, 8, 4), "stochastic_depth": 0.0,
    "eam_heads": 4, "map_scale": "none", "modulation": "residual",
}  # fmt: skip
LOSSES = {"alpha": 0.4, "beta": 0.1, "gamma": 0.1, "tau": 4.0, "aux_target": "soft"}
VARIANTS = [
    name
    for name, variant in matrix.variants().items()
    if not (variant.annotated or variant.tau or variant.shuffled or variant.unet)
]  # the paper's; few-shot and temperatures have a network of these

both_backbones = pytest.mark.parametrize("backbone", list(CROP))


def _network(backbone, name, flags=None, seed=0, **settings):
    variant = matrix.variants()[name]
    modalities = ("ct", "mri") if variant.joint else ("ct",)
    dims = {"nnformer": 3, "swin_unet": 2}[backbone]
    settings = {"crop": CROP[backbone], **NETWORK, **settings}
    made = Network(backbone, dims, 5, modalities, {**variant.flags(), **(flags or {})}, settings)
    return initialise(made, seed)


def _images(network, backbone, count=1, seed=0):
    """Images (B, 1, D, H, W) in 3D, (B, 3, H, W) in 2D."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, 1, *CROP[backbone]) if network.spatial_dims == 3 else (count, *CROP[backbone])
    return {m: torch.randn(shape, generator=generator) for m in network.modalities}


def _losses(name):
    variant = matrix.variants()[name]
    keys = {
        "alpha": variant.eam,
        "aux_target": variant.eam,
        "beta": variant.mcr,
        "gamma": variant.icr,
        "tau": variant.icr,
    }
    return {key: LOSSES[key] for key, used in keys.items() if used}


def _loss(network, backbone, name):
    images, generator = _images(network, backbone), torch.Generator().manual_seed(1)
    sizes = {m: image.shape[2:] for m, image in images.items()}
    labels = {m: torch.randint(0, 5, (1, 1, *size), generator=generator) for m, size in sizes.items()}
    embeddings = {m: entry.weight for m, entry in network.class_embeddings.items()}
    return objective(network(images), labels, embeddings, _losses(name))[0]


def test_there_are_ten_variants():
    assert len(VARIANTS) == 10


@both_backbones
@pytest.mark.parametrize("name", VARIANTS)
def test_every_parameter_gets_a_gradient_after_one_step(backbone, name):
    network = _network(backbone, name)
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-2)
    for _ in range(2):
        optimiser.zero_grad()
        _loss(network, backbone, name).backward()
        optimiser.step()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name


@both_backbones
@pytest.mark.parametrize("name", VARIANTS)
def test_inference_without_external_attention_equals_the_training_network(backbone, name):
    network = _network(backbone, name)
    with torch.no_grad():  # move modulation and all else away from their start
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    small = _network(backbone, name, flags={"eam": False, "icr": False})
    small.load_state_dict(inference_state(network.state_dict(), matrix.variants()[name].modulation))
    images = _images(network, backbone)
    with torch.inference_mode():
        outputs = network(images)
        for m, image in images.items():
            assert torch.allclose(small.predict(image, m), outputs[m].logits[0], atol=1e-5)
    again = _network(backbone, name)
    again.load_state_dict(network.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), network.parameters(), strict=True))


@both_backbones
@pytest.mark.parametrize("name", VARIANTS)
def test_shared_parts_start_bit_equal(backbone, name):
    """Whatever else a variant has; both encoders of V1 start as the shared encoder of V2."""
    ours, other = _network(backbone, "ours").state_dict(), _network(backbone, name).state_dict()
    shared = set(ours) & set(other)
    assert len(shared) > 50
    assert all(torch.equal(ours[key], other[key]) for key in shared)
    for key, value in other.items():
        if key.startswith(("encoder.ct.", "encoder.mri.")):
            assert torch.equal(value, ours["encoder." + key.split(".", 2)[2]])


@both_backbones
def test_another_seed_starts_elsewhere(backbone):
    first, second = (dict(_network(backbone, "backbone", seed=seed).named_parameters()) for seed in (0, 1))
    drawn = [name for name, value in first.items() if value.ndim > 1 and not name.startswith("image_embedding.")]
    assert len(drawn) > 50
    assert not any(torch.equal(first[name], second[name]) for name in drawn)


@both_backbones
def test_v3_starts_as_v2(backbone):
    networks = [_network(backbone, name) for name in ("joint_v2", "joint_v3")]
    images = _images(networks[0], backbone)
    with torch.inference_mode():
        v2, v3 = (network(images) for network in networks)
    assert all(torch.equal(v2[m].logits[0], v3[m].logits[0]) for m in images)


@both_backbones
def test_modalities_share_a_pass_without_touching_each_other(backbone):
    network = _network(backbone, "ours")
    torch.nn.init.normal_(network.modulation.projection.weight, std=0.1)
    images = _images(network, backbone, count=2)
    with torch.inference_mode():
        together = network(images)
        for m, image in images.items():
            assert torch.allclose(network.predict(image, m), together[m].logits[0], atol=1e-5)


@both_backbones
def test_stochastic_depth_depends_on_seed_step_block_and_modality_alone(backbone):
    network = _network(backbone, "joint_v2", stochastic_depth=0.5)
    first = network.draw_depth({"ct": 2, "mri": 2}, seed=0, step=7)
    assert torch.equal(first["ct"], network.draw_depth({"ct": 2}, seed=0, step=7)["ct"])
    assert not torch.equal(first["ct"], first["mri"])
    assert not torch.equal(first["ct"], network.draw_depth({"ct": 2}, seed=0, step=8)["ct"])
    assert set(first["ct"][7].unique().tolist()) <= {0.0, 2.0}  # the encoder's last block: rate 0.5
    images = _images(network, backbone, count=2)
    assert torch.isfinite(network(images, first)["ct"].logits[0]).all()


@pytest.mark.parametrize("modulation", ["residual", "literal"])
def test_modulation_is_eq_13(modulation):
    network = _network("nnformer", "joint_v3", modulation=modulation)
    torch.nn.init.normal_(network.modulation.projection.weight, std=0.1)
    q = network.class_embeddings["ct"].weight
    omega = sum(network.modulation.aggregate[z] * q[z] for z in range(5))
    phi = network.modulation.projection.weight @ omega + (modulation == "residual")
    first = network.modulation(q[None])[0]
    assert torch.allclose(torch.cat(first, dim=-1)[0], phi[:16])
