"""Cross pseudo supervision (CPS, Chen et al., CVPR 2021) as CSS compares with it (Dai et al., IEEE TMI 2023, section IV-E).

Two networks of one kind with different initial weights. On the traced frames each has the cross-entropy of the labels; on
unlabelled frames each has the mask that the other one gives, without a gradient through it. A step has as many unlabelled frames
as traced ones, 40 and 40 in the paper; which weight the second term had is not said. The first network is validated and kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from echolib.config.specs import RecipeOptions
from echolib.losses.css import cross_pseudo, halves
from echolib.training.cycle_batches import PairBatch, PairBatches, RandomFrames
from echolib.training.predict import mean_dice, summed_entropy, traced_frames
from echolib.training.recipe import Recipe
from echolib.training.twins import SECOND, Twins


class CrossPseudo(RecipeOptions):
    """The weight of the networks' agreement, and how the best epoch is chosen."""

    kind: Literal["cross_pseudo"] = "cross_pseudo"
    weight: float = Field(1.0, ge=0)
    validation: Literal["loss", "per_frame"] = Field("loss", description="the epoch of lowest loss, or of best Dice")

    gives = "masks"
    stage = "cross"


class CrossPseudoRecipe(Recipe):
    """Trains two segmenters on labels and on each other's masks; the epoch of lowest validation loss is kept."""

    Options = CrossPseudo
    stream = 12
    sums = True

    def __init__(self, *given: object, **named: object) -> None:
        super().__init__(*given, **named)
        self.score = "Dice" if self.options.validation == "per_frame" else "minus loss"

    def check(self) -> None:
        """An empty validation split is found now, not after the first epoch."""
        traced_frames(self.store, "val")

    def network(self, run_dir: Path) -> tuple[nn.Module, str | None]:
        """Both networks."""
        first, second = (self.build(self.spec, imagenet=self.spec.model.imagenet, seed=self.spec.seed + more)
                         for more in (0, SECOND))
        return Twins(first, second), None

    def batches(self) -> PairBatches:
        """Both traced frames of labelled studies, and as many random frames of unlabelled ones."""
        made = PairBatches(self.store, "train", self.spec, self.stream)
        count = 2 * min(self.spec.train.batch, len(made.items))
        made.beside = RandomFrames(self.store, "train", self.spec, self.stream, made.steps, count)
        return made

    def loss(self, network: nn.Module, batch: PairBatch) -> Tensor:
        """Cross-entropies of both networks on the traced frames, and the weighted agreement on the others."""
        total, found = 0, []
        for which in ({}, {"second": True}):
            diastole, systole = (network(batch.clip[:, :, k:k + 1], **which)[:, 0, 0] for k in (0, 1))
            total = total + halves(diastole, systole, batch.masks)
            found.append(network(batch.beside, **which)[:, 0, 0])
        return total + self.options.weight * cross_pseudo(*found) / 2

    def kept(self, model: nn.Module) -> nn.Module:
        """The first network."""
        return model.first

    def validate(self, model: nn.Module, device: object) -> float:
        """Minus the loss of the validation split's traced frames, or their Dice."""
        if self.options.validation == "per_frame":
            return mean_dice(model, self.store, self.spec, split="val", device=device)
        return -summed_entropy(model, self.store, self.spec, "val", device=device)
