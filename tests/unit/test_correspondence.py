"""What E knows, in closed form."""

import pytest
import torch
from networks import images_of, network_of

from ssc.correspondence import correspondence, own_rows


def test_rows_that_agree_are_found_and_turned_rows_are_not():
    e = 5 * torch.eye(5)[None].repeat(3, 1, 1)
    turned = e.roll(1, dims=1)
    assert own_rows({"ct": [e, e], "mri": [e, turned]}, 1.0).tolist() == [1.0, 0.0]


def test_chance_is_one_class_in_z():
    generator = torch.Generator().manual_seed(0)
    e = {m: [torch.randn(4000, 5, 5, generator=generator)] for m in ("ct", "mri")}
    assert own_rows(e, 4.0).item() == pytest.approx(0.2, abs=0.01)


def test_equal_rows_know_nothing():
    """E collapsed to one row a modality: every row is as near as every other, whatever rounding makes of it."""
    e = torch.randn(1, 1, 5, generator=torch.Generator().manual_seed(0)).expand(1, 5, 5)
    assert own_rows({"ct": [e], "mri": [e]}, 4.0).item() == pytest.approx(0.2)


def test_a_network_is_asked_a_scale_at_a_time():
    network = network_of("nnformer", "ours")
    shares = correspondence(network, [images_of(network), images_of(network, seed=1)], tau=4.0)
    assert len(shares) == 3 and all(0 <= share <= 1 for share in shares)


def test_the_kernels_of_e_learn_from_the_image_consistency_alone():
    """K = Q W of Eq. 6: no other loss reads W, and L_icr is zero wherever E is one constant."""
    from test_network import _losses

    network = network_of("nnformer", "ours")
    with torch.no_grad():
        for embedding in network.class_embeddings.values():
            embedding.weight.mul_(50)
    others, alone = _losses(network, "ours")
    kernels = [p for name, p in network.named_parameters() if name.endswith("filters.weight")]
    assert kernels
    assert all(g is None for g in torch.autograd.grad(others, kernels, allow_unused=True, retain_graph=True))
    assert all(g.abs().max() > 0 for g in torch.autograd.grad(alone, kernels))
