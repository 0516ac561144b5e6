"""Attention: the gradient of a known function, Dice of the top pixels by hand, half cycles, seeds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from echolib.config import ClipSpec, DataSpec
from echolib.evaluation.attention import attended, smooth_gradient
from echolib.evaluation.evaluation import Inputs
from echolib.evaluation.kinds.attention import AttentionSpec
from tests.training.css_standin import store
from tests.training.test_numbers import multi, spec_of

DATA = DataSpec(layout="echonet", size=32, channels=1)


class Weighted(nn.Module):
    """Gives the weighted sum of the pixels, so that its gradient is known; with ``square`` that of their squares."""

    def __init__(self, weight: torch.Tensor, square: bool = False) -> None:
        super().__init__()
        self.weight, self.square = nn.Parameter(weight), square

    def forward(self, clip):
        return ((clip.square() if self.square else clip) * self.weight).sum((1, 2, 3, 4))


def test_the_gradient_of_a_linear_network_is_its_weight():
    weight = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    found = smooth_gradient(Weighted(weight), torch.rand(3, 2, 4, 4), copies=3, noise=0.5, seed=1)
    np.testing.assert_allclose(found, weight.abs().sum(0).numpy(), rtol=1e-5)


def test_noise_smooths_and_its_seed_is_all_that_counts():
    model, clip = Weighted(torch.ones(3, 2, 4, 4), square=True), torch.linspace(-1, 1, 96).view(3, 2, 4, 4)
    none = smooth_gradient(model, clip, copies=1, noise=0.0, seed=1)
    np.testing.assert_allclose(none, (2 * clip).abs().sum(0).numpy(), rtol=1e-5)
    noisy = [smooth_gradient(model, clip, copies=4, noise=0.3, seed=s) for s in (1, 1, 2)]
    assert np.array_equal(noisy[0], noisy[1]) and not np.array_equal(noisy[0], noisy[2])
    clip = torch.zeros(3, 2, 4, 4) + torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1)
    many = smooth_gradient(model, clip, copies=400, noise=0.1, seed=3)
    np.testing.assert_allclose(many, 6, rtol=0.05)  # 3 channels x mean |2 (+-1 + noise)|


def test_dice_of_the_top_pixels_by_hand():
    gradient = np.arange(100.0).reshape(10, 10)
    ventricle = np.zeros((10, 10), bool)
    ventricle[9, 5:] = ventricle[0, :5] = True
    one = attended(gradient, ventricle, 0.05)
    assert one.top.sum() == 5 and one.top[9, 5:].all() and one.dice == pytest.approx(2 * 5 / (5 + 10)) == one.ceiling
    assert one.inside == pytest.approx((sum(range(95, 100)) + sum(range(5))) / sum(range(100))) and one.area == 0.1
    assert attended(np.ones((10, 10)), ventricle, 0.05).inside == pytest.approx(0.1), "attention to everything alike"
    assert np.isnan(attended(np.zeros((10, 10)), ventricle).inside)


def inputs_of(model) -> Inputs:
    return Inputs(store=store(), truth=None, cohort=lambda: None, model=lambda: model, shown=lambda items, total: items)


def test_a_network_that_looks_at_the_ventricle_alone_scores_the_ceiling():
    cohort = store()
    frame = torch.from_numpy(cohort.mask("test0", 0)).float()
    spec = AttentionSpec(run=spec_of(), data=DATA, copies=1, noise=0.0)
    made = spec.compute(inputs_of(Weighted(frame.expand(3, 4, 32, 32).clone())))
    table = made.tables["frames"].set_index(["study", "phase"])
    row = table.loc["test0", "ED"]
    assert row.dice == pytest.approx(row.ceiling) and row.inside == pytest.approx(1.0) and 0 < row.area < 0.5
    assert len(table) == 4 and np.isnan(table.inside_clip).all(), "no truth, no exact masks"
    pictures = spec.pictures(inputs_of(Weighted(frame.expand(3, 4, 32, 32).clone())), [("test0", 4)])
    assert list(pictures) == [("test0", 4)] and pictures["test0", 4].mask.sum() == round(0.05 * 32 * 32)


def test_half_cycles_are_looked_at_on_both_ends():
    cohort = store()
    cohort.studies = cohort.studies.assign(view="4CH", quality="Good")
    spec = AttentionSpec(run=spec_of(clip=ClipSpec(frames=32, period=2)), data=DataSpec(layout="camus", size=32, channels=1))
    found = {phase: (frame, indices[position]) for frame, phase, indices, position in spec._clips(cohort, "test1")}
    assert found == {"ED": (0, 0), "ES": (4, 4)}


def test_a_network_that_sees_masks_is_refused():
    with pytest.raises(ValueError, match="must give a number from frames alone"):
        AttentionSpec(run=multi(), data=DATA)
