"""All variants: every parameter learns, shared parts are equal, inference needs no External Attention."""

import re

import pytest
import torch
from networks import BACKBONES, METHODS, PAPER, images_of, network_of, settings_of, terms_of

from ssc import matrix
from ssc.errors import SettingsError
from ssc.losses import image_consistency, objective
from ssc.models.network import Network, inference_state

both_backbones = pytest.mark.parametrize("backbone", ["nnformer", "swin_unet"])
ALLOWED = [
    (backbone, name)
    for backbone in BACKBONES
    for name in METHODS
    if not (matrix.variants()[name].own_encoder and not matrix.backbones()[backbone].build.startswith("ssc."))
]
# Parameters without a gradient: a bias before a norm that takes every channel's mean away.
BEFORE_A_NORM = {
    "unet": r"\.conv\.bias$",
    "unet_2d": r"\.conv\.bias$",
}


def _losses(network, name):
    """The objective without its image consistency, and that alone: it is small from its start."""
    images, generator = images_of(network), torch.Generator().manual_seed(1)
    labels = {m: torch.randint(0, 5, (1, 1, *network.view.size), generator=generator) for m in images}
    embeddings = {m: entry.weight for m, entry in network.class_embeddings.items()}
    outputs, terms = network(images), terms_of(name)
    yield objective(outputs, labels, embeddings, terms.model_copy(update={"gamma": None}))[0]
    if terms.gamma:
        yield image_consistency({m: output.semantics.correlations for m, output in outputs.items()}, terms.tau)


def test_there_are_ten_variants():
    assert len(PAPER) == 10


def _slow(backbone, name):
    """In every run of the tests the paper's two backbones meet every method, others the least and the most, but for the
    slowest one.
    """
    other = backbone not in ("nnformer", "swin_unet") and name not in ("ours", "joint_plain")
    return [pytest.mark.long] if other or backbone == "swin_unetr" else []


@pytest.mark.parametrize(("backbone", "name"), [pytest.param(b, n, marks=_slow(b, n)) for b, n in ALLOWED])
def test_every_parameter_gets_a_gradient_after_one_step(backbone, name):
    """Above a millionth of the largest of a loss: what lies below is rounding."""
    network = network_of(backbone, name)
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-2)
    with torch.no_grad():  # at their start W of Eq. 13 is zero and Q, which every kernel of Eq. 6 is made of, small
        for embedding in network.class_embeddings.values():
            embedding.weight.mul_(50)
        if network.modulation is not None:
            network.modulation.projection.weight.normal_(std=0.1)
    sum(_losses(network, name)).backward()
    optimiser.step()
    reached = set()
    for loss in _losses(network, name):
        optimiser.zero_grad()
        loss.backward(retain_graph=True)
        norms = {n: p.grad.norm() for n, p in network.named_parameters() if p.grad is not None}
        assert all(torch.isfinite(norm) for norm in norms.values())
        reached |= {n for n, norm in norms.items() if norm > 1e-6 * max(norms.values())}
    dead = {n for n, _ in network.named_parameters()} - reached
    assert not {n for n in dead if not re.search(BEFORE_A_NORM.get(backbone, "(?!)"), n)}


@both_backbones
@pytest.mark.parametrize("name", PAPER)
def test_inference_without_external_attention_equals_the_training_network(backbone, name):
    network = network_of(backbone, name)
    with torch.no_grad():  # move modulation and all else away from their start
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    small = network_of(backbone, name, eam=None)
    small.load_state_dict(inference_state(network.state_dict(), matrix.variants()[name].modulation))
    images = images_of(network)
    with torch.inference_mode():
        outputs = network(images)
        for m, image in images.items():
            assert torch.allclose(small.predict(image, m), outputs[m].logits[0], atol=1e-5)
    again = network_of(backbone, name)
    again.load_state_dict(network.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), network.parameters(), strict=True))


