"""The 2D backbone against the official network, and what it allows beyond it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from golden import golden_weight, official_swin_unet_name

from ssc.models.backbones.swin_unet import SwinUnet

GOLDEN = Path(__file__).parent.parent / "golden/swin_unet.npz"


def _network(plane=64, width=8, heads=(1, 2, 4, 8), windows=(4, 4, 4, 4), classes=3):
    return SwinUnet(3, (plane, plane), classes, width, heads, windows).eval()


def test_outputs_equal_the_official_network():
    network = _network(128, 12, (3, 6, 12, 24), classes=5)
    state = network.state_dict()
    network.load_state_dict({k: golden_weight(official_swin_unet_name(k), tuple(v.shape)) for k, v in state.items()})
    image = np.random.RandomState(0).standard_normal((2, 3, 128, 128)).astype(np.float32)
    with torch.inference_mode():
        (logits,) = (x.numpy() for x in network(torch.from_numpy(image)).logits)
    golden = np.load(GOLDEN)
    assert np.abs(logits[..., ::4, ::4] - golden["output"]).max() <= 1e-4 * golden["max"]
    assert np.abs(logits[..., 56:72, 56:72] - golden["output_block"]).max() <= 1e-4 * golden["max"]
    assert abs(np.abs(logits).max() - golden["max"]) <= 1e-4 * golden["max"]


@pytest.mark.parametrize(("plane", "window", "count"), [(224, 7, 27_168_516), (256, 8, 27_175_908)])
def test_parameter_count_at_paper_width_is_the_official_one(plane, window, count):
    with torch.device("meta"):
        network = _network(plane, 96, (3, 6, 12, 24), (window,) * 4, classes=5)
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize("size", [(64, 64), (50, 33), (36, 100), (1, 7)])
def test_any_plane_is_padded_not_refused(size):
    network = _network()
    image = torch.randn(2, 3, *size)
    with torch.inference_mode():
        maps, (logits,) = network(image)
    halves = [tuple(-(-s // n) for s in size) for n in (16, 8, 4)]
    assert [tuple(m.shape) for m in maps] == [(2, *h, w) for h, w in zip(halves, (32, 16, 8), strict=True)]
    assert logits.shape == (2, 3, *size) and torch.isfinite(logits).all()


def test_bad_head_count_names_the_numbers():
    with pytest.raises(ValueError, match="width 8 is no multiple of 3 heads"):
        _network(heads=(3, 2, 4, 8))


def test_decoder_reuses_the_rates_of_the_encoder_stage_of_its_resolution():
    network = SwinUnet(3, (64, 64), 3, 8, (1, 2, 4, 8), (4, 4, 4, 4), stochastic_depth=0.2)
    assert network.branch_rates[::2] == network.branch_rates[1::2]  # both branches of a block
    rates = network.branch_rates[::2]
    assert np.allclose(rates[:8], np.linspace(0, 0.2, 8))
    assert rates[8:] == rates[4:6] + rates[2:4] + rates[0:2]


def test_starts_as_documented():
    """Linear layers and convolutions as PyTorch has them, uniform up to 1/√inputs; bias tables normal(0, 0.02)."""
    torch.manual_seed(0)
    network = _network(width=24, heads=(3, 6, 12, 24))
    linear = [m for m in network.modules() if isinstance(m, torch.nn.Linear)]
    assert len(linear) == 14 * 4 + 3 + 3 + 3 + 1  # blocks; merges, expansions, fusions; the last expansion
    for layer in linear:
        assert 0.9 < layer.weight.abs().max() * layer.in_features**0.5 <= 1.0001
    tables = [p for name, p in network.named_parameters() if name.endswith("bias_table")]
    assert abs(torch.cat([t.flatten() for t in tables]).std() / 0.02 - 1) < 0.1
    convolution = network.encoder.patch_embedding.conv
    bound = (3 * 4 * 4) ** -0.5
    assert bound / 2 < convolution.weight.abs().max() <= bound and convolution.bias.any()
