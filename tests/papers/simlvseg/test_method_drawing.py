"""The method's figures: what they measure, on clips made here; and the stages of networks against the counts of Table 1."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from echolib import models
from echolib.data.augment import normalise
from echolib.evaluation.complexity import measure
from echolib.papers.simlvseg import method_drawing as method
from echolib.papers.simlvseg import networks as network_figures
from echolib.training.batches import Batch
from echolib.training.recipes.segment import TracedBatch


def moving_disk(clips: int, frames: int, size: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Clips ``(B, 3, F, size, size)`` on the network's scale of a dark disk that beats, and its masks ``(B, F, size, size)``."""
    y, x = np.mgrid[:size, :size] - size / 2
    masks = np.stack([x ** 2 + (1.3 * y) ** 2 < (size * (0.25 + 0.08 * np.cos(t))) ** 2 for t in range(frames)])
    grey = np.where(masks, 0.1, 0.6) + 0.02 * np.random.default_rng(0).standard_normal(masks.shape)
    clip = torch.tensor(grey, dtype=torch.float32).clamp(0, 1).expand(clips, 3, -1, -1, -1)
    return normalise(clip), torch.tensor(masks).expand(clips, -1, -1, -1)


def traced_batch(position: int) -> Batch:
    clip, masks = moving_disk(2, 16)
    return TracedBatch(clip, ["a", "b"], mask=masks[:, position], position=torch.tensor([position] * 2))


@pytest.mark.parametrize("position", [0, 5])
def test_the_loss_pulls_at_the_traced_output_alone_and_at_its_neighbours_inputs(position):
    model = models.build("unet3d_s", width=0.125, frames=16, size=64, seed=0).eval()
    batch = traced_batch(position)
    at_output, at_input = method.gradient_shares(model, batch, "dice_frame")
    assert (at_output[:, position] == 1).all() and at_output.sum() == 2
    assert (at_input > 0).sum() > 2 and at_input.sum(1) == pytest.approx(1)
    assert all(p.grad is None for p in model.parameters())
    assert len(method.supervision_figure(batch, at_output, at_input).subfigs) == 2


@pytest.mark.parametrize("frames", [4, 9])
def test_the_super_image_is_drawn_with_a_number_on_every_frame(frames):
    model = models.build("si_mobilenetv3", width=0.25, frames=frames, size=64, seed=0).eval()
    axes = method.super_image_figure(model, Batch(moving_disk(1, frames)[0], ["a"])).axes
    assert all([t.get_text() for t in sorted(a.texts, key=lambda t: int(t.get_text()))] == [str(i + 1) for i in range(frames)]
               for a in axes)


@pytest.mark.parametrize(("name", "frames", "coarsest"), [
    ("unet3d_s", 16, (1, 4, 4)), ("si_uniformer_s", 4, (4, 4)), ("si_resnet18", 4, (4, 4)), ("si_mobilenetv3", 4, (4, 4)),
    ("nnunet2d", 1, (4, 4))])
def test_stages_are_the_whole_network(name, frames, coarsest):
    model = models.build(name, width=0.25, frames=frames, size=64, seed=0)
    found = network_figures.stages(model, frames, 64)
    assert sum(s.macs for s in found) / 1e9 == pytest.approx(measure(model, frames, 64).gflops, rel=0.02)
    drawn = [s for s in found if s.is_map]
    assert min((s.shape[1:] for s in drawn), key=lambda s: s[-1]) == coarsest and found[-1].shape[0] == 1
    figure = network_figures.network_figure(found, frames, 64, name)
    assert f"{frames} frames" in figure.axes[0].get_title(loc="left")
    assert f"{models.count_parameters(model):,}" in network_figures.stage_table(found, model, name)
    assert model.training and not any(m._forward_hooks for m in model.modules())
