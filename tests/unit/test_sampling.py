"""Batches: the same for every variant, rotated about one axis only, never mirrored."""

import numpy as np
import pytest
import torch

from ssc.config import Augmentation
from ssc.data.sampling import Sampler, augmentation, neighbouring_slices, pad_to
from ssc.settings import Sampling, View

CROP = (12, 24, 24)
VIEW = View(spatial_dims=3, crop=CROP)
SETTINGS = Sampling(images=2, translation=0, class_ratios=(0.0, 1.0), **Augmentation().model_dump())


def _cases(n=3, size=(14, 40, 40)):
    generator = np.random.default_rng(0)
    cases = []
    for _ in range(n):
        image = torch.from_numpy(generator.standard_normal((1, *size)).astype(np.float32))
        label = torch.zeros(1, *size, dtype=torch.uint8)
        label[:, 5:9, 15:25, 15:25] = 1
        cases.append((image, label))
    return cases


def _sampler(modalities=("ct", "mri"), seed=0):
    return Sampler({m: _cases() for m in modalities}, SETTINGS, VIEW, 2, seed)


def test_a_single_modality_run_sees_its_half_of_the_joint_run():
    joint, single = _sampler(), _sampler(("mri",))
    for step in (0, 7):
        a, b = joint.batch(step)["mri"], single.batch(step)["mri"]
        assert torch.equal(a["image"], b["image"]) and torch.equal(a["label"], b["label"])


def test_a_step_does_not_depend_on_the_steps_before():
    ahead, fresh = _sampler(), _sampler()
    for step in range(5):
        ahead.batch(step)
    assert torch.equal(ahead.batch(5)["ct"]["image"], fresh.batch(5)["ct"]["image"])


def test_steps_modalities_and_seeds_differ():
    sampler = _sampler()
    first = sampler.batch(0)["ct"]["image"]
    for other in (sampler.batch(1)["ct"], sampler.batch(0)["mri"], _sampler(seed=1).batch(0)["ct"]):
        assert not torch.equal(first, other["image"])


def test_shapes_and_types():
    drawn = _sampler().batch(0)["ct"]
    assert drawn["image"].shape == drawn["label"].shape == (2, 1, *CROP)
    assert drawn["image"].dtype == torch.float32 and drawn["label"].dtype == torch.uint8
    assert set(drawn["label"].unique().tolist()) <= {0, 1}


def _changed(strength=1.0, **values):
    """The settings at a strength of rotation, scaling, intensity and noise, with some values instead."""
    scaled = {n: strength * getattr(SETTINGS, n) for n in ("rotation_deg", "scaling", "intensity", "noise")}
    return SETTINGS.model_copy(update={**scaled, **values})


def _rotated(label_volume, strength=1.0):
    transform = augmentation(_changed(strength, probability=1.0, scaling=0.0), VIEW, 2)
    image = label_volume.float()
    for seed in range(8):
        transform.set_random_state(seed=seed)
        yield transform({"image": image, "label": label_volume})[0]


def test_a_ball_in_millimetres_stays_a_ball():
    """Voxels of 8 x 4 x 4 mm: turning about another axis than the slices' would make it an egg."""
    z, y, x = np.meshgrid(np.arange(12) - 5.5, np.arange(24) - 11.5, np.arange(24) - 11.5, indexing="ij")
    ball = torch.from_numpy(((8 * z) ** 2 + (4 * y) ** 2 + (4 * x) ** 2 < 36**2).astype(np.uint8))[None]
    for sample in _rotated(ball, strength=3.0):
        assert 2 * (sample["label"] * ball).sum() / (sample["label"].sum() + ball.sum()) > 0.93


def test_slices_stay_slices():
    """A label in one slice stays in that slice, whatever the rotation."""
    plate = torch.zeros(1, *CROP, dtype=torch.uint8)
    plate[:, 6, 4:20, 4:20] = 1
    for sample in _rotated(plate, strength=3.0):
        assert sample["label"][0].sum(dim=(1, 2)).nonzero().flatten().tolist() == [6]


def test_left_stays_left():
    """A mark on one side never appears on the other: no mirror, no reflected border."""
    mark = torch.zeros(1, *CROP, dtype=torch.uint8)
    mark[:, :, 9:15, 1:5] = 1
    for sample in _rotated(mark):
        assert sample["label"][..., 12:].sum() == 0


