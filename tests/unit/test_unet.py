"""The control: a U-Net that is trained and used as any other network of the matrix."""

import pytest
import torch

from ssc import matrix
from ssc.build import build_network
from ssc.errors import RunError
from ssc.inference import write_folded
from ssc.losses import objective
from ssc.models.network import initialise

CROPS = {"abdomen": (1, 16, 32, 32), "abdomen_swin_unet": (3, 32, 32)}


@pytest.mark.parametrize("task", list(CROPS))
def test_the_u_net_trains_on_both_modalities_and_predicts_what_it_trains(task):
    network = build_network(task, ("ct", "mri"), matrix.variants()["unet"].flags(), {"width": 4})
    initialise(network, seed=0)
    images = {m: torch.randn(2, *CROPS[task]) for m in ("ct", "mri")}
    labels = {m: torch.randint(0, 5, (2, 1, *image.shape[2:])) for m, image in images.items()}
    outputs = network(images)
    loss, parts = objective(outputs, labels, {}, {})
    loss.backward()
    assert set(parts) == {"seg_ct", "seg_mri"}
    for name, parameter in network.named_parameters():
        assert torch.isfinite(parameter.grad).all() and parameter.grad.any(), name
    network.eval()
    with torch.inference_mode():
        for m, image in images.items():
            assert network.predict(image, m).shape == (2, 5, *image.shape[2:])
            assert torch.allclose(network.predict(image, m), network(images)[m].logits[0], atol=1e-5)


def test_a_u_net_cannot_be_folded_and_says_so(tmp_path, monkeypatch):
    class Settings:
        flags = matrix.variants()["unet"].flags()

    monkeypatch.setattr("ssc.inference.read_run", lambda folder: (None, Settings, {}, {}))
    with pytest.raises(RunError, match="nothing to fold"):
        write_folded(tmp_path / "run", tmp_path / "out")