@both_backbones
@pytest.mark.parametrize("name", PAPER)
def test_shared_parts_start_bit_equal(backbone, name):
    """Whatever else a variant has; both encoders of V1 start as the shared encoder of V2."""
    ours, other = network_of(backbone, "ours").state_dict(), network_of(backbone, name).state_dict()
    shared = set(ours) & set(other)
    assert len(shared) > 50
    assert all(torch.equal(ours[key], other[key]) for key in shared)
    for key, value in other.items():
        if key.startswith(("own_encoders.ct.", "own_encoders.mri.")):
            assert torch.equal(value, ours["backbone.encoder." + key.split(".", 2)[2]])


@both_backbones
def test_another_seed_starts_elsewhere(backbone):
    first, second = (dict(network_of(backbone, "backbone", seed=seed).named_parameters()) for seed in (0, 1))
    drawn = [name for name, value in first.items() if value.ndim > 1 and not name.startswith("image_embedding.")]
    assert len(drawn) > 50
    assert not any(torch.equal(first[name], second[name]) for name in drawn)


@both_backbones
def test_v3_starts_as_v2(backbone):
    networks = [network_of(backbone, name) for name in ("joint_v2", "joint_v3")]
    images = images_of(networks[0])
    with torch.inference_mode():
        v2, v3 = (network(images) for network in networks)
    assert all(torch.equal(v2[m].logits[0], v3[m].logits[0]) for m in images)


@both_backbones
def test_modalities_share_a_pass_without_touching_each_other(backbone):
    network = network_of(backbone, "ours")
    torch.nn.init.normal_(network.modulation.projection.weight, std=0.1)
    images = images_of(network, count=2)
    with torch.inference_mode():
        together = network(images)
        for m, image in images.items():
            assert torch.allclose(network.predict(image, m), together[m].logits[0], atol=1e-5)


@both_backbones
def test_stochastic_depth_depends_on_seed_step_block_and_modality_alone(backbone):
    network = network_of(backbone, "joint_v2", arguments={"stochastic_depth": 0.5})
    first = network.draw_depth({"ct": 2, "mri": 2}, seed=0, step=7)
    assert torch.equal(first["ct"], network.draw_depth({"ct": 2}, seed=0, step=7)["ct"])
    assert not torch.equal(first["ct"], first["mri"])
    assert not torch.equal(first["ct"], network.draw_depth({"ct": 2}, seed=0, step=8)["ct"])
    assert set(first["ct"][14:16].unique().tolist()) <= {0.0, 2.0}  # the encoder's last block: rate 0.5
    images = images_of(network, count=2)
    assert torch.isfinite(network(images, first)["ct"].logits[0]).all()


@pytest.mark.parametrize("modulation", ["residual", "literal"])
def test_modulation_is_eq_13(modulation):
    network = network_of("nnformer", "joint_v3", modulation=modulation)
    torch.nn.init.normal_(network.modulation.projection.weight, std=0.1)
    q = network.class_embeddings["ct"].weight
    omega = sum(network.modulation.aggregate[z] * q[z] for z in range(5))
    phi = network.modulation.projection.weight @ omega + (modulation == "residual")
    first = network.modulation(q[None])[:2]  # of the first block, 8 channels each
    assert torch.allclose(torch.cat(first, dim=-1)[0], phi[:16])


@pytest.mark.parametrize(
    ("backbone", "name", "message"),
    [
        ("unet", "joint_v1", "own_encoder needs an encoder apart"),
        ("unet", "joint_v2", "eam needs three maps; name the modules that give them under 'taps'"),
        ("unet", "joint_v3", "modulation needs residual branches; name their modules under 'branches'"),
    ],
)
def test_what_a_backbone_lacks_is_said_in_one_line(backbone, name, message):
    settings = settings_of(backbone, name)
    update = {"taps": ()} if "taps" in message else {"branches": ()} if "branches" in message else {}
    bare = settings.model_copy(update={"backbone": settings.backbone.model_copy(update=update)})
    with pytest.raises(SettingsError, match=message) as caught:
        Network(bare, 5, ("ct", "mri"))
    assert "\n" not in str(caught.value)
