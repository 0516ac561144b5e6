"""Losses and schedules of SSCF: hand values, where each divergence has its minimum, and what the printed forms do."""

from __future__ import annotations

import math

import pytest
import torch

from echolib.losses.sscf import consistency, divergences, printed_learning_rate, ramp, supervised
from tests.losses.test_simlvseg import frames


def logit(p: float) -> torch.Tensor:
    return torch.tensor([[[math.log(p / (1 - p))]]], dtype=torch.float64)


def test_the_supervised_loss_by_hand():
    half, target = torch.zeros(2, 1, 4), frames("1100", "1100")
    dice, entropy = 1 - 2 / 3, math.log(2)
    assert supervised(half, target, smooth=0).item() == pytest.approx(0.5 * dice + 0.5 * 4 * entropy)
    assert supervised(half, target, smooth=0, pixels="mean").item() == pytest.approx(0.5 * dice + 0.5 * entropy)
    assert math.isnan(supervised(torch.full((1, 1, 4), -200.0), frames("0000"), smooth=0).item())
    assert supervised(torch.full((1, 1, 4), -200.0), frames("0000")).item() == pytest.approx(0)


def test_the_divergence_of_bernoulli_distributions_has_its_minimum_at_equality_and_the_printed_one_at_p_over_e():
    grid = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    teacher = logit(0.8).expand(999, 1, 1)
    student = (grid / (1 - grid)).log().view(-1, 1, 1)
    for kind, place, value in (("bernoulli", 0.8, 0.0), ("literal", 0.8 / math.e, -0.8 / math.e)):
        found = divergences(student, teacher, kind).flatten()
        assert grid[found.argmin()].item() == pytest.approx(place, abs=1e-3)
        assert found.min().item() == pytest.approx(value, abs=1e-4)
    assert 0.8 / math.e == pytest.approx(0.29, abs=0.005)
    p = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)  # the printed one's slope at equality is 1 in p
    (p * (p.log() - math.log(0.8))).backward()
    assert p.grad.item() == pytest.approx(1)


def test_the_consistency_by_hand_and_no_gradient_for_the_teacher():
    student, teacher = logit(0.6).float().requires_grad_(), logit(0.8).float().requires_grad_()
    kl = 0.6 * math.log(0.6 / 0.8) + 0.4 * math.log(0.4 / 0.2)
    loss = consistency(student, teacher)
    assert loss.item() == pytest.approx(0.5 * 0.04 + 0.5 * kl, rel=1e-5)
    loss.backward()
    assert student.grad.abs() > 0 and teacher.grad is None
    assert consistency(student, teacher, divergence="literal").item() == pytest.approx(
        0.5 * 0.04 + 0.5 * 0.6 * math.log(0.6 / 0.8), rel=1e-5)
    assert consistency(student, student).item() == pytest.approx(0, abs=1e-7)


def test_sums_and_means_over_the_pixels_that_both_saw():
    student, teacher = torch.full((2, 3, 4), 0.5), torch.full((2, 3, 4), 1.5)
    square = float((torch.tensor(0.5).sigmoid() - torch.tensor(1.5).sigmoid()) ** 2)
    kl = float(divergences(student, teacher)[0, 0, 0])
    assert consistency(student, teacher).item() == pytest.approx(0.5 * square + 0.5 * 12 * kl, rel=1e-5)
    assert consistency(student, teacher, pixels="mean").item() == pytest.approx(0.5 * square + 0.5 * kl, rel=1e-5)
    seen = torch.zeros(2, 3, 4, dtype=torch.bool)
    seen[0, 0] = True  # nothing of the second frame
    half = 0.5 * (0.5 * square + 0.5 * 4 * kl)
    assert consistency(student, teacher, seen).item() == pytest.approx(half, rel=1e-5)


def test_extreme_logits_stay_finite():
    student, teacher = torch.tensor([[[80.0, -80.0]]], requires_grad=True), torch.tensor([[[-80.0, 80.0]]])
    for kind in ("bernoulli", "literal"):
        loss = consistency(student, teacher, divergence=kind)
        assert torch.isfinite(loss) and torch.isfinite(torch.autograd.grad(loss, student)[0]).all()


def test_the_ramp_begins_at_nothing_and_ends_at_one():
    assert [ramp(step, 10) for step in (0, 5, 10)] == [0, 0.25, 1]


def test_the_printed_learning_rate_is_gone_after_471_of_100_000_steps():
    assert printed_learning_rate(1.0, 471, 100_000) == pytest.approx(1 / math.e, rel=0.01)
    assert printed_learning_rate(1.0, 0, 10) == 1 and printed_learning_rate(1.0, 10, 10) == 0
    assert printed_learning_rate(1e-4, 2, 4) == pytest.approx(1e-4 * (0.75 * 0.5) ** 0.9)
