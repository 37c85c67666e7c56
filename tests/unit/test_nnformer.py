"""The backbone against the official network, and the rules in which it differs from it on purpose."""

from pathlib import Path

import numpy as np
import pytest
import torch
from golden import golden_weight, official_nnformer_name

from ssc.models.backbones.nnformer import NNFormer
from ssc.models.backbones.windows import (
    Block,
    WindowAttention,
    relative_position_index,
    shift_mask,
    window_partition,
    window_reverse,
)

GOLDEN = Path(__file__).parent.parent / "golden/nnformer.npz"


def test_outputs_equal_the_official_network():
    network = NNFormer(1, (32, 64, 64), 5, 12, (3, 6, 12, 24), (4, 4, 8, 4)).eval()
    state = network.state_dict()
    network.load_state_dict({k: golden_weight(official_nnformer_name(k), tuple(v.shape)) for k, v in state.items()})
    image = np.random.RandomState(0).standard_normal((1, 1, 32, 64, 64)).astype(np.float32)
    with torch.inference_mode():
        finest, middle, coarsest = (x.numpy() for x in network(torch.from_numpy(image)).logits)
    golden = np.load(GOLDEN)
    for ours, name, largest in (
        (finest[..., ::4, ::4, ::4], "output0", "max0"),
        (finest[..., 14:18, 28:36, 28:36], "output0_block", "max0"),
        (middle[..., ::2, ::2, ::2], "output1", "max1"),
        (coarsest, "output2", "max2"),
    ):
        assert np.abs(ours - golden[name]).max() <= 1e-4 * golden[largest]


def test_parameter_count_at_paper_width_is_the_official_one():
    with torch.device("meta"):
        network = NNFormer(1, (64, 128, 128), 5, 192, (6, 12, 24, 48), (4, 4, 8, 4))
    assert sum(p.numel() for p in network.parameters()) == 149_667_111


