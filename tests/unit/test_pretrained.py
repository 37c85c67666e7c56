"""ImageNet weights: each tensor bit by bit where it belongs, whatever the layout; nothing is skipped in silence."""

import re
from collections import Counter

import pytest
import torch
from checkpoints import newer_timm, swin_state
from golden import official_nnformer_name, official_swin_unet_name
from networks import settings_of
from safetensors.torch import save_file

from ssc.errors import RunError
from ssc.models.network import Network, initialise, shared_name
from ssc.models.pretrained import load_imagenet
from ssc.settings import EamSettings

HEADS = (1, 2, 4, 8)
LAYOUTS = ["microsoft", "older_timm", "newer_timm", "newer_timm.safetensors"]


def _network(backbone, own_encoder=False, width=8, heads=HEADS, window=7, plane=224):
    arguments = {"width": width, "heads": heads, "windows": (window,) * 4}
    crop = (16 if backbone == "nnformer" else 3, plane, plane)
    eam = EamSettings(heads=2, map_scale="none", correlations=True)
    changes = {"own_encoder": own_encoder, "eam": eam, "modulation": None}
    return Network(settings_of(backbone, "ours", crop=crop, arguments=arguments, **changes), 5, ("ct", "mri"))


def _write(state, layout, folder):
    path = folder / ("swin.safetensors" if layout.endswith("safetensors") else "swin.pth")
    content = newer_timm(state) if layout.startswith("newer") else state
    if path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save({"model": content} if layout == "microsoft" else content, path)
    return path


def _swin_name(name, modalities=("ct", "mri")):
    """By way of the official Swin-Unet, whose own loader reads layers.i for layers_up.(3 - i) too."""
    official = official_swin_unet_name(shared_name(name, modalities))
    return re.sub(r"^layers_up\.(\d)\.blocks", lambda m: f"layers.{3 - int(m[1])}.blocks", official)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("own_encoder", [False, True])
def test_swin_unet_takes_every_tensor_that_it_has_a_place_for(layout, own_encoder, tmp_path):
    network, state = initialise(_network("swin_unet", own_encoder), seed=0), swin_state(8, HEADS)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    report = load_imagenet(network, _write(state, layout, tmp_path))
    rows = {row.parameter: row for row in report.rows}
    assert list(rows) == [name for name, _ in network.named_parameters()]
    for name, value in network.named_parameters():
        expected = state.get(_swin_name(name), before[name])
        assert torch.equal(value, expected), name
        assert (rows[name].status == "loaded") == (_swin_name(name) in state), name
    random = {shared_name(name, ("ct", "mri")) for name, row in rows.items() if row.status == "random"}
    assert not any(name.startswith("encoder.") for name in random)
    assert {name.split(".")[3] for name in random if name.startswith("decoder.")} == {"expand", "fuse"}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_report_names_what_is_left_over(layout, tmp_path):
    state = swin_state(8, HEADS)
    path = _write(state, layout, tmp_path)
    report = load_imagenet(_network("swin_unet"), path)
    sources = {row.source for row in report.rows} - {""}
    stored = newer_timm(state) if layout.startswith("newer") else state
    assert sources | set(report.unused) == set(stored) and not sources & set(report.unused)
    buffers = r".*\.(relative_position_index|attn_mask)"
    assert all(re.fullmatch(rf"{buffers}|head\..*|layers\.2\.blocks\.2\..*", name) for name in report.unused)


def test_all_layouts_give_the_same_logits(tmp_path):
    image, logits = torch.randn(1, 3, 224, 224), []
    for layout in LAYOUTS:
        network = initialise(_network("swin_unet"), seed=0)
        load_imagenet(network, _write(swin_state(8, HEADS), layout, tmp_path))
        with torch.inference_mode():
            logits.append(network.predict(image, "ct"))
    assert all(torch.equal(logits[0], other) for other in logits[1:])


def test_bias_tables_of_another_window_are_interpolated_per_head(tmp_path):
    network, state = _network("swin_unet", window=8, plane=256), swin_state(8, HEADS)
    report = load_imagenet(network, _write(state, "microsoft", tmp_path))
    resized = [row for row in report.rows if row.status == "resized"]
    assert len(resized) == 14 and all(row.parameter.endswith("bias_table") for row in resized)
    for row in resized:
        table, found = state[row.source], network.get_parameter(row.parameter)
        for head in range(table.shape[1]):
            grid = table[:, head].reshape(1, 1, 13, 13)
            expected = torch.nn.functional.interpolate(grid, (15, 15), mode="bicubic")
            assert torch.allclose(found[:, head].reshape(15, 15), expected[0, 0], atol=1e-6)


