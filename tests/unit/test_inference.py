"""Sliding windows against a network whose answer at every voxel is known."""

import pytest
import torch

from ssc.inference import probabilities
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
