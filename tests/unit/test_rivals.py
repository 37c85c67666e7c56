"""Rivals against what their papers and code say: parameters, closed forms, who shares what."""

import pytest
import torch
from monai.networks.nets import UNet
from torch import nn

from ssc import matrix
from ssc.config import Settings
from ssc.models.folding import fold
from ssc.models.network import Network, initialise, parameter_count
from ssc.rivals.fcn import FCN
from ssc.rivals.losses import distillation, segmentation
from ssc.rivals.mulmodseg import MulModSeg
from ssc.rivals.parted_unet import PartedUNet
from ssc.runs import run_settings
from ssc.settings import BackboneSettings, NetworkSettings, View

CLASSES, PAIR = 5, ("ct", "mri")


def _network(build, arguments, dims=3, crop=(8, 16, 16), own_norms=False, classes=CLASSES, modalities=PAIR):
    settings = NetworkSettings(
        view=View(spatial_dims=dims, crop=crop),
        backbone=BackboneSettings(
            build=f"ssc.rivals.{build}", arguments=arguments, multiple_of=8, norm_per_modality=own_norms
        ),
        image_embedding=False,
    )
    return initialise(Network(settings, classes, modalities), seed=0)


def _ummkd(dims, width=2, crop=None, modalities=PAIR):
    kind, crop = {2: ("Slices", crop or (3, 16, 16)), 3: ("Volumes", crop or (8, 16, 16))}[dims]
    arguments = {"channels": "$channels", "classes": "$classes", "width": width}
    return _network(f"ummkd.{kind}", arguments, dims, crop, own_norms=True, modalities=modalities)


@pytest.mark.parametrize(
    ("dims", "width", "expected"),
    [(2, 16, 39_342_840), (2, 4, 2_467_518), (2, 6, 5_543_325), (2, 8, 9_847_164),
     (3, 16, 2_204_565), (3, 8, 552_781), (3, 4, 139_017)],
)  # fmt: skip
def test_ummkd_has_as_many_parameters_as_its_code(dims, width, expected):
    assert parameter_count(_ummkd(dims, width).parameters()) == expected


def test_ummkds_parameters_are_kernels_bias_and_norms():
    for network, kernels, biases, norms in (
        (_ummkd(2, 16), 39_302_456, 0, 20_192),
        (_ummkd(3, 16), 2_198_608, 5, 2_976),
    ):
        own = [p for name, p in network.named_parameters() if ".layers.ct." in name]
        weights = [p for name, p in network.named_parameters() if p.ndim > 1]
        assert parameter_count(own) == norms and parameter_count(weights) == kernels
        assert parameter_count(network.parameters()) == kernels + biases + 2 * norms


@pytest.mark.parametrize(
    ("parted", "wide", "narrow"),
    [("none", 50_958_881, 3_201_089), ("v1", 101_846_257, 6_384_233), ("v2", 50_959_313, 3_201_305),
     ("v3", 51_030_361, 3_219_009), ("v4", 62_983_721, 3_967_721)],
)  # fmt: skip
def test_valindrias_cuts_have_as_many_parameters_as_their_code(parted, wide, narrow):
    for widths, expected in (((16, 64, 128, 256, 512), wide), ((8, 16, 32, 64, 128), narrow)):
        with torch.device("meta"):
            assert parameter_count(FCN(1, CLASSES, widths, PAIR, parted).parameters()) == expected


def test_mulmodsegs_head_has_as_many_parameters_as_its_code():
    head = 2 * 64 + 64 * 8 + 8 + 2 * 512 + (512 * 256 + 256) * 2 + 512 * 153 + 153
    assert head == 342_817  # that of its published widths, 64 to 512
    small = MulModSeg(3, 1, CLASSES, (16, 32, 64, 128), PAIR)
    assert parameter_count(small.parameters()) == 1_448_958


def test_a_norm_per_modality_adds_a_set_of_norms_to_the_control():
    expected = {"unet": 1_189_930, "unet_own_bn": 1_192_254}
    for name, count in expected.items():
        settings = run_settings(Settings(), matrix.Run.from_key(f"real/small/abdomen/draw0/seed0/{name}"))
        assert parameter_count(Network(settings.network, CLASSES, PAIR).parameters()) == count