def test_padding_is_the_given_value_on_both_sides():
    padded = pad_to(torch.ones(1, 2, 3, 4), (5, 3, 6), -7.0)
    assert padded.shape == (1, 5, 3, 6)
    assert padded[0, 0, 0, 0] == -7 and padded[0, 1, 0, 1] == 1 and (padded == 1).sum() == 24


@pytest.mark.parametrize("strength", [0.0, 1.6])
def test_any_strength_gives_finite_images(strength):
    sampler = Sampler({"ct": _cases()}, _changed(strength), VIEW, 2, 0)
    assert torch.isfinite(sampler.batch(3)["ct"]["image"]).all()


def test_scaling_changes_every_axis():
    """A cube's voxel count changes by the cube of the factor, its sides alike."""
    cube = torch.zeros(1, *CROP, dtype=torch.uint8)
    cube[:, 3:9, 6:18, 6:18] = 1
    transform = augmentation(_changed(probability=1.0, rotation_deg=0.0, scaling=0.4), VIEW, 2)
    sides = set()
    for seed in range(8):
        transform.set_random_state(seed=seed)
        label = transform({"image": cube.float(), "label": cube})[0]["label"][0]
        sides |= {(axis, int(label.sum(dim=axis).bool().any(dim=0).sum())) for axis in (0, 1)}
    assert all(len({side for a, side in sides if a == axis}) > 1 for axis in (0, 1))


FLAT = View(spatial_dims=2, crop=(3, 24, 24))


def test_in_2d_slices_become_channels_and_the_middle_one_is_labelled():
    """Without random changes: the image's channels are three neighbouring slices, the label the middle one's."""
    image = torch.arange(14.0)[None, :, None, None].expand(1, 14, 40, 40).contiguous()  # a slice's value is its place
    label = torch.zeros(1, 14, 40, 40, dtype=torch.uint8)
    label[:, 5:9, 15:25, 15:25] = 1
    drawn = Sampler({"ct": [(image, label)]}, _changed(probability=0.0), FLAT, 2, 0).batch(0)["ct"]
    assert drawn["image"].shape == (2, 3, 24, 24) and drawn["label"].shape == (2, 1, 24, 24)
    for slices, mask in zip(drawn["image"], drawn["label"], strict=True):
        first, middle, last = (float(s.mean()) for s in slices)
        assert last - middle == middle - first == 1
        assert bool(mask.any()) == (5 <= middle < 9)


def test_in_2d_the_plane_turns():
    """A bar in the plane takes other directions, a disc stays what it is."""
    y, x = np.meshgrid(np.arange(24) - 11.5, np.arange(24) - 11.5, indexing="ij")
    transform = augmentation(_changed(3.0, probability=1.0, scaling=0.0), FLAT, 2)

    def turned(mask, seed):
        label = torch.from_numpy(mask.astype(np.uint8)).expand(1, 3, 24, 24).contiguous()
        transform.set_random_state(seed=seed)
        return transform({"image": label.float(), "label": label})[0]["label"][0].numpy().astype(bool)

    disc, bar = x**2 + y**2 < 64, (abs(x) < 8) & (abs(y) < 2)
    for seed in range(6):
        assert 2 * (turned(disc, seed) & disc).sum() / (turned(disc, seed).sum() + disc.sum()) > 0.93
    assert min((turned(bar, seed) & bar).sum() for seed in range(6)) < 0.8 * bar.sum()


def test_a_crop_that_spans_the_plane_is_shifted_in_the_plane():
    """A dot moves by at most the given voxels along both axes of the plane, and stays in its slice."""
    dot = torch.zeros(1, *CROP, dtype=torch.uint8)
    dot[:, 6, 12, 12] = 1
    only = _changed(probability=1.0, rotation_deg=0.0, scaling=0.0, translation=4)
    transform, places = augmentation(only, VIEW, 2), set()
    for seed in range(12):
        transform.set_random_state(seed=seed)
        places |= {
            tuple(place) for place in transform({"image": dot.float(), "label": dot})[0]["label"][0].nonzero().tolist()
        }
    assert len(places) > 6 and {z for z, _, _ in places} == {6}
    assert all(abs(y - 12) <= 4 and abs(x - 12) <= 4 for _, y, x in places)


def test_a_slice_lies_between_its_neighbours():
    image = torch.arange(4 * 3 * 2.0).view(1, 4, 3, 2)
    expected = [[image[0, min(max(z + k, 0), 3)] for k in (-1, 0, 1)] for z in range(4)]
    assert torch.equal(neighbouring_slices(image, 3), torch.stack([torch.stack(slices) for slices in expected]))