@pytest.mark.parametrize("own_encoder", [False, True])
def test_nnformer_takes_attention_norms_and_mlps(own_encoder, tmp_path):
    network, state = initialise(_network("nnformer", own_encoder, plane=64), seed=0), swin_state(8, HEADS)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    report = load_imagenet(network, _write(state, "microsoft", tmp_path))
    status = {row.parameter: row.status for row in report.rows}
    for name, value in network.named_parameters():
        official = official_nnformer_name(shared_name(name, network.modalities))
        found = re.fullmatch(r"(?:model_down|decoder)\.(layers\.\d\.blocks\.\d\..*)", official)
        if found is None or name.endswith("bias_table"):
            expected, wanted = before[name], "random"
        elif ".attn.kv." in official:
            expected, wanted = state[found[1].replace(".kv.", ".qkv.")].chunk(3), "loaded"
            expected = torch.cat(expected[1:])
        else:
            expected, wanted = state[found[1]], "loaded"
        assert torch.equal(value, expected) and status[name] == wanted, name
    left = r"(head|norm|patch_embed|layers\.2\.blocks\.2)\..*|.*\.(downsample\.|relative_position_|attn_mask).*"
    assert set(report.unused) == {name for name in state if re.fullmatch(left, name)}


def test_swin_large_fits_nnformer_at_paper_width(tmp_path):
    heads = (6, 12, 24, 48)
    with torch.device("meta"):
        network = _network("nnformer", width=192, heads=heads, plane=64)
    path = _write(swin_state(192, heads, empty=True), "older_timm", tmp_path)
    report = load_imagenet(network, path)
    loaded = [row.parameter for row in report.rows if row.status == "loaded"]
    assert Counter(name.split(".")[1] for name in loaded) == {"encoder": 8 * 12, "decoder": 6 * 12}
    share = sum(network.get_parameter(name).numel() for name in loaded) / 149.7e6
    assert 0.5 < share < 1


@pytest.mark.parametrize(
    ("backbone", "state", "message"),
    [
        ("swin_unet", swin_state(12, HEADS), r"has shape \(\d+.*\), expected \(\d+"),
        ("nnformer", swin_state(12, HEADS), r"has shape \(\d+.*\), expected \(\d+"),
        ("swin_unet", swin_state(8, (2, 2, 4, 8)), r"has shape \(169, 2\), expected \(169, 1\)"),
        ("nnformer", swin_state(8, (2, 2, 4, 8)), r"has shape \(169, 2\), expected \(169, 1\)"),
        ("swin_unet", {"features.0.0.weight": torch.zeros(8, 3, 4, 4)}, r"found features\.0\.0\.weight \(8, 3, 4, 4\)"),
        ("swin_unet", {}, "found no tensors"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_an_error_and_changes_nothing(backbone, state, message, tmp_path):
    network = initialise(_network(backbone, plane=64), seed=0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    path = _write(state, "microsoft", tmp_path)
    with pytest.raises(RunError, match=message) as error:
        load_imagenet(network, path)
    assert str(path) in str(error.value) and "init=random" in str(error.value)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("missing", ["norm.weight", "layers.1.downsample.norm.bias", "layers.3.blocks.1.mlp.fc1.bias"])
def test_a_missing_entry_is_an_error(missing, tmp_path):
    state = swin_state(8, HEADS)
    del state[missing]
    with pytest.raises(RunError, match=re.escape(missing)):
        load_imagenet(_network("swin_unet", plane=64), _write(state, "microsoft", tmp_path))


@pytest.mark.parametrize("name", ["absent.pth", "text.pth", "text.safetensors"])
def test_a_file_that_is_no_checkpoint_is_an_error(name, tmp_path):
    if name.startswith("text"):
        (tmp_path / name).write_text("not a checkpoint\n")
    with pytest.raises(RunError, match=rf"{name}: cannot be read as a checkpoint.*init=random"):
        load_imagenet(_network("swin_unet", plane=64), tmp_path / name)
