"""Schedules against optax's, against numbers worked by hand, and their refusals."""

from __future__ import annotations

import numpy as np
import optax
import pytest
import torch

from bench.workers.schedules import NAMES, cosine, one_cycle, plateau, schedule
from settings.problem import LOSS


def test_constant_is_one():
    assert [schedule({"name": "constant"}, 10)(step, []) for step in range(10)] == [1.0] * 10


@pytest.mark.parametrize(("steps", "warmup_steps", "final"), [(100, 10, 0.0), (37, 5, 0.1), (20, 0, 0.0)])
def test_cosine_is_that_of_optax(steps, warmup_steps, final):
    start = 1 / warmup_steps if warmup_steps else 1.0
    theirs = optax.warmup_cosine_decay_schedule(start, 1.0, warmup_steps, steps, final)
    for step in range(steps):
        assert cosine(step, steps, warmup_steps, final) == pytest.approx(float(theirs(step)), abs=1e-6)


@pytest.mark.parametrize("steps", [100, 30])
def test_one_cycle_is_that_of_optax(steps):
    final = 1 / (25 * 1e4)
    theirs = optax.cosine_onecycle_schedule(steps, 1.0, pct_start=0.1, div_factor=25, final_div_factor=1e4)
    for step in range(steps):
        assert one_cycle(step, steps, int(0.1 * steps), final) == pytest.approx(float(theirs(step)), abs=1e-6)


def test_steps_lower_the_rate_after_their_epochs():
    """S4Torch's plateau that watches a rising accuracy in mode 'min', patience 5: after epochs 7, 13 and 19."""
    ours = schedule({"name": "steps", "factor": 0.1, "epochs": [7, 13, 19]}, 1000)
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, mode="min", factor=0.1, patience=5, min_lr=1e-6)
    for epoch in range(22):
        figures = [0.5 + 0.01 * done for done in range(epoch)]
        assert ours(0, figures) == pytest.approx(optimiser.param_groups[0]["lr"]), epoch
        theirs.step(0.5 + 0.01 * epoch)


@pytest.mark.parametrize("name", ["cosine", "one_cycle"])
def test_warm_up_may_be_a_number_of_steps(name):
    by_share, by_number = (schedule({"name": name, **own}, 200) for own in ({"warmup": 0.1}, {"warmup_steps": 20}))
    assert [by_share(step, []) for step in range(200)] == [by_number(step, []) for step in range(200)]


def test_cosine_starts_above_zero_and_ends_near_final():
    ours = schedule({"name": "cosine", "warmup": 0.1, "final": 0.2}, 1000)
    scales = np.array([ours(step, []) for step in range(1000)])
    assert scales[0] == pytest.approx(0.01)
    assert scales.max() == scales[100] == 1.0
    assert 0.2 < scales[-1] < 0.2001


def test_plateau_lowers_when_accuracy_stands_still_not_when_it_rises():
    assert plateau([0.1, 0.2, 0.3, 0.4, 0.5], 0.5, 1) == 1.0
    assert plateau([0.5, 0.5], 0.5, 1) == 1.0
    assert plateau([0.5, 0.4, 0.5], 0.5, 1) == 0.5
    assert plateau([0.5, 0.4, 0.5, 0.45, 0.45], 0.5, 1) == 0.25
    assert plateau([0.5, 0.4, 0.6, 0.5], 0.5, 1) == 1.0
    assert plateau([], 0.5, 1) == 1.0


def test_plateau_is_that_of_torch_in_mode_max():
    torch = pytest.importorskip("torch")
    accuracies = np.random.default_rng(0).integers(0, 20, 60) / 20
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, "max", factor=0.5, patience=2, threshold=0.0, eps=0)
    for count, accuracy in enumerate(accuracies, start=1):
        theirs.step(float(accuracy))
        assert plateau(accuracies[:count], 0.5, 2) == pytest.approx(optimiser.param_groups[0]["lr"])


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"name": "cosin"}, "task.schedule.name='cosin'"),
        ({"name": "cosine", "warmup": 1.0}, "task.schedule.warmup=1.0"),
        ({"name": "cosine", "final": -1}, "task.schedule.final=-1"),
        ({"name": "plateau", "factor": 1.0}, "task.schedule.factor=1.0"),
        ({"name": "plateau", "patience": -1}, "task.schedule.patience=-1"),
    ],
)
def test_bad_settings_are_refused_by_name(settings, named):
    with pytest.raises(ValueError, match=named):
        schedule(settings, 10)


@pytest.mark.parametrize("name", NAMES)
def test_every_schedule_gives_a_factor_in_0_1(name):
    ours = schedule({"name": name}, 50)
    assert all(0 <= ours(step, [0.5] * (step // 5)) <= 1 for step in range(50))


def test_a_plateau_of_losses_is_pytorch_s_of_mode_min():
    losses = [2.0, 1.5, 1.6, 1.7, 1.4, 1.4, 1.4, 1.4, 1.0]
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    reducer = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, "min", factor=0.5, patience=1, threshold=0.0)
    for count, loss in enumerate(losses, 1):
        reducer.step(loss)
        assert plateau(losses[:count], 0.5, 1, LOSS) == pytest.approx(optimiser.param_groups[0]["lr"])
