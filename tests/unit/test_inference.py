"""Sliding windows against a network whose answer at every voxel is known."""

from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from ssc.inference import _unlike, predict_scan, probabilities
from ssc.settings import View


class VoxelByVoxel(torch.nn.Module):
    """Logits ±x of the voxel x itself (in 2D: of the middle slice), so that windows can change nothing."""

    def __init__(self, view):
        super().__init__()
        self.view, self.seen = view, []

    def predict(self, x, modality):
        assert modality == "mri" and x.shape[1:] == (self.view.channels, *self.view.size)
        self.seen.append(x)
        middle = x[:, self.view.channels // 2 : self.view.channels // 2 + 1]
        return torch.cat([middle, -middle], dim=1)


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("size", [(7, 12, 9), (8, 5, 8), (3, 8, 7), (8, 8, 8), (2, 3, 21)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_every_voxel_gets_its_own_probabilities(spatial_dims, size, overlap):
    torch.manual_seed(0)
    image = torch.randn(1, *size)
    crop = (4, 8, 8) if spatial_dims == 3 else (3, 8, 8)
    network = VoxelByVoxel(View(spatial_dims=spatial_dims, crop=crop))
    found = probabilities(network, image, "mri", overlap)
    assert found.shape == (2, *size)
    assert torch.allclose(found, torch.cat([image, -image]).softmax(dim=0), atol=1e-6)
    assert min(float(x.min()) for x in network.seen) == float(image.min())  # padded with the image's own minimum


def test_a_plane_is_seen_between_its_neighbours():
    image = torch.arange(4.0)[None, :, None, None].expand(1, 4, 8, 8)
    network = VoxelByVoxel(View(spatial_dims=2, crop=(3, 8, 8)))
    probabilities(network, image, "mri", 0.5)
    seen = torch.cat(network.seen)[:, :, 0, 0]
    assert seen.tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3]]


@pytest.mark.parametrize(
    ("size", "values", "said"),
    [
        (1.0, (0, 100), []),
        (1.09, (-9, 109), []),
        (1 / 1.09, (0, 100), []),
        (1.12, (0, 100), ["field of view"]),
        (1 / 1.12, (0, 100), ["field of view"]),
        (1.0, (-12, 100), ["intensities"]),
        (1.0, (0, 112), ["intensities"]),
        (1.2, (50, 200), ["intensities", "field of view"]),
    ],
)
def test_a_scan_is_unlike_beyond_a_tenth_of_what_was_trained_on(size, values, said):
    """Two training scans, 200 × 200 × 100 mm and 0 to 100 together."""
    image = sitk.GetImageFromArray(np.resize(np.repeat(values, 500), (20, 20, 20)).astype(np.float32))
    image.SetSpacing([10 * size, 10 * size, 5 * size])
    known = {"a": {"intensity": [0, 60], "extent_mm": [200, 200, 100]}, "b": {"intensity": [20, 100]}}
    known["b"]["extent_mm"] = known["a"]["extent_mm"]
    predictor = SimpleNamespace(preprocessing={"ct": {"orientation": "LPS"}}, trained_on={"ct": known})
    found = _unlike(predictor, image, "ct")
    assert len(found) == len(said) and all(word in line for word, line in zip(said, found, strict=True))


def test_structures_that_are_not_found_have_no_volume_and_are_named(tmp_path):
    image = sitk.GetImageFromArray(np.linspace(-500, 500, 6 * 8 * 8).reshape(6, 8, 8).astype(np.float32))
    image.SetSpacing([10, 10, 20])  # 2 ml a voxel
    sitk.WriteImage(image, str(tmp_path / "scan.nii.gz"))
    found = torch.zeros(4, 6, 8, 8)
    found[0], found[1, 2:4, 2:5, 2:5] = 0.5, 1.0
    predictor = SimpleNamespace(
        structures=("liver", "spleen", "left_kidney"), run="real/small", networks={"ct": None}, kind=lambda _: "ct",
        preprocessing={"ct": {"orientation": "LPS", "box": "body"}},
        trained_on={"ct": {"1": {"intensity": [-500, 500], "extent_mm": [80, 80, 120]}}},
        segment=lambda scan, _: (SimpleNamespace(image=scan.image, notes=()), found),
    )  # fmt: skip
    made = predict_scan(predictor, tmp_path / "scan.nii.gz", tmp_path / "labels.nii.gz", "ct")
    assert made.volumes_ml == {"liver": 36.0, "spleen": 0.0, "left_kidney": 0.0}
    assert made.warnings[-1] == "no voxel of spleen, left_kidney was found"