@pytest.mark.parametrize("crop", [(16, 48, 64), (15, 50, 33), (16, 32, 32)])
def test_any_size_is_padded_not_refused(crop):
    network = NNFormer(1, crop, 3, 8, (1, 2, 4, 8), (4, 4, 8, 4)).eval()
    with torch.inference_mode():
        outputs = network(torch.zeros(1, 1, *crop)).logits
    halves = [tuple(-(-s // 2**i) for s in crop) for i in range(3)]
    assert [tuple(o.shape) for o in outputs] == [(1, 3, *half) for half in halves]


def test_bad_head_count_names_the_numbers():
    with pytest.raises(ValueError, match="width 8 is no multiple of 3 heads"):
        NNFormer(1, (16, 32, 32), 3, 8, (3, 2, 4, 8), (4, 4, 4, 4))


@pytest.mark.parametrize("window", [(3,), (2, 3), (2, 3, 4)])
def test_bias_index_is_one_row_for_each_offset(window):
    """Two pairs of tokens share a row exactly when their offsets are equal."""
    index = relative_position_index(window, window, torch.device("cpu")).numpy()
    places = list(np.ndindex(*window))
    rows = {}
    for i, a in enumerate(places):
        for j, b in enumerate(places):
            rows.setdefault(tuple(np.subtract(a, b)), set()).add(index[i, j])
    assert all(len(found) == 1 for found in rows.values())
    numbers = [row for found in rows.values() for row in found]
    assert len(set(numbers)) == len(numbers) == np.prod([2 * w - 1 for w in window])
    assert min(numbers) >= 0 and max(numbers) < np.prod([2 * w - 1 for w in window])


def test_a_smaller_window_uses_the_same_offsets_of_a_larger_table():
    small = relative_position_index((2, 2), (4, 4), torch.device("cpu"))
    large = relative_position_index((4, 4), (4, 4), torch.device("cpu"))
    places = [0, 1, 4, 5]  # the 2x2 corner of the 4x4 window
    assert torch.equal(small, large[places][:, places])


def test_partition_and_reverse_are_inverse():
    for size, window in (((4, 6), (2, 3)), ((4, 6, 8), (2, 3, 4))):
        x = torch.randn(2, *size, 3 * 4)
        parts = window_partition(x, window, 3, 2)
        for part, channels in zip(parts, x.chunk(3, dim=-1), strict=True):
            assert torch.equal(window_reverse(part, window, size, 2), channels)


def test_a_window_holds_neighbouring_tokens():
    x = torch.arange(16).reshape(1, 4, 4, 1)
    assert window_partition(x, (2, 2), 1, 1)[0, 1, :, 0].tolist() == [2, 3, 6, 7]


def test_shift_mask_separates_tokens_that_were_not_neighbours():
    """Literally: after a roll, two tokens of a window may meet only if no border runs between them."""
    size, window, shift = (6, 8), (3, 4), (1, 2)
    mask = shift_mask(size, window, shift, torch.device("cpu"))
    rows = np.roll(np.arange(6), -1)[:, None].repeat(8, 1)
    columns = np.roll(np.arange(8), -2)[None].repeat(6, 0)
    places = torch.from_numpy(np.stack([rows, columns], -1))[None]
    for w, tokens in enumerate(window_partition(places, window, 1, 1)[0].numpy()):
        for i, a in enumerate(tokens):
            for j, b in enumerate(tokens):
                near = all(abs(a[axis] - b[axis]) < window[axis] for axis in (0, 1))
                assert (mask[w, i, j] == 0) == near


@pytest.mark.parametrize(("size", "window"), [((5, 6), (4, 4)), ((2, 8, 8), (4, 4, 4))])
@pytest.mark.parametrize("shifted", [False, True])
def test_window_attention_equals_a_literal_loop(size, window, shifted):
    """One query at a time, one head at a time, on maps that need padding, clamping and a shift."""
    torch.manual_seed(0)
    layer = WindowAttention(8, 2, window, shifted).double()
    torch.nn.init.normal_(layer.bias_table)
    x = torch.randn(1, *size, 8, dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(layer(x), _literal_attention(layer, x, size, window, shifted), atol=1e-10)


def _literal_attention(layer, x, size, table_window, shifted):
    window = tuple(min(w, s) for w, s in zip(table_window, size, strict=True))
    shift = tuple(w // 2 if shifted and s > w else 0 for w, s in zip(table_window, size, strict=True))
    padded = tuple(-(-s // w) * w for s, w in zip(size, window, strict=True))
    tokens = {place: torch.zeros(8, dtype=torch.float64) for place in np.ndindex(*padded)}
    tokens |= {place: x[(0, *place)] for place in np.ndindex(*size)}
    weight, bias = layer.qkv.weight, layer.qkv.bias
    q, k, v = ({p: (weight @ t + bias)[i * 8 : (i + 1) * 8] for p, t in tokens.items()} for i in range(3))
    out = torch.empty_like(x)
    strides = [int(np.prod([2 * w - 1 for w in table_window[a + 1 :]])) for a in range(len(window))]
    for place in np.ndindex(*size):
        rolled = [(p - s) % n for p, s, n in zip(place, shift, padded, strict=True)]
        start = [r // w * w for r, w in zip(rolled, window, strict=True)]
        others = []  # where the tokens of this token's window lie on the unrolled map
        for inside in np.ndindex(*window):
            other = tuple((b + i + s) % n for b, i, s, n in zip(start, inside, shift, padded, strict=True))
            near = all(abs(a - b) < w for a, b, w in zip(place, other, window, strict=True))
            offset = [r - b - i for r, b, i in zip(rolled, start, inside, strict=True)]
            row = sum((o + w - 1) * s for o, w, s in zip(offset, table_window, strides, strict=True))
            others.append((other, row, 0.0 if near else -100.0))
        heads = []
        for head in range(2):
            part = slice(4 * head, 4 * head + 4)
            logits = [q[place][part] @ k[o][part] / 2 + layer.bias_table[row, head] + m for o, row, m in others]
            shares = torch.stack(logits).softmax(0)
            heads.append(sum(share * v[o][part] for share, (o, _, _) in zip(shares, others, strict=True)))
        out[(0, *place)] = layer.projection(torch.cat(heads))
    return out


def test_scales_multiply_each_residual_branch():
    """Eq. 14-15: Φ1 on the attention, Φ2 on the MLP."""
    torch.manual_seed(0)
    block, x = Block(8, 2, (2, 2), shifted=False), torch.randn(2, 4, 4, 8)
    phi1, phi2 = torch.randn(2, 2, 1, 1, 8)
    middle = x + phi1 * block.attention(block.norm1(x))
    expected = middle + phi2 * block.mlp(block.norm2(middle))
    assert torch.allclose(block(x, (phi1, phi2)), expected, atol=1e-6)
