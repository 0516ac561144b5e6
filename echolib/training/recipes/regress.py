"""The ejection fraction from a clip (Ouyang et al., Nature 2020), with the masks of a segmenter as a fourth channel where one is
named: the video-only network, and f_m of CSS (Dai et al., IEEE TMI 2023, eq. 10).

Random clips of the labelled studies, mean squared error. Where ``masks`` names a finished segmenter, its masks of every frame (a
product, made once) are 1 inside and -1 outside, and are moved with the frames in augmentation; the released program takes
2 sigmoid(logit) - 1 instead, and pads it with 0. The last layer's bias begins at the mean of the labelled ejection fractions
(55.6 in the released program). The network starts from Kinetics-400 weights or at random, and the news of a run says which.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from echolib.config.specs import RecipeOptions, Role
from echolib.training.number_batches import Clips, NumberBatch, NumberBatches
from echolib.training.number_network import NumberNetwork
from echolib.training.recipe import Recipe

#: The segmenter whose masks are a fourth channel.
MASKS = Role(takes=("masks",), product="masks", channel=True)


class Regress(RecipeOptions):
    """Where the network starts, and which clips it sees."""

    kind: Literal["regress"] = "regress"
    start: Literal["random", "kinetics"] = "random"
    spread: float = Field(1.0, gt=0, description="points of EF that the last layer's unit stands for")
    clips: Clips = Field("any", description="'traced': such that hold a traced frame")

    gives = "number"
    stage = "ef"
    roles = {"masks": MASKS}


class RegressRecipe(NumberNetwork, Recipe):
    """Trains on labelled studies; the epoch of lowest validation error is kept."""

    Options = Regress
    stream = 13

    def batches(self) -> NumberBatches:
        """Clips of labelled studies."""
        return NumberBatches(self.store, self.spec, self.stream, self.beside(), self.options.clips)

    def loss(self, network: nn.Module, batch: NumberBatch) -> Tensor:
        """Mean squared error, points squared."""
        return F.mse_loss(network(batch.clip).float(), batch.ef)