# Two modalities of one image with four pixels: logits by pixel, and labels.
FIRST = [(2, 0, -1), (1, 1, 0), (0, 3, 1), (-1, 0, 2)], [0, 0, 1, 2]
SECOND = [(1, 0, 0), (0, 2, 1), (0, 1, 3), (2, -1, 1)], [0, 1, 2, 2]


def _pixels(logits, labels):
    """(1, 3, 2, 2) both, in double precision."""
    target = torch.nn.functional.one_hot(torch.tensor(labels), 3)
    return tuple(torch.as_tensor(x).double().T.reshape(1, 3, 2, 2) for x in (torch.tensor(logits), target))


@pytest.mark.parametrize(
    ("first", "second", "as_code", "skip"),
    [([0, 0, 1, 2], [0, 1, 2, 2], 0.0453082, 0.0453082),
     ([0, 0, 1, 2], [0, 1, 1, 0], 0.1382039, 0.1093703),
     ([0, 0, 1, 1], [0, 1, 1, 0], 0.0226256, 0.0339384)],
)  # fmt: skip
def test_the_distillation_gives_the_numbers_computed_by_hand(first, second, as_code, skip):
    (a, truth_a), (b, truth_b) = _pixels(FIRST[0], first), _pixels(SECOND[0], second)
    for absent, expected in (("as_code", as_code), ("skip", skip)):
        found = distillation({"ct": a, "mri": b}, {"ct": truth_a, "mri": truth_b}, absent)
        turned = distillation({"mri": b, "ct": a}, {"mri": truth_b, "ct": truth_a}, absent)
        assert float(found) == pytest.approx(expected, abs=1e-6) and float(turned) == pytest.approx(float(found))


def test_the_distillation_is_zero_for_equals_and_pulls_on_both():
    a, truth = _pixels(*FIRST)
    assert float(distillation({"ct": a, "mri": a.clone()}, {"ct": truth, "mri": truth}, "as_code")) == pytest.approx(0)
    (a, truth_a), (b, truth_b) = _pixels(*FIRST), _pixels(*SECOND)
    a.requires_grad_(), b.requires_grad_()
    distillation({"ct": a, "mri": b}, {"ct": truth_a, "mri": truth_b}, "skip").backward()
    assert a.grad.abs().max() > 1e-3 and b.grad.abs().max() > 1e-3


def test_no_class_in_common_is_no_distillation():
    (a, truth_a), (b, truth_b) = _pixels(FIRST[0], [0, 0, 0, 0]), _pixels(SECOND[0], [1, 1, 2, 2])
    assert float(distillation({"ct": a, "mri": b}, {"ct": truth_a, "mri": truth_b}, "skip")) == 0


def test_ummkds_segmentation_gives_the_numbers_computed_by_hand():
    logits, target = _pixels(*FIRST)
    assert float(segmentation(logits, target)) == pytest.approx(-0.9064823 + 0.1926724, abs=1e-6)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("sides", [8, 24, 64])
def test_the_output_is_as_large_as_the_input(dims, sides):
    network = _ummkd(dims, crop=(3 if dims == 2 else 8, sides, sides)).eval()
    image = torch.randn(1, network.view.channels, *network.view.size)
    assert network.predict(image, "ct").shape == (1, CLASSES, *network.view.size)


@pytest.fixture(params=["ummkd 2D", "ummkd 3D", "fcn_v1", "fcn_v4", "unet_v1", "unet_v3", "unet_v4", "mulmodseg"])
def network(request):
    """A rival at the smallest width."""
    name = request.param
    if name.startswith("ummkd"):
        return _ummkd(int(name[-2]), crop=(3, 32, 32) if "2D" in name else (8, 32, 32))
    row = matrix.backbones()[name]
    return _network(row.build.removeprefix("ssc.rivals."), row.arguments | row.scales["smoke"], crop=(16, 32, 32))


