"""Weakly supervised segmentation that also bounds the area of the frames that nobody traced; of no paper.

The loss of :mod:`~echolib.training.recipes.segment` sees one frame of a clip. What a network does on the others it does without
a teacher, and now and then it fills the picture there. Two things are known of those frames all the same: the ventricle is
not larger than traced at end-diastole and not smaller than traced at end-systole (:mod:`echolib.losses.bounds`).

With ``weight`` 0, the default, a run sees the same clips and gets the same weights as one of the recipe ``segment``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from echolib.config.specs import RunSpec
from echolib.data.clahe import to_device
from echolib.data.store import ClipStore
from echolib.losses.bounds import area_bounds
from echolib.losses.simlvseg import SEGMENTATION, select_traced
from echolib.training.batches import Chosen, Item, Raw
from echolib.training.recipes.segment import Segment, Segmentation, TracedBatch, TracedBatches


class Bounded(Segment):
    """The options of the recipe ``segment``, and the bound."""

    kind: Literal["bounded"] = "bounded"
    weight: float = Field(0.0, ge=0, description="of the bound on the areas of untraced frames; 0: none")
    margin: float = Field(0.1, ge=0, lt=1, description="share by which an area may lie beyond the traced ones")

    stage = "bounded"


@dataclass
class BoundedBatch(TracedBatch):
    """A step.

    Attributes:
        least, most: ``(B,)`` float32 px, smallest and largest traced area of the study; NaN where only one frame is traced.
        counted: ``(B, F)`` bool, frames that are neither traced nor black.
    """

    least: Tensor | None = None
    most: Tensor | None = None
    counted: Tensor | None = None


class BoundedBatches(TracedBatches):
    """The clips of the recipe ``segment``, with the traced areas of each study."""

    def __init__(self, store: ClipStore, split: str, spec: RunSpec) -> None:
        super().__init__(store, split, spec)
        found: dict[str, list[int]] = {}
        for item in self.items:
            found.setdefault(item.study, []).append(int(store.mask(item.study, item.traced[0]).sum()))
        self.areas = {study: (min(areas), max(areas)) if len(areas) > 1 else (np.nan, np.nan) for study, areas in found.items()}

    def choose(self, item: Item, rng: np.random.Generator) -> Chosen:
        """The clip, and the two areas."""
        chosen = super().choose(item, rng)
        return Chosen(chosen.indices, {**chosen.more, "areas": np.asarray(self.areas[item.study], np.float32)})

    def finish(self, clip: Tensor, masks: Tensor | None, raw: Raw, device: torch.device) -> BoundedBatch:
        """Normalise, and say which frames are bounded."""
        step = super().finish(clip, masks, raw, device)
        areas = to_device(raw.chosen["areas"], device)
        counted = ~raw.black.clone()
        counted[torch.arange(len(counted)), raw.chosen["position"]] = False
        return BoundedBatch(step.clip, step.studies, mask=step.mask, position=step.position, least=areas[:, 0], most=areas[:, 1],
                            counted=to_device(counted, device))


class BoundedSegmentation(Segmentation):
    """Trains a segmenter on traced frames and bounded areas; the epoch of best validation Dice is kept."""

    Options = Bounded
    stream = 16

    def batches(self) -> BoundedBatches:
        """Clips around the traced frames of the training split."""
        return BoundedBatches(self.store, "train", self.spec)

    def loss(self, network: nn.Module, batch: BoundedBatch) -> Tensor:
        """Loss of the traced frames, and the bound on the others."""
        logits = network(batch.clip)
        traced = SEGMENTATION[self.options.loss](select_traced(logits, batch.position), batch.mask)
        if self.options.weight == 0:
            return traced
        return traced + self.options.weight * area_bounds(logits, batch.least, batch.most, batch.counted, self.options.margin)
