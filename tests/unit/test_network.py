"""All ten variants: every parameter learns, shared parts are equal, inference needs no External Attention."""

import pytest
import torch

from ssc import matrix
from ssc.losses import objective
from ssc.models.network import Network, inference_state, initialise

CROP = (16, 64, 64)  # its deepest map has 1x2x2 tokens in one window
NETWORK = {
    "crop": CROP, "width": 8, "heads": (1, 2, 4, 8), "windows": (4, 4, 8, 4), "stochastic_depth": 0.0,
    "eam_heads": 4, "map_scale": "none", "modulation": "residual",
}  # fmt: skip
LOSSES = {"alpha": 0.4, "beta": 0.1, "gamma": 0.1, "tau": 4.0, "aux_target": "soft"}
VARIANTS = list(matrix.variants())


def _network(name, flags=None, **settings):
    variant = matrix.variants()[name]
    modalities = ("ct", "mri") if variant.joint else ("ct",)
    made = Network("nnformer", 3, 5, modalities, {**variant.flags(), **(flags or {})}, {**NETWORK, **settings})
    return initialise(made, seed=0)


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


def _loss(network, name, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = {m: torch.randn(1, 1, *CROP, generator=generator) for m in network.modalities}
    labels = {m: torch.randint(0, 5, (1, 1, *CROP), generator=generator) for m in network.modalities}
    embeddings = {m: entry.weight for m, entry in network.class_embeddings.items()}
    return objective(network(images), labels, embeddings, _losses(name))[0]


def test_there_are_ten_variants():
    assert len(VARIANTS) == 10


@pytest.mark.parametrize("name", VARIANTS)
def test_every_parameter_gets_a_gradient_after_one_step(name):
    network = _network(name)
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-2)
    for _ in range(2):
        optimiser.zero_grad()
        _loss(network, name).backward()
        optimiser.step()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name


@pytest.mark.parametrize("name", VARIANTS)
def test_inference_without_external_attention_equals_the_training_network(name):
    network = _network(name)
    with torch.no_grad():  # move modulation and all else away from their start
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    small = _network(name, flags={"eam": False, "icr": False})
    small.load_state_dict(inference_state(network.state_dict(), matrix.variants()[name].modulation))
    images = {m: torch.randn(1, 1, *CROP) for m in network.modalities}
    with torch.inference_mode():
        outputs = network(images)
        for m, image in images.items():
            assert torch.allclose(small.predict(image, m), outputs[m].logits[0], atol=1e-5)
    again = _network(name)
    again.load_state_dict(network.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), network.parameters(), strict=True))


@pytest.mark.parametrize("name", VARIANTS)
def test_shared_parts_start_bit_equal(name):
    """Whatever else a variant has; both encoders of V1 start as the shared encoder of V2."""
    ours, other = _network("ours").state_dict(), _network(name).state_dict()
    shared = set(ours) & set(other)
    assert len(shared) > 50
    assert all(torch.equal(ours[key], other[key]) for key in shared)
    for key, value in other.items():
        if key.startswith(("encoder.ct.", "encoder.mri.")):
            assert torch.equal(value, ours["encoder." + key.split(".", 2)[2]])


def test_another_seed_starts_elsewhere():
    variant = matrix.variants()["backbone"]
    first, second = (initialise(Network("nnformer", 3, 5, ("ct",), variant.flags(), NETWORK), seed) for seed in (0, 1))
    assert not torch.equal(first.heads.layers[0].weight, second.heads.layers[0].weight)


def test_v3_starts_as_v2():
    images = {m: torch.randn(1, 1, *CROP) for m in ("ct", "mri")}
    with torch.inference_mode():
        v2, v3 = (_network(name)(images) for name in ("joint_v2", "joint_v3"))
    assert all(torch.equal(v2[m].logits[0], v3[m].logits[0]) for m in images)


def test_modalities_share_a_pass_without_touching_each_other():
    network = _network("ours")
    torch.nn.init.normal_(network.modulation.projection.weight, std=0.1)
    images = {m: torch.randn(2, 1, *CROP) for m in ("ct", "mri")}
    with torch.inference_mode():
        together = network(images)
        for m, image in images.items():
            assert torch.allclose(network.predict(image, m), together[m].logits[0], atol=1e-5)


def test_stochastic_depth_depends_on_seed_step_block_and_modality_alone():
    network = _network("joint_v2", stochastic_depth=0.5)
    first = network.draw_depth({"ct": 2, "mri": 2}, seed=0, step=7)
    assert torch.equal(first["ct"], network.draw_depth({"ct": 2}, seed=0, step=7)["ct"])
    assert not torch.equal(first["ct"], first["mri"])
    assert not torch.equal(first["ct"], network.draw_depth({"ct": 2}, seed=0, step=8)["ct"])
    assert set(first["ct"][-1].unique().tolist()) <= {0.0, 2.0}  # the last block: rate 0.5
    images = {m: torch.randn(2, 1, *CROP) for m in ("ct", "mri")}
    assert torch.isfinite(network(images, first)["ct"].logits[0]).all()


@pytest.mark.parametrize("modulation", ["residual", "literal"])
def test_modulation_is_eq_13(modulation):
    network = _network("joint_v3", modulation=modulation)
    torch.nn.init.normal_(network.modulation.projection.weight, std=0.1)
    q = network.class_embeddings["ct"].weight
    omega = sum(network.modulation.aggregate[z] * q[z] for z in range(5))
    phi = network.modulation.projection.weight @ omega + (modulation == "residual")
    first = network.modulation(q[None])[0]
    assert torch.allclose(torch.cat(first, dim=-1)[0], phi[:16])
