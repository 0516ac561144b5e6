"""Losses against numbers worked by hand, a numpy twin, and the weak supervision's promise about gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from echolib import losses
from echolib.models import build

SURE = 40.0  # a logit whose sigmoid is 1 in float32


def frames(*rows: str) -> torch.Tensor:
    """One frame a string, one row of pixels: '1' traced or predicted."""
    return torch.tensor([[[c == "1" for c in row]] for row in rows])


def certain(*rows: str) -> torch.Tensor:
    return torch.where(frames(*rows), SURE, -SURE)


def test_dice_by_hand():
    logits, target = certain("1100", "1111"), frames("0110", "1111")
    # frame 1: overlap 1 of 2 + 2 -> 1 - 3/5; frame 2: perfect -> 0
    assert losses.dice_frame(logits, target).item() == pytest.approx((0.4 + 0) / 2)
    # pooled: overlap 5, areas 6 + 6 -> 1 - 11/13
    assert losses.dice_batch(logits, target).item() == pytest.approx(2 / 13)


def test_empty_frames():
    empty = frames("0000")
    assert losses.dice_frame(certain("0000"), empty).item() == pytest.approx(0, abs=1e-6)
    assert losses.dice_frame(certain("1110"), empty).item() == pytest.approx(1 - 1 / 4)
    logits = torch.zeros(1, 1, 4, requires_grad=True)
    losses.dice_frame(logits, empty).backward()
    assert (logits.grad > 0).all()  # it still learns to leave an empty frame empty


def test_losses_are_those_of_a_numpy_twin():
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(3, 5, 4)), rng.random((3, 5, 4)) < 0.4
    p = 1 / (1 + np.exp(-logits))
    per_frame = [1 - (2 * (p[i] * target[i]).sum() + 1) / (p[i].sum() + target[i].sum() + 1) for i in range(3)]
    pooled = 1 - (2 * (p * target).sum() + 1) / (p.sum() + target.sum() + 1)
    bce = -(np.log(p[target]).sum() + np.log(1 - p[~target]).sum())
    tensors = torch.from_numpy(logits), torch.from_numpy(target)
    assert losses.dice_frame(*tensors).item() == pytest.approx(np.mean(per_frame), rel=1e-5)
    assert losses.dice_batch(*tensors).item() == pytest.approx(pooled, rel=1e-5)
    assert losses.bce_sum(*tensors).item() == pytest.approx(bce, rel=1e-5)


def test_one_frame_pooled_or_not_is_the_same_and_doubling_tells_them_apart():
    logits, target = torch.randn(1, 6, 6, generator=torch.Generator().manual_seed(0)), frames("1" * 6).expand(1, 6, 6)
    assert losses.dice_frame(logits, target).item() == pytest.approx(losses.dice_batch(logits, target).item())
    twice = logits.repeat(2, 1, 1), target.repeat(2, 1, 1)
    assert losses.dice_frame(*twice).item() == pytest.approx(losses.dice_frame(logits, target).item())
    assert losses.bce_sum(*twice).item() == pytest.approx(2 * losses.bce_sum(logits, target).item(), rel=1e-6)


def test_half_precision_logits_are_summed_in_float32():
    target = torch.ones(1, 112, 112, dtype=torch.bool)
    loss = losses.bce_sum(torch.zeros(1, 112, 112, dtype=torch.bfloat16), target)
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(112 * 112 * math.log(2), rel=1e-5)


def test_reconstruction_by_hand():
    clip = torch.zeros(1, 3, 2, 1, 1)
    clip[0, :, 1] = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)
    assert losses.reconstruction_mse(torch.zeros(1, 3, 2, 1, 1), clip).item() == pytest.approx(14 / 6)
    assert losses.reconstruction_mse(torch.zeros(1, 1, 2, 1, 1), clip, "first_channel").item() == pytest.approx(1 / 2)
    with pytest.raises(ValueError, match="expected \\(1, 3, 2, 1, 1\\)"):
        losses.reconstruction_mse(torch.zeros(1, 1, 2, 1, 1), clip)


def test_select_traced():
    logits = torch.arange(2 * 3 * 2 * 2).view(2, 1, 3, 2, 2).float()
    chosen = losses.select_traced(logits, torch.tensor([2, 0]))
    assert torch.equal(chosen, torch.stack([logits[0, 0, 2], logits[1, 0, 0]]))


@pytest.mark.parametrize("name", sorted(losses.SEGMENTATION))
def test_only_the_traced_frame_is_supervised_yet_every_parameter_learns(name):
    """SimLVSeg eq. 4 and 5, on the 3D U-Net itself."""
    torch.manual_seed(0)
    model = build("unet3d", width=0.25, frames=16, size=32)
    clip, target = torch.randn(2, 3, 16, 32, 32), torch.zeros(2, 32, 32, dtype=torch.bool)
    target[:, 8:24, 8:24] = True
    logits = model(clip)
    logits.retain_grad()
    position = torch.tensor([3, 15])
    losses.SEGMENTATION[name](losses.select_traced(logits, position), target).backward()
    traced = torch.zeros(2, 16, dtype=torch.bool)
    traced[torch.arange(2), position] = True
    per_frame = logits.grad[:, 0].abs().amax((2, 3))
    assert (per_frame[~traced] == 0).all() and (per_frame[traced] > 0).all()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert silent == []
