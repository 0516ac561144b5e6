"""Where a network that gives the ejection fraction looks, on the traced frames of a split or at both ends of half cycles."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field, model_validator

from echolib.config.specs import RunSpec, Split
from echolib.data.augment import normalise, to_float
from echolib.data.clips import centred_indices
from echolib.data.store import ClipStore
from echolib.data.truth import read_truth
from echolib.errors import DataError
from echolib.evaluation.attention import TOP, Attention, attended, smooth_gradient
from echolib.evaluation.evaluation import Case, Computed, EvaluationSpec, Inputs, Picture
from echolib.evaluation.kinds.video import grey
from echolib.evaluation.numbers import Filled, mirrored_clip
from echolib.evaluation.whole_video import at_size
from echolib.training.predict import resolve_device

FRAME_COLUMNS = ("study", "patient", "frame", "phase", "dice", "ceiling", "inside", "area", "inside_clip", "area_clip")


class AttentionSpec(EvaluationSpec):
    """A run's attention; see :mod:`echolib.evaluation.attention`.

    One table, ``frames``: a traced frame a row, with Dice of the top pixels, the highest Dice that they could have, the share
    of the frame's attention and of its pixels that lie in the tracing, and the same shares over the whole clip against the
    exact masks of a phantom (NaN elsewhere).
    """

    kind: Literal["attention"] = "attention"
    run: RunSpec
    split: Split = "test"
    studies: int | None = Field(None, ge=1, description="the first so many studies by name; None: all")
    copies: int = Field(8, ge=1, description="of the clip, with noise")
    noise: float = Field(0.1, ge=0, description="standard deviation, as a share of the clip's range")
    filled: Filled = Field("black", description="of half cycles: what follows the mirrored beat")

    tables = ("frames",)

    @model_validator(mode="after")
    def _check(self) -> AttentionSpec:
        if self.run.recipe.gives != "number" or any(self.run.recipe.roles[name].channel for name in self.run.parents):
            raise ValueError(f"the run must give a number from frames alone; {self.run.label!r} does not")
        return self

    @property
    def label(self) -> str:
        """Such as ``attention of r2plus1d_18 32x2 student seed0 on echonet/test``."""
        return f"attention of {self.run.label} on {self.data.cohort}/{self.split}"

    def compute(self, inputs: Inputs) -> Computed:
        """The table of frames; of half cycles every split counts."""
        store = inputs.store
        names = sorted(store.studies.index if self.data.layout == "camus" else
                       store.studies.index[store.studies["split"] == self.split])[:self.studies]
        if not names:
            raise DataError(f"the {self.split} split holds no study to evaluate", value=self.label)
        found = inputs.shown(self._frames(inputs, names), len(names) * 2)
        table = pd.DataFrame([row for row, _ in found], columns=list(FRAME_COLUMNS))
        return Computed({"frames": table}, len(names), len(table), "px")

    def pictures(self, inputs: Inputs, cases: list[Case]) -> dict[Case, Picture]:
        """Traced frames with their top pixels as the mask and the tracing as the exact one."""
        out, store = {}, inputs.store
        for row, one in self._frames(inputs, list(dict.fromkeys(study for study, _ in cases))):
            if (row[0], row[2]) in cases:
                frame = grey(np.asarray(store.video(row[0])[row[2]]))
                out[row[0], row[2]] = Picture(frame, one.top, store.mask(row[0], row[2]))
        return out

    def predicted_frames(self, studies: int, frames: float) -> float:
        """Two clips a study, forward and backward for every copy."""
        count = studies if self.studies is None else min(self.studies, studies)
        return 2 * 3 * count * self.copies * self.run.clip.frames

    def _frames(self, inputs: Inputs, names: list[str]) -> Iterator[tuple[tuple, Attention]]:
        store, place = inputs.store, resolve_device()
        model = inputs.model().to(place).eval()
        for study in names:
            exact = None if inputs.truth is None else at_size(read_truth(inputs.truth, study).masks, store.size)
            for frame, phase, indices, position in self._clips(store, study):
                clip = normalise(to_float(torch.from_numpy(store.clip(study, indices)[None]).to(place)))[0].contiguous()
                seed = zlib.crc32(f"{study} {frame}".encode())
                gradient = smooth_gradient(model, clip, copies=self.copies, noise=self.noise, seed=seed)
                one = attended(gradient[position], store.mask(study, frame), TOP)
                shown = indices >= 0
                whole = (np.nan, np.nan) if exact is None else (
                    float(gradient[shown][exact[indices[shown]]].sum() / max(gradient[shown].sum(), 1e-30)),
                    float(exact[indices[shown]].mean()))
                yield (study, store.studies["patient"][study], frame, phase, one.dice, one.ceiling, one.inside, one.area,
                       *whole), one

    def _clips(self, store: ClipStore, study: str) -> Iterator[tuple[int, str, np.ndarray, int]]:
        """(frame, phase, frame numbers of its clip, where in the clip it is) of both traced frames."""
        length, clip = int(store.studies["frames"][study]), self.run.clip
        for phase in ("ED", "ES"):
            frame = int(store.studies[f"{phase.lower()}_frame"][study])
            if frame < 0:
                raise DataError(f"study {study}: no {phase} frame is traced", file=store.layout)
            if self.data.layout == "camus":
                indices = mirrored_clip(length, clip, self.filled)[0]
                held = np.where(indices >= 0, np.abs(indices - frame), length)
                position = int(held.argmin())
                frame = int(indices[position])
            else:
                indices, position = centred_indices(length, frame, clip.frames, clip.period)
            yield frame, phase, indices, position
