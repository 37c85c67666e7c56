"""Optimiser, schedules and validation of a training against closed forms."""

import math
from types import SimpleNamespace

import pytest
import torch
from networks import network_of

from ssc.settings import Optimiser, View
from ssc.training import Training, _optimiser, _schedule

CHOICE = Optimiser(
    steps=100, schedule="cosine", learning_rate=0.1, warm_up=0.1, beta2=0.99, weight_decay=0.05, clip=1.0,
    validations=1, save_every=10,
)  # fmt: skip


def _rates(choice):
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=choice.learning_rate)
    scheduler, rates = _schedule(optimiser, choice), []
    for _ in range(choice.steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return rates


def test_the_cosine_schedule_rises_in_a_line_and_falls_as_half_a_cosine():
    expected = [0.1 * (0.1 + 0.9 * step / 10) for step in range(10)]
    expected += [0.05 * (1 + math.cos(math.pi * (step - 10) / 90)) for step in range(10, 100)]
    assert _rates(CHOICE) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_one_cycle_rises_to_its_peak_and_falls_to_nothing():
    """Smith and Topin's cycle as PyTorch has it: from 1/25 of the peak, along half cosines, to 1/250,000."""
    rates = _rates(CHOICE.model_copy(update={"schedule": "one_cycle", "warm_up": 0.3}))
    low, peak, end = 0.1 / 25, 0.1, 0.1 / 25e4
    up = [peak + (low - peak) * (1 + math.cos(math.pi * s / 29)) / 2 for s in range(30)]
    down = [end + (peak - end) * (1 + math.cos(math.pi * (s - 29) / 70)) / 2 for s in range(30, 100)]
    assert rates == pytest.approx(up + down, rel=1e-6)


def test_weight_decay_shrinks_matrices_and_spares_norms_and_biases():
    network = network_of("unet", "ours")
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    optimiser = _optimiser(network, CHOICE)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    spared = {name for name, value in before.items() if name.endswith("bias") or value.ndim < 2}
    assert spared and spared != set(before)
    for name, value in network.named_parameters():
        assert torch.allclose(value, before[name] * (1 if name in spared else 1 - 0.1 * 0.05), rtol=1e-6), name


def test_adamw_takes_beta_2_of_its_settings():
    """After one step the second moment is (1 - β₂) g²."""
    network = network_of("unet", "joint_plain")
    optimiser = _optimiser(network, CHOICE)
    parameter = next(network.parameters())
    parameter.grad = torch.full_like(parameter, 3.0)
    optimiser.step()
    state = optimiser.state[parameter]
    assert torch.allclose(state["exp_avg_sq"], torch.full_like(parameter, 0.01 * 9))
    assert torch.allclose(state["exp_avg"], torch.full_like(parameter, 0.1 * 3))


class Constant(torch.nn.Module):
    """A network that finds structure 1 everywhere in the left half, whatever it is shown."""

    view = View(spatial_dims=3, crop=(4, 8, 8))

    def predict(self, x, modality):
        logits = torch.zeros(len(x), 3, *x.shape[2:])
        logits[:, 1, ..., :4] = 9.0
        logits[:, 0, ..., 4:] = 9.0
        return logits


def test_validation_scores_what_the_network_finds_against_the_truth():
    """By hand: structure 1 half overlapped, in one case of two; structure 2 never found."""
    half, none = torch.zeros(1, 4, 8, 8, dtype=torch.uint8), torch.zeros(1, 4, 8, 8, dtype=torch.uint8)
    half[..., 2:6] = 1  # 4 of 8 columns, 2 of them found: Dice 2·2 / (4 + 4) = 50 %
    none[..., :4], none[..., 4:6] = 1, 2  # structure 1 found whole, 2 not at all
    training = Training.__new__(Training)
    training.network = Constant()
    training.settings = SimpleNamespace(classes=3, structures=["liver", "spleen"])
    training.validation = {"ct": [(torch.rand(1, 4, 8, 8), half), (torch.rand(1, 4, 8, 8), none)]}
    row = training.validate()
    assert row == pytest.approx({"dice_ct_liver": 75.0, "dice_ct_spleen": 0.0, "dice": 37.5})


def test_validations_lie_evenly_over_the_training_and_at_its_end(tmp_path):
    training = Training.__new__(Training)
    training.settings = SimpleNamespace(optimiser=CHOICE.model_copy(update={"steps": 10, "validations": 4}))
    training.run, training.step, training.seconds, training.history = SimpleNamespace(key="run"), 0, 0.0, []
    training.scheduler = SimpleNamespace(get_last_lr=lambda: [0.1])
    training.embedding_cosines = dict
    training.validate = lambda: {"dice": 50.0}
    training.save = lambda *_: None

    def advance():
        training.step += 1
        return {}

    training.advance = advance
    training.finish({}, tmp_path / "save")
    assert [row["step"] for row in training.history if "dice" in row] == [2, 5, 8, 10]
