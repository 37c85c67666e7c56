"""Eq. 9-12 against literal sums, and the cases in which a loss must not fail."""

import math

import pytest
import torch
from monai.losses import DiceCELoss

from ssc.losses import auxiliary, image_consistency, modality_consistency, objective, segmentation
from ssc.models.eam import Semantics
from ssc.models.network import Output
from ssc.settings import Objective

B, Z = 2, 4


def _kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p.tolist(), q.tolist(), strict=True))


def test_modality_consistency_is_the_literal_sum_of_eq_10():
    torch.manual_seed(0)
    a, b = torch.randn(2, Z, 8, dtype=torch.float64)
    expected = sum(1 - (a[i] @ b[i]) / (a[i].norm() * b[i].norm()) for i in range(Z))
    assert abs(modality_consistency({"ct": a, "mri": b}) - expected) < 1e-10


def test_modality_consistency_runs_over_all_pairs():
    q = {name: torch.eye(Z)[i].expand(Z, Z) for i, name in enumerate("abc")}
    assert modality_consistency(q) == 3 * Z  # three pairs of orthogonal embeddings


def test_image_consistency_is_the_literal_sum_of_eq_11():
    torch.manual_seed(0)
    tau = 4.0
    ct, mri = ([torch.randn(B, Z, Z, dtype=torch.float64) * 5 for _ in range(3)] for _ in range(2))
    expected = 0.0
    for a, b in zip(ct, mri, strict=True):
        for image in range(B):
            for i in range(Z):
                p, q = torch.softmax(a[image, i] / tau, 0), torch.softmax(b[image, i] / tau, 0)
                expected += (_kl(p, q) + _kl(q, p)) / B
    assert abs(image_consistency({"ct": ct, "mri": mri}, tau) - expected) < 1e-10


def test_image_consistency_of_far_apart_correlations_is_finite():
    far = {"ct": [torch.tensor([[[0.0, 5000.0]]])], "mri": [torch.tensor([[[5000.0, 0.0]]])]}
    assert torch.isfinite(image_consistency(far, 1.0))


def _output(size=(4, 8, 8), **kwargs):
    logits = [torch.randn(B, Z, *(s // 2**i for s in size), requires_grad=True, **kwargs) for i in range(3)]
    maps = [torch.randn(B, Z, *(s // 2**i for s in size), requires_grad=True, **kwargs) for i in (2, 1, 0)]
    return Output(logits, Semantics(maps, [torch.randn(B, Z, Z, **kwargs) for _ in range(3)]))


TERMS = Objective(alpha=0.5, beta=0.25, gamma=0.125, tau=4.0, aux_target="soft")


def test_the_control_pairs_every_class_with_the_next_one_of_the_other_modality():
    """Eq. 10 and 11 as literal sums over classes i and i - 1."""
    torch.manual_seed(0)
    outputs = {"ct": _output(), "mri": _output()}
    labels = {m: torch.randint(0, Z, (B, 1, 4, 8, 8)) for m in outputs}
    a, b = embeddings = torch.randn(2, Z, 8)
    _, parts = objective(
        outputs, labels, dict(zip(outputs, embeddings, strict=True)), TERMS.model_copy(update={"shuffled": True})
    )
    cosines = [torch.cosine_similarity(a[i], b[i - 1], dim=0) for i in range(Z)]
    assert float(parts["mcr"]) == pytest.approx(sum(1 - float(cosine) for cosine in cosines), abs=1e-5)
    expected = 0.0
    for ct, mri in zip(*(output.semantics.correlations for output in outputs.values()), strict=True):
        for image in range(B):
            for i in range(Z):
                moved = torch.stack([mri[image, i - 1, j - 1] for j in range(Z)])
                p, q = torch.softmax(ct[image, i] / 4, 0), torch.softmax(moved / 4, 0)
                expected += (_kl(p, q) + _kl(q, p)) / B
    assert float(parts["icr"]) == pytest.approx(expected, rel=1e-4)


def test_objective_is_the_weighted_sum_of_its_parts():
    torch.manual_seed(0)
    outputs = {"ct": _output(), "mri": _output()}
    labels = {m: torch.randint(0, Z, (B, 1, 4, 8, 8)) for m in outputs}
    embeddings = {m: torch.randn(Z, 8) for m in outputs}
    loss, p = objective(outputs, labels, embeddings, TERMS)
    expected = p["seg_ct"] + p["seg_mri"] + 0.5 * (p["aux_ct"] + p["aux_mri"]) + 0.25 * p["mcr"] + 0.125 * p["icr"]
    assert torch.allclose(loss, expected)
    without, parts = objective(outputs, labels, embeddings, Objective())
    assert set(parts) == {"seg_ct", "seg_mri"} and torch.allclose(without, p["seg_ct"] + p["seg_mri"])


@pytest.mark.parametrize("reading", ["soft", "nearest"])
def test_a_crop_of_background_alone_gives_finite_losses_and_gradients(reading):
    outputs = {"ct": _output(), "mri": _output()}
    labels = {m: torch.zeros(B, 1, 4, 8, 8, dtype=torch.uint8) for m in outputs}
    embeddings = {m: torch.randn(Z, 8, requires_grad=True) for m in outputs}
    loss, _ = objective(outputs, labels, embeddings, TERMS.model_copy(update={"aux_target": reading}))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(x.grad).all() for o in outputs.values() for x in (*o.logits, *o.semantics.auxiliary))


def test_segmentation_is_monais_dice_and_cross_entropy():
    torch.manual_seed(0)
    logits, label = torch.randn(B, Z, 4, 6, 8, dtype=torch.float64), torch.randint(0, Z, (B, 1, 4, 6, 8))
    reference = DiceCELoss(
        include_background=False, softmax=True, to_onehot_y=True, batch=True, smooth_nr=1e-5, smooth_dr=1e-5
    )
    assert torch.allclose(segmentation([logits], label), reference(logits, label))


def test_perfect_logits_have_almost_no_loss():
    label = torch.randint(0, Z, (B, 1, 4, 8, 8))
    logits = torch.zeros(B, Z, 4, 8, 8).scatter_(1, label, 100.0)
    assert segmentation([logits], label) < 1e-3
    assert auxiliary([logits], label, "nearest") < 1e-3


def test_deep_supervision_weights_are_4_2_1_sevenths():
    torch.manual_seed(0)
    label = torch.randint(0, Z, (1, 1, 4, 8, 8))
    logits = [torch.randn(1, Z, *(s // 2**i for s in (4, 8, 8))) for i in range(3)]
    nearest = [label, label[..., 1::2, 1::2, 1::2], label[..., 2::4, 2::4, 2::4]]  # the voxel at or after the centre
    single = [segmentation([x], t) for x, t in zip(logits, nearest, strict=True)]
    assert torch.allclose(segmentation(logits, label), (4 * single[0] + 2 * single[1] + single[2]) / 7)


def test_soft_auxiliary_target_is_the_share_of_each_class():
    """One coarse voxel, a quarter of it class 0: cross-entropy and Dice of shares, by hand."""
    label = torch.zeros(1, 1, 2, 4, 4, dtype=torch.long)
    label[..., :3] = 1
    p = torch.tensor([0.4, 0.6])
    expected = -(0.25 * math.log(0.4) + 0.75 * math.log(0.6)) + 1 - 2 * 0.75 * 0.6 / (0.75 + 0.6)
    found = auxiliary([p.log().view(1, 2, 1, 1, 1)], label, "soft")
    assert float(found) == pytest.approx(expected, abs=1e-4)
