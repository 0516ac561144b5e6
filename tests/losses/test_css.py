"""CSS: the hand-checked values of the cyclical loss, its invariances, a brute-force twin, and the losses around it."""

from __future__ import annotations

import math

import pytest
import torch

from echolib.losses.css import Cycle, aligned, cross_pseudo, cyclical, distillation, halves

PAPER = Cycle(scale=1.0)
RELEASED = Cycle(scale=1.0, candidates="inside")


def circle(period: float, radius: float = 3.0, frames: int = 40) -> torch.Tensor:
    angle = 2 * math.pi * torch.arange(frames, dtype=torch.float64) / period
    return (radius * torch.stack([angle.cos(), angle.sin()], 1)).float()


def losses(features: torch.Tensor, cycle: Cycle) -> torch.Tensor:
    return torch.stack([cyclical(features, start, cycle).loss for start in range(cycle.starts)])


def brute_force(z: torch.Tensor, start: int, s: int = 3, c: int = 2, tau: float = 10.0, released: bool = False) -> float:
    """Equations 2 to 7 written out frame by frame, positions counted from 1 as in the paper."""
    d, at = z.shape[1], {k + 1: row for k, row in enumerate(z.double())}
    def gamma(a, b):
        return -sum(float(((x - y) ** 2).sum()) for x, y in zip(a, b, strict=True)) / (d * s)
    phase = lambda t: [at[t + k] for k in range(s)]  # noqa: E731
    p = start + 1
    weights = {q: math.exp(tau * gamma(phase(p), phase(q))) for q in range(16, 40 - (c + s - 1) + 1)}
    total = sum(weights.values())
    found = [sum(w / total * at[q + c + k] for q, w in weights.items()) for k in range(s)]
    classes = range(1 + c, 15 - s + 2) if released else range(1, 16)
    scores = {k: math.exp(tau * gamma(found, phase(k))) for k in classes}
    return -math.log(scores[p + c] / sum(scores.values()))


# -- the regions ------------------------------------------------------------------------------------------------------

def test_the_regions_are_those_of_the_paper_and_of_the_released_program():
    assert list(PAPER.classes) == list(range(15)) and PAPER.starts == 13
    assert list(RELEASED.classes) == list(range(2, 13)) and RELEASED.starts == 11  # positions 3 to 13, p* 1 to 11
    assert PAPER.searched(40) == 21 and PAPER.buffer == 4  # 16-36 and 37-40
    match = cyclical(circle(18), 0, PAPER)
    assert match.alpha.shape == (21,) and match.beta.shape == (15,)
    assert Cycle(length=5, offset=2).searched(40) == 19 and Cycle(offset=5).searched(40) == 18


@pytest.mark.parametrize(("cycle", "frames", "words"), [
    (Cycle(template=3, length=3, offset=2, candidates="inside"), 40, "no starting point"), (Cycle(), 20, "at least 21 frames")])
def test_a_clip_or_template_without_room_is_named(cycle, frames, words):
    with pytest.raises(ValueError, match=words):
        cyclical(torch.zeros(frames, 2), 0, cycle)


def test_there_is_no_start_beyond_the_last():
    for cycle in (PAPER, RELEASED):
        cyclical(circle(18), cycle.starts - 1, cycle)
        with pytest.raises(ValueError, match=f"{cycle.starts} starting points"):
            cyclical(circle(18), cycle.starts, cycle)


# -- values worked out by hand ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("start", [0, 5, 10])
def test_identical_frames_give_the_log_of_the_number_of_classes(start):
    same = torch.full((40, 7), 3.0)
    assert cyclical(same, start, PAPER).loss.item() == pytest.approx(math.log(15), abs=1e-5)
    assert cyclical(same, start, RELEASED).loss.item() == pytest.approx(math.log(11), abs=1e-5)
    assert cyclical(same, start, PAPER).entropy.item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("period", "paper", "released"), [(18, 0.0084, 0.0080), (15, 0.0008, 0.0008)])
def test_features_on_a_circle_give_the_printed_losses(period, paper, released):
    assert losses(circle(period), PAPER).mean().item() == pytest.approx(paper, abs=5e-5)
    if period == 18:
        assert losses(circle(period), RELEASED).mean().item() == pytest.approx(released, abs=5e-5)


def test_a_beat_shorter_than_the_template_is_ambiguous_in_the_paper_and_not_in_the_program():
    found = losses(circle(11), PAPER)
    assert found.mean().item() == pytest.approx(0.320, abs=5e-4) and found.max().item() == pytest.approx(math.log(2), abs=1e-3)
    assert losses(circle(11), RELEASED).max().item() < 1e-4


def test_a_small_circle_is_hardly_told_from_a_point_and_a_high_temperature_makes_the_match_exact():
    assert losses(circle(18, radius=0.1), PAPER).mean().item() == pytest.approx(2.706, abs=5e-4)
    assert losses(circle(18), Cycle(scale=1.0, temperature=1000)).max().item() < 1e-6


def test_a_drift_without_a_beat_costs_much():
    drift = torch.stack([torch.arange(40.0), torch.zeros(40)], 1)
    assert losses(drift, PAPER).max().item() > 70


