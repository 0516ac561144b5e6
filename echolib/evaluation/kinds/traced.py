"""The traced ED and ES frames of a split, measured as PKEcho-Net and SSCF measure them; see :mod:`echolib.evaluation.traced`."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from echolib.config.specs import RunSpec, Split
from echolib.data.store import ClipStore
from echolib.errors import DataError
from echolib.evaluation.evaluation import Case, Computed, EvaluationSpec, Inputs, Picture
from echolib.evaluation.kinds.video import grey, own_split
from echolib.evaluation.traced import FRAME_COLUMNS, STUDY_COLUMNS, Clips, measured, predicted


class TracedSpec(EvaluationSpec):
    """A run on the traced frames of a split; on its own data the split is that of the run's subset."""

    kind: Literal["traced"] = "traced"
    run: RunSpec
    split: Split = "test"
    clips: Clips = Field("centred", description="'ends': one clip a study from ED to ES, as PKEcho-Net is tested")
    across: bool = Field(False, description="the clips of a batch see each other, in networks that can do so (PKEcho-Net as "
                                            "released)")
    batch: int = Field(8, ge=1, description="clips of a pass; decides the result only with 'across'")

    tables = ("studies", "frames")

    @model_validator(mode="after")
    def _check(self) -> TracedSpec:
        if self.run.recipe.gives != "masks":
            raise ValueError(f"the run must be a segmenter; {self.run.label!r} gives {self.run.recipe.gives}")
        return self

    @property
    def label(self) -> str:
        """Such as ``pkecho_r18 10x2 seed0 on traced frames of camus/test, from ED to ES``."""
        options = ["from ED to ES"] * (self.clips == "ends") + ["clips together"] * self.across
        return ", ".join([f"{self.run.label} on traced frames of {self.data.cohort}/{self.split}", *options])

    def compute(self, inputs: Inputs) -> Computed:
        """Tables ``studies`` and ``frames``, see :func:`echolib.evaluation.traced.measured`."""
        store, studies, frames = own_split(inputs.store, self.run, self.data), [], []
        count = int((store.studies.split == self.split).sum())
        for one in inputs.shown(self._predicted(inputs, store), count):
            rows, row = measured(store, inputs.truth, one)
            frames += rows
            studies.append(row)
        tables = {"studies": pd.DataFrame(studies, columns=list(STUDY_COLUMNS)),
                  "frames": pd.DataFrame(frames, columns=list(FRAME_COLUMNS))}
        return Computed(tables, len(studies), len(frames), "px")

    def pictures(self, inputs: Inputs, cases: list[Case]) -> dict[Case, Picture]:
        """Traced frames with the network's outline and the traced one."""
        store, out, wanted = own_split(inputs.store, self.run, self.data), {}, set(cases)
        if not self.across:  # a clip by itself is predicted alike whatever else is in its batch
            store = store.view(store.studies[store.studies.index.isin([study for study, _ in cases])], store.labels)
        for one in self._predicted(inputs, store):
            for frame, logits in zip(one.frames.tolist(), one.logits, strict=True):
                if (one.study, frame) in wanted:
                    shown = grey(np.asarray(store.video(one.study)[frame]))
                    out[one.study, frame] = Picture(shown, logits > 0, store.mask(one.study, frame))
        return out

    def predicted_frames(self, studies: int, frames: float) -> float:
        """A clip a study, or one for each traced frame."""
        return studies * self.run.clip.frames * (1 if self.clips == "ends" else 2)

    def _predicted(self, inputs: Inputs, store: ClipStore):
        model = inputs.model()
        if self.across:
            if not hasattr(model, "across_at_test"):
                raise DataError(f"the clips of a batch cannot see each other in {self.run.model.name}", value="across",
                                expected="a network with attention over the videos of a batch")
            model.across_at_test = "batch"
        leave_out = getattr(self.run.recipe, "too_short", "refuse") == "leave_out"
        return predicted(model, store, self.run.clip, self.split, self.clips, batch=self.batch, leave_out=leave_out)
