"""How much each frame of a clip decides what a network says about the traced one: the frame is replaced by another patient's."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from echolib.config.specs import ClipSpec, RunSpec, Split
from echolib.data.augment import normalise, to_float
from echolib.data.clips import centred_indices
from echolib.data.store import ClipStore
from echolib.errors import DataError
from echolib.evaluation.evaluation import Computed, EvaluationSpec, Inputs
from echolib.evaluation.kinds.video import own_split
from echolib.losses.simlvseg import select_traced
from echolib.training.predict import resolve_device, traced_frames

#: Traced frames of a split that are looked at.
FRAMES = 32


class InfluenceSpec(EvaluationSpec):
    """A run on traced frames of a split, each at the centre of its clip, with one frame of the clip replaced at a time."""

    kind: Literal["influence"] = "influence"
    run: RunSpec
    split: Split = "test"
    reach: int = Field(2, ge=0, description="frames before and after the traced one that are replaced")

    tables = ("studies",)

    @model_validator(mode="after")
    def _check(self) -> InfluenceSpec:
        if self.run.recipe.gives != "masks":
            raise ValueError(f"the run must be a segmenter; {self.run.label!r} gives {self.run.recipe.gives}")
        return self

    @property
    def label(self) -> str:
        """Such as ``sscf 3x1 seed0, influence of frames on echonet/test``."""
        return f"{self.run.label}, influence of frames on {self.data.cohort}/{self.split}"

    def compute(self, inputs: Inputs) -> Computed:
        """One table, ``studies``, see :func:`influences`; one row for each traced frame and place."""
        store = own_split(inputs.store, self.run, self.data)
        table = influences(inputs.model(), store, self.run.clip, self.split, self.reach)
        return Computed({"studies": table}, table.study.nunique(), len(table.groupby(["study", "frame"])), "px")

    def predicted_frames(self, studies: int, frames: float) -> float:
        """A clip as it is, and one for each place."""
        places = min(self.run.clip.frames, 2 * self.reach + 1)
        return min(FRAMES, 2 * studies) * self.run.clip.frames * (1 + places)


@torch.no_grad()
def influences(model: nn.Module, store: ClipStore, clip: ClipSpec, split: str, reach: int, device: str = "auto") -> pd.DataFrame:
    """Change of the traced frame's logits when one frame of its clip is the next study's.

    Args:
        model: a segmenter; put into evaluation mode, its mode is restored.
        store: the cohort.
        clip: frames and period.
        split: whose traced frames; the first :data:`FRAMES`.
        reach: how far from the traced frame.
        device: torch device.

    Returns:
        Columns study, patient, frame, ``place`` (frames of the clip from the traced one, negative: before), ``change``: root mean
        square of the change over the standard deviation of the logits.

    Raises:
        DataError: the split has one study, so there is no other to take a frame from.
    """
    labels, device = traced_frames(store, split).head(FRAMES), resolve_device(device)
    names = sorted(set(labels.study))
    if len(names) < 2:
        raise DataError("no other study to take a frame from", value=f"{len(names)} study in the {split} split", expected="two")
    other, was_training, rows = dict(zip(names, [*names[1:], names[0]], strict=True)), model.training, []
    model.to(device).eval()
    try:
        for row in labels.itertuples():
            indices, position = centred_indices(int(store.studies.frames[row.study]), int(row.frame), clip.frames, clip.period)
            own = _clip(store, row.study, indices, device)
            source = other[row.study]
            there, _ = centred_indices(int(store.studies.frames[source]), int(store.studies.frames[source]) // 2, clip.frames,
                                       clip.period)
            strange = _clip(store, source, there, device)
            where = torch.tensor([position], device=device)
            before = select_traced(model(own), where)
            spread = float(before.std())
            for place in range(max(-reach, -position), min(reach, clip.frames - 1 - position) + 1):
                changed = own.clone()
                changed[:, :, position + place] = strange[:, :, position + place]
                change = float((select_traced(model(changed), where) - before).square().mean().sqrt())
                rows.append({"study": row.study, "patient": store.studies.patient[row.study], "frame": int(row.frame),
                             "place": place, "change": change / spread if spread > 0 else np.nan})
    finally:
        model.train(was_training)
    return pd.DataFrame(rows)


def _clip(store: ClipStore, study: str, indices: np.ndarray, device: torch.device) -> Tensor:
    return normalise(to_float(torch.from_numpy(store.clip(study, indices))[None].to(device))).contiguous()
