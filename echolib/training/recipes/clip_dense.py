"""PKEcho-Net's training: a clip from end-diastole to end-systole, both ends traced, a loss on every stage.

Wu et al. (AAAI 2023). F frames lie equally spaced between the two traced ones; the loss (Dice and boundary,
:mod:`echolib.losses.pkecho`) looks at the first and the last. "Semi-supervised" means that the frames between change what the
network says about the ends: no loss touches an unlabelled frame, and no unlabelled video is read. A network that gives no stages
has the loss on its one output, so any network of clips can be trained alike.

Validation takes the same clips, whose ends the labels choose (``validation: centred`` takes the package's usual clips instead).
The period of ``ClipSpec`` plays no part in training; it is that of the centred clips on which the ledger scores every run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from echolib.config.specs import RecipeOptions, RunSpec
from echolib.data.augment import normalise
from echolib.data.clips import phase_indices
from echolib.data.store import ClipStore
from echolib.losses.pkecho import of_stages, signed_distance
from echolib.training.batches import Batch, Chosen, ClipBatches, Item, Raw
from echolib.training.phases import phase_dice, traced_pairs
from echolib.training.predict import mean_dice
from echolib.training.recipe import Recipe

#: The traced frames of a clip: its ends.
ENDS = (0, -1)


class ClipDense(RecipeOptions):
    """The loss of the two ends, and how the best epoch is chosen."""

    kind: Literal["clip_dense"] = "clip_dense"
    network: dict[str, bool | int | float | str | list[int]] = Field({}, description="options of the network's constructor")
    dice: Literal["squared", "plain"] = "squared"
    boundary: float = Field(1.0, ge=0, description="weight of the boundary loss")
    boundary_scale: Literal["px", "diagonal"] = Field("px", description="'diagonal': as a share of the frame's diagonal")
    stages: Literal["all", "last"] = "all"
    too_short: Literal["refuse", "leave_out"] = Field("refuse", description="studies with under two frames from ED to ES")
    validation: Literal["phases", "centred"] = "phases"

    gives = "masks"


@dataclass
class EndsBatch(Batch):
    """A step.

    Attributes:
        masks: ``(B, 2, H, W)`` bool, of the first and last frame.
        distance: ``(B, 2, H, W)`` float32 px, signed distance to their borders after augmentation; None without boundary loss.
    """

    masks: Tensor | None = None
    distance: Tensor | None = None


class EndsBatches(ClipBatches):
    """Every study of the split that has an ED and an ES frame once per epoch, from the one to the other."""

    def __init__(self, store: ClipStore, split: str, spec: RunSpec) -> None:
        pairs = traced_pairs(store, split, leave_out=spec.recipe.too_short == "leave_out")
        items = [Item(one.study, (one.ed, one.es)) for one in pairs]
        super().__init__(store, split, spec, items, ClipDenseRecipe.stream)

    def choose(self, item: Item, rng: np.random.Generator) -> Chosen:
        """The frames between; nothing is drawn."""
        return Chosen(phase_indices(*item.traced, self.spec.clip.frames))

    def finish(self, clip: Tensor, masks: Tensor | None, raw: Raw, device: torch.device) -> EndsBatch:
        """Normalise; distances of the masks as they are after augmentation."""
        distance = signed_distance(masks) if self.spec.recipe.boundary else None
        return EndsBatch(normalise(clip), raw.studies, masks=masks, distance=distance)


class ClipDenseRecipe(Recipe):
    """Trains a network of clips on both traced frames of every study; the epoch of best validation Dice is kept."""

    Options = ClipDense
    stream = 4
    deep = False

    @classmethod
    def build(cls, spec: RunSpec, **initial: object) -> nn.Module:
        """The network with the recipe's options for it."""
        return super().build(spec, options=spec.recipe.network, **initial)

    def check(self) -> None:
        """Studies that cannot be taken are found now, those of the validation split too."""
        if self.options.validation == "phases":
            traced_pairs(self.store, "val", leave_out=self.options.too_short == "leave_out")

    def network(self, run_dir: Path) -> tuple[nn.Module, str | None]:
        """A fresh network."""
        model, news = super().network(run_dir)
        self.deep = getattr(model, "deep", False)
        return model, news

    def batches(self) -> EndsBatches:
        """Clips of the training split."""
        return EndsBatches(self.store, "train", self.spec)

    def loss(self, network: nn.Module, batch: EndsBatch) -> Tensor:
        """Dice and boundary loss of both ends, added over the stages."""
        options = self.options
        if self.deep:
            stages = network(batch.clip, stages=True, frames=ENDS)
            stages = stages if options.stages == "all" else stages[-1:]
        else:
            stages = [network(batch.clip)[:, :, list(ENDS)]]
        return of_stages(stages, batch.masks, batch.distance, squared=options.dice == "squared", weight=options.boundary,
                         scale=options.boundary_scale)

    def validate(self, model: nn.Module, device: torch.device) -> float:
        """Dice of the validation split."""
        if self.options.validation == "centred":
            return mean_dice(model, self.store, self.spec, split="val", device=device)
        return phase_dice(model, self.store, self.spec.clip.frames, "val", device=device,
                          leave_out=self.options.too_short == "leave_out")
