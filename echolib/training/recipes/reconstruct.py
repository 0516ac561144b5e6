"""Self-supervised temporal masking (SimLVSeg eq. 1): stage 1.

A random share of a clip's frames is set to 0 and the network reconstructs the clip. The frames are blanked on the 0-1 scale,
before normalisation; the target is the clip as the network would have seen it unmasked, that is augmented and normalised; the
error is taken over all frames, not only the blanked ones. The paper reconstructs the three channels, the released program the
first one from a network with one output channel: ``Reconstruct.target`` chooses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from echolib.config.specs import RecipeOptions, RunSpec
from echolib.data.augment import normalise
from echolib.data.clahe import to_device
from echolib.data.clips import masked_positions, reconstruct_indices
from echolib.data.store import ClipStore
from echolib.losses.simlvseg import reconstruction_mse
from echolib.training.batches import Batch, Chosen, ClipBatches, Item, Raw, blank
from echolib.training.recipe import Recipe


class Reconstruct(RecipeOptions):
    """Which share of the frames is blanked and what is reconstructed."""

    kind: Literal["reconstruct"] = "reconstruct"
    ratio: float = Field(0.6, ge=0, le=1)
    counts: Literal["masked", "kept"] = Field("masked", description="'kept': the released SI class, audit row 7")
    target: Literal["clip", "first_channel"] = Field("clip", description="'first_channel': released, audit row 6")

    gives = "clip"
    stage = "pretrain"

    @property
    def mark(self) -> str:
        """``ssl0.6``"""
        return f"ssl{self.ratio:g}"


@dataclass
class MaskedBatch(Batch):
    """A step of stage 1; in ``clip`` the masked frames are black.

    Attributes:
        target: ``(B, 3, F, H, W)`` float32, the clip before masking, on the network's scale.
        masked: ``(B, F)`` bool, the frames blanked.
    """

    target: Tensor | None = None
    masked: Tensor | None = None


class MaskedBatches(ClipBatches):
    """Every video of the split once per epoch, as a random clip with some of its frames blanked."""

    def __init__(self, store: ClipStore, split: str, spec: RunSpec) -> None:
        videos = [Item(study) for study in sorted(store.studies.index[store.studies["split"] == split])]
        super().__init__(store, split, spec, videos, MaskedReconstruction.stream)

    def choose(self, item: Item, rng: np.random.Generator) -> Chosen:
        """A random clip, and which of its frames are masked."""
        options, clip = self.spec.recipe, self.spec.clip
        indices = reconstruct_indices(self.lengths[item.study], clip.frames, clip.period, rng)
        return Chosen(indices, {"masked": masked_positions(clip.frames, options.ratio, rng, options.counts)})

    def finish(self, clip: Tensor, masks: Tensor | None, raw: Raw, device: torch.device) -> MaskedBatch:
        """Masked frames are set to 0 on the 0-1 scale, so after normalisation they look like black frames, not like the mean."""
        masked = raw.chosen["masked"]
        shown = normalise(blank(clip, masked))
        return MaskedBatch(shown, raw.studies, target=normalise(clip), masked=to_device(masked, device))


class MaskedReconstruction(Recipe):
    """Pre-trains a network on the videos of the training split; the last epoch's weights are kept."""

    Options = Reconstruct
    stream = 1

    @classmethod
    def channels(cls, spec: RunSpec) -> int:
        """Three for the whole clip, one for its first channel."""
        return 3 if spec.recipe.target == "clip" else 1

    def batches(self) -> MaskedBatches:
        """Clips of the training split."""
        return MaskedBatches(self.store, "train", self.spec)

    def loss(self, network: nn.Module, batch: MaskedBatch) -> Tensor:
        """Mean squared error over all frames."""
        return reconstruction_mse(network(batch.clip), batch.target, self.options.target)
