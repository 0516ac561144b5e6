"""Weakly supervised segmentation in which every place of a clip is taught alike; of no paper.

A clip starts at random, but inside its video. Near the beginning and the end of a video fewer starts are left, so the traced
frame lies at some places of a clip more often than at others, and a network that sees time is taught there more often. Here a
clip counts for as much less as its place is more frequent: the loss of a clip, divided by how often a traced frame of the
training split lies at that place, in parts of the mean. Clips and draws are those of the recipe ``segment``.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from echolib.config.specs import ClipSpec
from echolib.errors import ConfigError
from echolib.losses.simlvseg import SEGMENTATION, select_traced
from echolib.training.recipes.segment import Segment, Segmentation, TracedBatch, TracedBatches


class Placed(Segment):
    """The options of the recipe ``segment``."""

    kind: Literal["placed"] = "placed"

    stage = "placed"


def place_shares(batches: TracedBatches, clip: ClipSpec) -> np.ndarray:
    """How often the traced frame lies at each place of a training clip, in parts of the mean over places.

    Exact: :func:`echolib.data.clips.training_indices` takes each of the places that fit with the same probability.

    Returns:
        ``(F,)`` float64, mean 1; 0 where it never lies.
    """
    often = np.zeros(clip.frames)
    for item in batches.items:
        before, after = item.traced[0] // clip.period, (batches.lengths[item.study] - 1 - item.traced[0]) // clip.period
        low, high = max(0, clip.frames - 1 - after), min(clip.frames - 1, before)
        often[slice(low, high + 1) if low <= high else before] += 1 / max(1, high - low + 1)
    return often * clip.frames / len(batches.items)


class PlacedSegmentation(Segmentation):
    """Trains a segmenter on traced frames, each place weighed alike; the epoch of best validation Dice is kept."""

    Options = Placed
    stream = 17

    def check(self) -> None:
        """A loss that pools a batch cannot weigh its clips."""
        super().check()
        if self.options.loss == "dice_batch":
            raise ConfigError("recipe 'placed' weighs the loss of each clip, and 'dice_batch' has one for a batch; expected "
                              "loss 'dice_frame' or 'bce_sum'")

    def batches(self) -> TracedBatches:
        """The clips of the recipe ``segment``; the weights of their places are worked out once."""
        made = TracedBatches(self.store, "train", self.spec)
        shares = place_shares(made, self.spec.clip)
        self.weights = torch.from_numpy(np.divide(1.0, shares, out=np.zeros_like(shares), where=shares > 0)).float()
        return made

    def loss(self, network: nn.Module, batch: TracedBatch) -> Tensor:
        """Loss of the traced frames: the weighed clips' mean, or their sum where the loss sums over a batch."""
        logits = select_traced(network(batch.clip), batch.position)
        each = torch.stack([SEGMENTATION[self.options.loss](logits[k:k + 1], batch.mask[k:k + 1]) for k in range(len(logits))])
        weighed = each * self.weights.to(each.device)[batch.position]
        return weighed.sum() if self.sums else weighed.mean()
