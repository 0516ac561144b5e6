"""Teacher-student distillation of the ejection fraction (CSS, Dai et al., IEEE TMI 2023, section III-B, eq. 11-13): step 3.

The student sees frames alone. On labelled clips it has the label; on unlabelled ones what the frozen teacher says, which may see
the masks of a segmenter beside the frames (``masks``: the segmenter that the teacher was trained with). Unlabelled and labelled
clips go through the student one after the other, as in the released program; the teacher predicts in evaluation mode.

``start``: the student's weights are the ``teacher``'s with the first three of its input channels (released), or begin afresh as
the teacher's did (paper: not said). ``halved``: the released program halves the unlabelled term. ``clips``: there every clip
holds a traced frame, also of studies that count as unlabelled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from echolib.config.specs import RecipeOptions, Role
from echolib.data.frame_masks import FrameMasks
from echolib.errors import TrainingError
from echolib.losses.css import distillation
from echolib.models.video_resnet import with_channels
from echolib.training.number_batches import Clips, NumberBatch, NumberBatches, UnlabelledClips
from echolib.training.number_network import NumberNetwork
from echolib.training.recipe import Recipe


class Distil(RecipeOptions):
    """The weight of the teacher, where the student starts, and which clips both see."""

    kind: Literal["distil"] = "distil"
    weight: float = Field(5.0, ge=0, description="w_ulb, of the unlabelled clips' error")
    halved: bool = Field(False, description="the unlabelled term counts half (released)")
    unlabelled: int = Field(10, ge=1, description="unlabelled clips of a step")
    start: Literal["teacher", "random", "kinetics"] = Field("teacher", description="'teacher': released")
    spread: float = Field(1.0, gt=0, description="points of EF that the last layer's unit stands for")
    clips: Clips = Field("any", description="'traced': such that hold a traced frame (released)")

    gives = "number"
    stage = "student"
    roles = {"teacher": Role(takes=("number",), required=True, same_network=True),
             "masks": Role(takes=("masks",), product="masks")}


class DistilRecipe(NumberNetwork, Recipe):
    """Trains a student on labels and on what a frozen teacher says; the epoch of lowest validation error is kept."""

    Options = Distil
    stream = 14

    def __init__(self, *given: object, **named: object) -> None:
        super().__init__(*given, **named)
        taught_with = self.spec.parents["teacher"].parents.get("masks")
        mine = self.spec.parents.get("masks")
        if (taught_with and taught_with.key) != (mine and mine.key):
            theirs, ours = (f"those of run {one.key}" if one else "none" for one in (taught_with, mine))
            raise TrainingError(f"{self.spec.label}: the teacher was trained with masks, {theirs}, and is to teach with {ours}; "
                                "expected the same segmenter as 'masks' of both")
        self.teacher = self.parents["teacher"].network()

    def network(self, run_dir: Path) -> tuple[nn.Module, str | None]:
        """The student."""
        if self.options.start != "teacher":
            return self.fresh(self.spec.seed)
        model = self.build(self.spec, seed=self.spec.seed)
        model.load_state_dict(with_channels(self.parents["teacher"].state(), 3))
        return model, f"starts from its teacher, run {self.spec.parents['teacher'].key}"

    def batches(self) -> NumberBatches:
        """Labelled clips, and unlabelled ones with the masks that the teacher sees."""
        product = self.parents["masks"].product if "masks" in self.parents else None
        masks = None if product is None else FrameMasks.open(product, self.store)
        made = NumberBatches(self.store, self.spec, self.stream, clips=self.options.clips)
        made.beside = UnlabelledClips(self.store, self.spec, self.stream, made.steps, self.options.unlabelled, masks,
                                      self.options.clips)
        return made

    def place(self, device: torch.device) -> None:
        """The teacher."""
        self.teacher.to(device)

    def loss(self, network: nn.Module, batch: NumberBatch) -> Tensor:
        """Both mean squared errors."""
        with torch.no_grad(), torch.autocast(batch.clip.device.type, torch.bfloat16, enabled=self.spec.precision == "bf16-mixed"):
            taught = self.teacher(batch.beside)
        unlabelled = network(batch.beside[:, :3])
        weight = self.options.weight / (2 if self.options.halved else 1)
        return distillation(network(batch.clip), batch.ef, unlabelled, taught, weight)
