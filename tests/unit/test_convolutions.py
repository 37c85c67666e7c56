"""Convolutions that are called otherwise for time's sake compute what torch's compute."""

import copy

import pytest
import torch
from torch import nn

from ssc.models.backbones.convolutions import quick


def _layers():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(2, 5, 3, padding=1, bias=False), nn.BatchNorm3d(5), nn.PReLU(), nn.Conv3d(5, 4, 3, stride=2),
        nn.InstanceNorm3d(4), nn.ConvTranspose3d(4, 3, 3, stride=2, output_padding=1),
    )  # fmt: skip


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("images", [1, 2])
def test_outputs_gradients_and_statistics_are_those_of_torch(images, training):
    plain, ours = _layers().train(training), copy.deepcopy(quick(_layers())).train(training)
    assert list(plain.state_dict()) == list(ours.state_dict())
    x = torch.randn(images, 2, 7, 8, 9)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [layers(image) for layers, image in zip((plain, ours), inputs, strict=True)]
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)
    for output in outputs:
        output.square().sum().backward()
    torch.testing.assert_close(*(image.grad for image in inputs), rtol=1e-4, atol=1e-4)
    for (name, value), own in zip(plain.named_parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(own.grad, value.grad, rtol=1e-4, atol=1e-4, msg=name)
    for name, value in plain.named_buffers():
        torch.testing.assert_close(ours.get_buffer(name), value)


def test_one_image_in_training_is_convolved_as_two():
    layers, sizes = quick(_layers()), []
    for training in (True, False):
        layers.train(training)
        with torch.profiler.profile(record_shapes=True) as profile:
            layers(torch.randn(1, 2, 7, 8, 9))
        sizes.append({e.input_shapes[0][0] for e in profile.events() if e.name == "aten::convolution"})
    assert sizes == [{2}, {1}]
