"""The External Attention Module against a literal one: loops, straight from Eq. 1-8."""

import math
from types import SimpleNamespace

import pytest
import torch

from ssc import learned
from ssc.errors import RunError
from ssc.models.eam import ExternalAttention, ExternalAttentionModules

B, Z, N, D = 2, 3, 2, 8


def _literal(module: ExternalAttention, query: torch.Tensor, features: torch.Tensor):
    """A, E and the next query of one image, one class, one head, one position at a time."""
    heads = [slice(n * D // N, (n + 1) * D // N) for n in range(N)]
    positions = features.reshape(-1, D)
    normed_q = torch.nn.functional.layer_norm(query, (D,), module.norm_query.weight, module.norm_query.bias)
    normed_f = torch.nn.functional.layer_norm(positions, (D,), module.norm_map.weight, module.norm_map.bias)
    q = torch.stack([module.to_query.weight @ x for x in normed_q])
    k = torch.stack([module.to_key.weight @ x for x in normed_f])
    maps = torch.empty(Z, N, len(positions), dtype=query.dtype)
    for z in range(Z):
        for n, part in enumerate(heads):
            for x in range(len(positions)):
                maps[z, n, x] = q[z, part] @ k[x, part]
    following = None
    if module.update is not None:
        update, rows = module.update, []
        v = torch.stack([update.to_value.weight @ x for x in normed_f])
        for z in range(Z):
            attended = []
            for n, part in enumerate(heads):
                share = torch.softmax(maps[z, n] / math.sqrt(D // N), dim=0)
                attended.append(sum(share[x] * v[x, part] for x in range(len(positions))))
            hat = update.projection.weight @ torch.cat(attended) + query[z]
            rows.append(update.reduce(update.mlp(update.norm(hat)) + hat))
        following = torch.stack(rows)
    correlations = None
    if module.filters is not None:
        correlations = torch.empty(Z, Z, dtype=query.dtype)
        for i in range(Z):
            kernel = query[i] @ module.filters.weight[i]  # K^i
            similarity = torch.stack([sum(kernel[n] * maps[j, n] for n in range(N)) for j in range(Z)])  # Eq. 6
            gate = torch.softmax(similarity, dim=0)  # over j
            for j in range(Z):
                correlation_map = torch.stack([gate[j] * maps[j, n] for n in range(N)])  # B^ij, Eq. 7
                correlations[i, j] = correlation_map.sum() / gate[j].sum()  # Eq. 8
    return maps, correlations, following


@pytest.mark.parametrize("size", [(3, 4), (2, 3, 2)])
@pytest.mark.parametrize("last", [False, True])
def test_fast_module_equals_the_literal_one(size, last):
    torch.manual_seed(0)
    following = None if last else D // 2
    module = ExternalAttention(D, following, N, Z, correlations=True, map_scale="none").double()
    query = torch.randn(B, Z, D, dtype=torch.float64)
    features = torch.randn(B, *size, D, dtype=torch.float64)
    logits, correlations, following = module(query, features)
    for image in range(B):
        maps, expected, expected_following = _literal(module, query[image], features[image])
        assert torch.allclose(correlations[image], expected, rtol=0, atol=1e-10)
        weight, bias = module.auxiliary.weight[..., 0], module.auxiliary.bias
        for z in range(Z):
            expected_logits = sum(weight[z, n] * maps[z, n] for n in range(N)) + bias[z]
            assert torch.allclose(logits[image, z].flatten(), expected_logits, rtol=0, atol=1e-10)
        if not last:
            assert torch.allclose(following[image], expected_following, rtol=0, atol=1e-10)
    assert (following is None) == last


def test_correlations_survive_gates_that_underflow():
    """Eq. 8 as printed gives 0/0 when σ is 0 in float32 at every position; the quotient's limit is finite."""
    module = ExternalAttention(D, None, N, Z, correlations=True, map_scale="none")
    torch.nn.init.constant_(module.filters.weight, 300.0)
    correlations = module(torch.randn(1, Z, D) * 20, torch.randn(1, 4, 4, D))[1]
    assert torch.isfinite(correlations).all()


def test_option_sqrt_d_divides_the_maps():
    torch.manual_seed(0)
    plain = ExternalAttention(D, None, N, Z, correlations=False, map_scale="none")
    scaled = ExternalAttention(D, None, N, Z, correlations=False, map_scale="sqrt_d")
    scaled.load_state_dict(plain.state_dict())
    torch.nn.init.zeros_(plain.auxiliary.bias)
    torch.nn.init.zeros_(scaled.auxiliary.bias)
    query, features = torch.randn(1, Z, D), torch.randn(1, 4, 4, D)
    ratio = plain(query, features)[0] / scaled(query, features)[0]
    assert torch.allclose(ratio, torch.full_like(ratio, math.sqrt(D / N)), rtol=1e-4)


def test_what_no_loss_reaches_is_not_built():
    modules = ExternalAttentionModules((32, 16, 8), N, Z, correlations=False, map_scale="none")
    assert [scale.update is not None for scale in modules.scales] == [True, True, False]
    assert all(scale.filters is None for scale in modules.scales)


def test_what_was_learned_needs_a_run_with_modules(monkeypatch, tmp_path):
    settings = SimpleNamespace(network=SimpleNamespace(eam=None))
    monkeypatch.setattr(learned, "read_run", lambda folder: (settings, None, {}))
    with pytest.raises(RunError, match="this variant has no External Attention Modules"):
        learned.write_learned(tmp_path, tmp_path / "learned.npz")


@pytest.mark.parametrize("widths", [(8, 8, 8), (24, 8, 4), (4, 16, 8)])
def test_maps_may_have_any_widths(widths):
    """Equal, not halving, growing: the embeddings change width as the maps do."""
    modules = ExternalAttentionModules(widths, N, Z, correlations=True, map_scale="none")
    maps = [torch.randn(B, 2 * 2**i, 3, width) for i, width in enumerate(widths)]
    found = modules(torch.randn(Z, widths[0]), maps)
    assert [tuple(a.shape) for a in found.auxiliary] == [(B, Z, 2 * 2**i, 3) for i in range(3)]
    assert all(e.shape == (B, Z, Z) for e in found.correlations)
    sum(a.sum() for a in found.auxiliary).backward()
    assert all(scale.update.reduce.weight.grad.abs().max() > 0 for scale in modules.scales[:2])
