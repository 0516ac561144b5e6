"""Half heart beats of another data set (SimLVSeg, "Out-of-distribution test")."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from echolib.config.specs import RunSpec
from echolib.data.cohort import Cohort
from echolib.evaluation.evaluation import Case, Computed, EvaluationSpec, Inputs, Picture
from echolib.evaluation.half_cycles import TABLES, Aspect, Padding, half_cycles, predict, tables
from echolib.evaluation.kinds.video import grey


class HalfCycleSpec(EvaluationSpec):
    """A run on half cycles; see :mod:`echolib.evaluation.half_cycles`."""

    kind: Literal["half_cycle"] = "half_cycle"
    run: RunSpec
    padding: Padding = Field("before", description="what fills a short clip: black frames before normalisation, as in training "
                                                   "clips; or zeros after it (released), which are mean grey")
    aspect: Aspect = Field("ignored", description="'ignored': frames are resized to a square (paper, released); 'kept': the "
                                                  "longer side fits the square, the rest is black")

    tables = TABLES

    @model_validator(mode="after")
    def _check(self) -> HalfCycleSpec:
        if self.data.layout != "camus":
            raise ValueError(f"half cycles come in CAMUS' layout, not in {self.data.layout!r}")
        if self.run.recipe.gives != "masks":
            raise ValueError(f"the run must be a segmenter; {self.run.label!r} gives {self.run.recipe.gives}")
        return self

    @property
    def label(self) -> str:
        """Such as ``unet3d 32x1 seed0 on camus half cycles, padded after``."""
        options = [f"padded {self.padding}" * (self.padding != "before"), "aspect kept" * (self.aspect != "ignored")]
        return ", ".join([f"{self.run.label} on camus half cycles", *filter(None, options)])

    def compute(self, inputs: Inputs) -> Computed:
        """The half cycles of every study, whatever its split and quality."""
        cycles = half_cycles(inputs.store, self.run.clip.frames, self._cohort(inputs))
        found = predict(inputs.model(), cycles, self.padding)
        made = tables(inputs.store, inputs.shown(found, len(inputs.store.studies)))
        return Computed(made, len(made["studies"]), len(made["frames"]), "px")

    def pictures(self, inputs: Inputs, cases: list[Case]) -> dict[Case, Picture]:
        """Frames by their number in the half cycle; they must be among those that its clip holds."""
        out, wanted = {}, {study for study, _ in cases}
        cycles = (one for one in half_cycles(inputs.store, self.run.clip.frames, self._cohort(inputs)) if one.study in wanted)
        for one, found in predict(inputs.model(), cycles, self.padding):
            for place, number in enumerate(one.numbers.tolist()):
                if (one.study, number) in cases:
                    out[one.study, number] = Picture(grey(one.clip[place]), found[place], one.masks[place])
        return out

    def predicted_frames(self, studies: int, frames: float) -> float:
        """One clip a study, filled up to F frames."""
        return studies * self.run.clip.frames

    def _cohort(self, inputs: Inputs) -> Cohort | None:
        return inputs.cohort() if self.aspect == "kept" else None
