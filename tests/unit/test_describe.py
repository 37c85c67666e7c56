"""Table 3 comes from built networks: its numbers are the official networks' own."""

import pytest

from ssc.config import Settings
from ssc.describe import describe


@pytest.fixture(scope="module")
def numbers():
    rows = describe(Settings(), "real", "paper")
    return {(row["task"], row["row"]): row["ours"] for row in rows}


def test_swin_unet_has_the_official_parameters_and_its_image_embedding(numbers):
    assert numbers["heart", "parameters of the backbone"] == 27_175_908 + 2 * (3 * 3 + 3)


def test_nnformer_has_the_official_parameters_less_the_biases_beyond_a_thin_volume(numbers):
    """A crop of 32 slices has 4 and 2 at the last stages: their windows of 8 and 4 and bias tables are cut there."""
    biases = 4 * 24 * (15**3 - 7 * 15**2) + 2 * 48 * (7**3 - 3 * 7**2)  # blocks × heads × rows
    assert numbers["abdomen", "parameters of the backbone"] == 149_667_111 - biases + 2 * (1 + 1)


def test_operations_are_the_official_networks(numbers):
    """Swin-Unet of width 96, window 8, 256²: 64.3 GFLOP for four images."""
    assert numbers["heart", "GFLOP a window (2 × multiply-add)"] == pytest.approx(64.3 / 4, rel=0.005)


def test_every_printed_row_holds_for_what_is_built():
    """Table 3 as far as the paper prints it; nnFormer's fourth decoder stage exists in no code."""
    for row in describe(Settings(), "real", "paper"):
        if row["printed"] and row["row"] != "decoder blocks":
            ours = row["ours"]
            assert sorted(ours.split(" × ")) == sorted(row["printed"].split(" × ")), row


def test_widths_heads_and_windows_of_the_paper_scale(numbers):
    assert numbers["abdomen", "encoder widths"] == "192, 384, 768, 1536"
    assert numbers["abdomen", "encoder heads"] == "6, 12, 24, 48"
    assert numbers["abdomen", "encoder windows"].split(", ")[2] == "4 × 8 × 8"
    assert numbers["heart", "encoder windows"] == "8 × 8, 8 × 8, 8 × 8, 8 × 8"
    assert numbers["heart", "decoder widths"] == "384, 192, 96"