@pytest.mark.parametrize("released", [False, True])
def test_it_is_the_equations_written_out(released):
    generator = torch.Generator().manual_seed(5)
    cycle = RELEASED if released else PAPER
    for start in (0, 4, 10):
        z = torch.randn(40, 6, generator=generator)
        wanted = brute_force(z, start, released=released)
        assert cyclical(z, start, cycle).loss.item() == pytest.approx(wanted, rel=1e-4, abs=1e-5)
    other = Cycle(scale=1.0, length=4, offset=3, temperature=2.0)
    assert cyclical(z, 2, other).loss.item() == pytest.approx(brute_force(z, 2, s=4, c=3, tau=2.0), rel=1e-4)


# -- what changes nothing ---------------------------------------------------------------------------------------------

def test_a_constant_added_to_all_features_changes_nothing_and_a_factor_is_a_temperature():
    z = torch.randn(40, 5, generator=torch.Generator().manual_seed(1))
    base = losses(z, PAPER)
    torch.testing.assert_close(losses(z + torch.arange(5.0), PAPER), base, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(losses(2 * z, PAPER), losses(z, Cycle(scale=1.0, temperature=40.0)), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(losses(z, Cycle(scale=2.0)), losses(2 * z, PAPER))


def test_relative_to_the_spread_neither_scale_nor_width_nor_frame_size_counts():
    relative = Cycle(scale="spread")
    z = torch.randn(40, 5, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(losses(196 * z, relative), losses(z, relative), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(losses(torch.cat([z] * 4, 1), relative), losses(z, relative), rtol=1e-3, atol=1e-4)
    template, search = z[:17], z[15:]
    spreads = [torch.cdist(part, part).square().sum() / (len(part) * (len(part) - 1)) / 5 for part in (template, search)]
    by_hand = Cycle(scale=float(torch.stack(spreads).mean().rsqrt()))
    torch.testing.assert_close(losses(z, relative), losses(z, by_hand), rtol=1e-3, atol=1e-4)


def test_sharpness_is_what_scale_and_temperature_make_it():
    """Typical distances of 0.1: the sum over 196 positions at 10 is one-hot, their mean at 10 is uniform, relative is neither."""
    z = 0.1 * torch.randn(40, 64, generator=torch.Generator().manual_seed(3))
    entropy = {scale: cyclical(z, 3, Cycle(scale=scale)).entropy.item() for scale in (196.0, 1.0, "spread")}
    assert entropy[196.0] < 1e-3 and entropy[1.0] > 0.99 and 0.05 < entropy["spread"] < 0.99


# -- gradients --------------------------------------------------------------------------------------------------------

def test_the_gradient_reaches_template_search_and_buffer():
    z = torch.randn(40, 4, dtype=torch.float32, generator=torch.Generator().manual_seed(4)).requires_grad_()
    cyclical(z, 5, Cycle(scale=1.0, temperature=0.5)).loss.backward()
    assert (z.grad.abs().sum(1) > 0).all()


def test_a_search_in_another_video():
    cycle = Cycle(scale=1.0, offset=0)
    one, other = circle(18), circle(18) + torch.tensor([5.0, -2.0])
    match = aligned(one[:17], other[15:38], 4, cycle)
    assert cycle.buffer == 2 and match.alpha.shape == (21,) and match.beta.shape == (15,) and cycle.starts == 15
    assert match.alpha.argmax() != aligned(one[:17], one[15:38], 4, cycle).alpha.argmax(), "the other video decides"
    assert aligned(one[:17], one[15:38], 4, cycle).loss < 0.05


# -- the losses around it ---------------------------------------------------------------------------------------------

def test_the_segmentation_loss_is_the_mean_of_two_sums():
    ed, es = torch.zeros(3, 4, 4), torch.full((3, 4, 4), 2.0)
    masks = torch.zeros(3, 2, 4, 4, dtype=torch.bool)
    assert halves(ed, es, masks).item() == pytest.approx(48 * (math.log(2) + math.log1p(math.exp(2))) / 2, rel=1e-5)


def test_cross_pseudo_supervision_by_hand_and_its_gradients():
    first = torch.tensor([[[1.0, -1.0]]], requires_grad=True)
    second = torch.tensor([[[2.0, 3.0]]], requires_grad=True)
    loss = cross_pseudo(first, second)
    softplus = lambda x: math.log1p(math.exp(x))  # noqa: E731
    # the first is to say 1, 1; the second 1, 0
    assert loss.item() == pytest.approx(softplus(-1) + softplus(1) + softplus(-2) + softplus(3), rel=1e-5)
    loss.backward()
    sigmoid = torch.sigmoid
    torch.testing.assert_close(first.grad, sigmoid(first.detach()) - torch.tensor([[[1.0, 1.0]]]))
    torch.testing.assert_close(second.grad, sigmoid(second.detach()) - torch.tensor([[[1.0, 0.0]]]))


def test_distillation_by_hand_and_no_gradient_for_the_teacher():
    student = [torch.tensor([50.0, 60.0], requires_grad=True), torch.tensor([40.0], requires_grad=True)]
    teacher = torch.tensor([43.0], requires_grad=True)
    loss = distillation(student[0], torch.tensor([52.0, 59.0]), student[1], teacher, 5.0)
    assert loss.item() == pytest.approx((4 + 1) / 2 + 5 * 9)
    loss.backward()
    assert teacher.grad is None and student[1].grad.item() == pytest.approx(5 * 2 * -3)
    alone = distillation(student[0], torch.tensor([52.0, 59.0]), student[1], teacher, 0.0)
    assert alone.item() == pytest.approx(2.5)
