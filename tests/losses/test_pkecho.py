"""Dice and boundary loss of PKEcho-Net against numbers worked by hand, and a numerical gradient."""

from __future__ import annotations

import math

import pytest
import torch

from echolib.losses.pkecho import boundary, of_stages, signed_distance, soft_dice
from tests.losses.test_simlvseg import certain, frames


def test_dice_with_squared_and_with_plain_sums_by_hand():
    half, target = torch.zeros(1, 1, 4), frames("1100")
    # p = .5: overlap 1; squares 4 * .25 + 2 = 3, plain 2 + 2 = 4
    assert soft_dice(half, target, smooth=0).item() == pytest.approx(1 - 2 / 3)
    assert soft_dice(half, target, squared=False, smooth=0).item() == pytest.approx(1 - 2 / 4)
    assert soft_dice(half, target).item() == pytest.approx(1 - 3 / 4)
    assert soft_dice(certain("1100", "1111"), frames("1100", "1111")).item() == pytest.approx(0, abs=1e-6)


def test_an_empty_frame_needs_smoothing():
    assert soft_dice(certain("0000"), frames("0000")).item() == pytest.approx(0, abs=1e-6)
    assert math.isnan(soft_dice(torch.full((1, 1, 4), -200.0), frames("0000"), smooth=0).item())


def test_the_distance_is_negative_inside_and_half_a_pixel_along_the_border():
    assert signed_distance(frames("0011100")[0]).tolist() == [[1.5, 0.5, -0.5, -1.5, -0.5, 0.5, 1.5]]
    for alone in (frames("000"), frames("111")):
        assert (signed_distance(alone) == 0).all()
    mask = torch.zeros(2, 3, 9, 9, dtype=torch.bool)
    mask[..., 3:6, 3:6] = True
    found = signed_distance(mask)
    assert found.shape == mask.shape and found.dtype == torch.float32
    assert found[0, 0, 4, 4] == -1.5 and found[1, 2, 0, 0] == pytest.approx(math.hypot(3, 3) - 0.5)
    assert torch.equal(found.flip(-1), signed_distance(mask.flip(-1)))


def test_the_boundary_loss_by_hand_and_its_minimum_is_negative():
    distance = signed_distance(frames("0011100")[0])
    assert boundary(torch.zeros(1, 7), distance).item() == pytest.approx(0.5 * (2 * 2 - 2.5) / 7)
    inside = torch.where(frames("0011100")[0], 40.0, -40.0)
    assert boundary(inside, distance).item() == pytest.approx(-2.5 / 7)
    assert boundary(inside, distance, "diagonal").item() == pytest.approx(-2.5 / 7 / math.hypot(1, 7))


def test_in_px_the_boundary_outweighs_dice():
    mask = torch.zeros(1, 128, 128, dtype=torch.bool)
    mask[:, 40:90, 50:85] = True
    logits, distance = torch.zeros(1, 128, 128), signed_distance(mask)
    assert boundary(logits, distance) > 10 * soft_dice(logits, mask)
    assert boundary(logits, distance, "diagonal") < soft_dice(logits, mask)


def test_the_loss_adds_over_stages():
    masks = torch.zeros(2, 2, 4, 5, dtype=torch.bool)
    masks[:, :, 1:3, 1:4] = True
    distance = signed_distance(masks)
    stages = [torch.randn(2, 1, 2, 4, 5, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    one = [float(of_stages([stage], masks, distance)) for stage in stages]
    assert of_stages(stages, masks, distance).item() == pytest.approx(sum(one))
    dice = [float(of_stages([stage], masks, None, weight=0)) for stage in stages]
    doubled = sum(2 * a - b for a, b in zip(one, dice, strict=True))
    assert float(of_stages(stages, masks, distance, weight=2)) == pytest.approx(doubled, rel=1e-5)
    assert dice[0] == pytest.approx(float(soft_dice(stages[0][:, 0].flatten(0, 1), masks.flatten(0, 1))))


def test_the_gradient_is_right_numerically():
    mask = frames("00110", "01110")
    distance = signed_distance(mask)
    logits = torch.randn(2, 1, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = soft_dice(logits, mask) + boundary(logits, distance)
    (gradient,) = torch.autograd.grad(loss, logits)
    for place in ((0, 0, 1), (1, 0, 3)):
        step = torch.zeros_like(logits)
        step[place] = 1e-2
        with torch.no_grad():
            up, down = (soft_dice(one, mask) + boundary(one, distance) for one in (logits + step, logits - step))
        assert gradient[place].item() == pytest.approx((up - down).item() / 2e-2, abs=1e-4)
