"""Weakly supervised segmentation (SimLVSeg eq. 2-6): stage 2, or training from scratch.

The network segments every frame of a clip; the loss sees the one traced frame. With a run as ``init`` the network starts from
that run's weights. Its head, where it reconstructed three channels, begins afresh; after the released program's stage 1 the
head has one channel already and is carried over with the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from echolib.config.specs import RecipeOptions, Role, RunSpec
from echolib.data.augment import normalise
from echolib.data.clahe import to_device
from echolib.data.clips import training_indices
from echolib.data.store import ClipStore
from echolib.files import write_json
from echolib.losses.simlvseg import SEGMENTATION, select_traced
from echolib.models.weights import transfer
from echolib.training.batches import Batch, Chosen, ClipBatches, Item, Raw
from echolib.training.predict import mean_dice, traced_frames
from echolib.training.recipe import Parent, Recipe


class Segment(RecipeOptions):
    """The loss of the traced frames, and how the best epoch is chosen."""

    kind: Literal["segment"] = "segment"
    loss: Literal["dice_frame", "dice_batch", "bce_sum"] = "dice_frame"
    validation: Literal["per_frame", "pooled"] = Field("per_frame", description="Dice of the validation split: mean over frames, "
                                                                                "or of all pixels (released, audit row 2)")

    gives = "masks"
    roles = {"init": Role(takes=("clip", "masks"), same_network=True)}


@dataclass
class TracedBatch(Batch):
    """A step of stage 2.

    Attributes:
        mask: ``(B, H, W)`` bool, the traced frame's mask.
        position: ``(B,)`` int64, the traced frame's place in its clip.
    """

    mask: Tensor | None = None
    position: Tensor | None = None


class TracedBatches(ClipBatches):
    """Every traced ED and ES frame of the split once per epoch, in a random clip around it."""

    def __init__(self, store: ClipStore, split: str, spec: RunSpec, stream: int | None = None) -> None:
        labels = traced_frames(store, split)
        items = [Item(study, (int(frame),)) for study, frame in zip(labels["study"], labels["frame"], strict=True)]
        super().__init__(store, split, spec, items, Segmentation.stream if stream is None else stream)

    def choose(self, item: Item, rng: np.random.Generator) -> Chosen:
        """A random clip that holds the traced frame, and where."""
        clip = self.spec.clip
        indices, position = training_indices(self.lengths[item.study], item.traced[0], clip.frames, clip.period, rng)
        return Chosen(indices, {"position": position})

    def finish(self, clip: Tensor, masks: Tensor | None, raw: Raw, device: torch.device) -> TracedBatch:
        """Normalise."""
        return TracedBatch(normalise(clip), raw.studies, mask=masks[:, 0], position=to_device(raw.chosen["position"], device))


class Segmentation(Recipe):
    """Trains a segmenter on the traced frames of the training split; the epoch of best validation Dice is kept."""

    Options = Segment
    stream = 2
    visits = 2

    def __init__(self, *given: object, **named: object) -> None:
        super().__init__(*given, **named)
        self.sums, self.pools = self.options.loss == "bce_sum", self.options.loss == "dice_batch"

    def check(self) -> None:
        """An empty validation split is found now, not after the first epoch."""
        traced_frames(self.store, "val")

    def network(self, run_dir: Path) -> tuple[nn.Module, str | None]:
        """From ``init`` where there is one; ``run_dir/init.json`` then says which parameters began afresh."""
        source = self.parents.get("init")
        model = self.build(self.spec, imagenet=self.spec.model.imagenet and source is None, seed=self.spec.seed)
        return model, None if source is None else start_from(model, source, run_dir)

    def batches(self) -> TracedBatches:
        """Clips around the traced frames of the training split."""
        return TracedBatches(self.store, "train", self.spec)

    def loss(self, network: nn.Module, batch: TracedBatch) -> Tensor:
        """Loss of the traced frames."""
        return SEGMENTATION[self.options.loss](select_traced(network(batch.clip), batch.position), batch.mask)

    def validate(self, model: nn.Module, device: torch.device) -> float:
        """Dice of the validation split."""
        return mean_dice(model, self.store, self.spec, split="val", device=device, pooled=self.options.validation == "pooled")


def start_from(model: nn.Module, source: Parent, run_dir: Path) -> str:
    """Carry over what fits of another run's weights; a line of news, and ``init.json``.

    Raises:
        WeightsError: the file cannot be read, was made by another run, or does not fit.
    """
    fresh = transfer(source.state(), model)
    write_json(run_dir / "init.json", {"run": source.spec.key, "reinitialised": fresh})
    return f"starts from run {source.spec.key}; begins afresh: {', '.join(fresh) or 'nothing'}"