def _images(network, count=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {m: torch.randn(count, network.view.channels, *network.view.size, generator=generator) for m in PAIR}


def test_a_joint_batch_is_as_both_apart(network, monkeypatch):
    """Where all norms are a modality's own, in training mode, too (without dropout, which draws anew)."""
    monkeypatch.setattr("ssc.rivals.ummkd.DROPOUT", 0.0)
    norms = [name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d)]
    network.train(all(name.endswith(tuple(f".layers.{m}" for m in PAIR)) for name in norms))  # the FCN shares some
    images = _images(network)
    with torch.no_grad():
        together = network(images)
        apart = {m: network({m: image})[m] for m, image in images.items()}
    for m in PAIR:
        assert torch.allclose(together[m].logits[0], apart[m].logits[0], atol=1e-4)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_batch_of_one_modality_leaves_the_others_statistics_alone(dims):
    network = _ummkd(dims).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network({"ct": torch.randn(2, network.view.channels, *network.view.size)})
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(".layers.ct.running" in name or ".layers.ct.num" in name for name in changed)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_prediction_uses_its_own_modalitys_norms(dims):
    network = _ummkd(dims).eval()
    image = _images(network)["ct"]
    before = {m: network.predict(image, m) for m in PAIR}
    for name, value in network.state_dict().items():
        if ".layers.mri.running_var" in name:
            value.mul_(4)
    assert torch.equal(network.predict(image, "ct"), before["ct"])
    assert not torch.equal(network.predict(image, "mri"), before["mri"])


def test_every_kernel_learns_from_both_modalities_unless_it_is_ones_own(network):
    network.eval()  # in training a shared batch norm carries one's gradient into the other
    for m in PAIR:
        network.zero_grad()
        images = _images(network)
        loss = sum(scale.square().mean() for scale in network({n: images[n] for n in PAIR})[m].logits)
        loss.backward()
        other = "mri" if m == "ct" else "ct"
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1:
                own = f".layers.{other}." in name
                reached = parameter.grad is not None and bool(parameter.grad.abs().max() > 0)
                assert reached != own, name


def test_a_folded_rival_keeps_one_modalitys_part_and_predicts_the_same(network):
    network.eval()
    image = _images(network)["mri"]
    folded = fold(network, "mri").eval()
    assert torch.equal(folded.predict(image, "mri"), network.predict(image, "mri"))
    assert not any(".layers.ct." in name for name in folded.state_dict())
    empty = Network(folded.settings, CLASSES, ("mri",))
    empty.load_state_dict(folded.state_dict())


def test_the_unet_in_lists_is_monais():
    widths = (8, 16, 32, 64)
    ours = PartedUNet(3, 1, CLASSES, widths)
    theirs = UNet(3, 1, CLASSES, widths, (2, 2, 2), num_res_units=2)
    ordered = [*_leaves(theirs.model)]
    for mine, their in zip(_in_order(ours), ordered, strict=True):
        mine.load_state_dict(their.state_dict())
    image = torch.randn(1, 1, 16, 32, 32)
    assert torch.allclose(ours(image), theirs(image), atol=1e-6)


def _leaves(block):
    """MONAI's levels from the outside in, then out again."""
    down, below, up = block[0], block[1].submodule, block[2]
    yield down
    yield from _leaves(below) if hasattr(below, "__len__") else [below]
    yield up


def _in_order(ours):
    yield from ours.down
    yield ours.deepest
    yield from ours.up


def test_text_codes_share_a_part_by_modality_and_by_class():
    text = MulModSeg(3, 1, CLASSES, (8, 16, 32, 64), PAIR).text  # (M, Z, 512)
    assert text.norm(dim=-1).allclose(torch.ones(2, CLASSES))
    same_modality, same_class, neither = text[0, 1] @ text[0, 2], text[0, 1] @ text[1, 1], text[0, 1] @ text[1, 2]
    assert same_modality > 0.35 and same_class > 0.35 and abs(neither) < 0.15


def test_mulmodsegs_written_layers_are_the_ones_written_out():
    """Image by image and class by class, as plain linear layers."""
    from ssc.rivals.mulmodseg import _applied

    generator = torch.Generator().manual_seed(0)
    written, maps = torch.randn(2, 3, 153, generator=generator), torch.randn(2, 8, 4, 5, generator=generator)
    found = _applied(written, maps)
    for image in range(2):
        for value in range(3):
            numbers, x = written[image, value], maps[image].flatten(1)
            x = torch.relu(numbers[:64].view(8, 8) @ x + numbers[64:72, None])
            x = torch.relu(numbers[72:136].view(8, 8) @ x + numbers[136:144, None])
            x = numbers[144:152][None] @ x + numbers[152]
            assert torch.allclose(found[image, value].flatten(), x[0], atol=1e-4)
