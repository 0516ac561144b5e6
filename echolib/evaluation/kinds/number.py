"""The ejection fraction that a network gives without masks at the end, clip by clip, of whole videos or half cycles."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from echolib.config.specs import RunSpec, Split
from echolib.errors import DataError
from echolib.evaluation.evaluation import Computed, EvaluationSpec, Inputs
from echolib.evaluation.numbers import Filled, mirrored_clip, predicted, tables, video_clips


class NumberSpec(EvaluationSpec):
    """A run on a split of videos, or on all half cycles of a cohort in CAMUS' layout; see :mod:`echolib.evaluation.numbers`."""

    kind: Literal["number"] = "number"
    run: RunSpec
    split: Split = "test"
    stride: int = Field(16, ge=1, description="frames of the video between the starts of two clips")
    filled: Filled = Field("black", description="of half cycles: what follows the mirrored beat")

    tables = ("studies", "clips")

    @model_validator(mode="after")
    def _check(self) -> NumberSpec:
        if self.run.recipe.gives != "number":
            raise ValueError(f"the run must give a number; {self.run.label!r} gives {self.run.recipe.gives}")
        return self

    @property
    def label(self) -> str:
        """Such as ``r2plus1d_18 32x2 student seed0 on echonet/test``."""
        where = "camus half cycles, mirrored" if self.data.layout == "camus" else f"{self.data.cohort}/{self.split}"
        return f"{self.run.label} on {where}" + ", repeated" * (self.filled == "repeat")

    def compute(self, inputs: Inputs) -> Computed:
        """Tables of studies and clips; of half cycles every study, whatever its split."""
        store, clip = inputs.store, self.run.clip
        names = sorted(store.studies.index if self.data.layout == "camus" else
                       store.studies.index[store.studies["split"] == self.split])
        if not names:
            raise DataError(f"the {self.split} split holds no study to evaluate", value=self.label)
        lengths = [int(store.studies["frames"][name]) for name in names]
        clips = [(name, mirrored_clip(n, clip, self.filled) if self.data.layout == "camus" else video_clips(n, clip, self.stride))
                 for name, n in zip(names, lengths, strict=True)]
        made = tables(store, inputs.shown(predicted(inputs.model(), store, clips, inputs.beside()), len(names)))
        return Computed(made, len(names), sum(lengths), "%")

    def predicted_frames(self, studies: int, frames: float) -> float:
        """Clips of a video at the stride, or one of a half cycle."""
        if self.data.layout == "camus":
            return studies * self.run.clip.frames
        starts = max(0.0, frames - (self.run.clip.frames - 1) * self.run.clip.period)
        return studies * self.run.clip.frames * (1 + starts // self.stride)
