"""A segmenter's features, or the pixels themselves, on clips of two beats and more, against the true phase of every frame."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from echolib.config.specs import Split
from echolib.data.truth import read_truth
from echolib.errors import DataError
from echolib.evaluation.cycle import (
    MATCH_COLUMNS,
    STUDY_COLUMNS,
    clip_features,
    distances,
    embedding,
    match_table,
    phase_correlation,
    separation,
)
from echolib.evaluation.evaluation import Computed, EvaluationSpec, Inputs
from echolib.losses.css import Cycle
from echolib.training.cycle_batches import long_enough
from echolib.training.predict import resolve_device


class CycleSpec(EvaluationSpec):
    """A frame-by-frame segmenter, or with no run the pixels, on the first clip of each test video that is long enough.

    Small tables: ``studies`` (means over the starting points, and how features follow the phase from beat to beat),
    ``matches`` (one row a starting point), ``embedding`` (t-SNE of ``drawn`` studies: study, frame, phase, x, y), ``apart``
    (one row: how far apart the features of different studies lie). Compact: ``distances`` of every two frames of the drawn
    studies.
    """

    kind: Literal["cycle"] = "cycle"
    split: Split = "test"
    studies: int | None = Field(None, ge=1, description="the first so many studies by name that are long enough; None: all")
    drawn: int = Field(6, ge=1, description="studies whose features are drawn")
    frames: int = Field(40, ge=4, description="of the clip")
    period: int = Field(3, ge=1)
    template: int = Field(15, ge=2)
    length: int = Field(3, ge=1)
    offset: int = Field(2, ge=0)
    temperature: float = Field(10.0, gt=0)
    candidates: Literal["template", "inside"] = "template"
    scale: float | Literal["spread"] = "spread"

    tables = ("studies", "matches", "embedding", "apart")
    bulk = ("distances",)
    compact = ("distances",)

    @model_validator(mode="after")
    def _check(self) -> CycleSpec:
        if self.run is not None and self.run.recipe.gives != "masks":
            raise ValueError(f"the run must be a segmenter; {self.run.label!r} gives {self.run.recipe.gives}")
        if self.data.phantom is None:
            raise ValueError("the true phase of a frame is known of phantoms alone")
        self.cycle.searched(self.frames)
        return self

    @property
    def cycle(self) -> Cycle:
        """What is matched with what."""
        return Cycle(length=self.length, offset=self.offset, temperature=self.temperature, template=self.template,
                     candidates=self.candidates, scale=self.scale)

    @property
    def label(self) -> str:
        """Such as ``cycle of deeplabv3_r50 1x1 cyclic seed0 on arrhythmia/test``."""
        return f"cycle of {self.run.label if self.run else 'pixels'} on {self.data.cohort}/{self.split}"

    def compute(self, inputs: Inputs) -> Computed:
        """All tables. DataError if no video is long enough."""
        store, place = inputs.store, resolve_device()
        every = sorted(store.studies.index[store.studies["split"] == self.split])
        names = long_enough(store, every, self.frames, self.period)[:self.studies]
        if not names:
            raise DataError(f"no video of the {self.split} split holds {self.frames} frames at period {self.period}",
                            value=f"{len(every)} videos", expected=f"{(self.frames - 1) * self.period + 1} frames")
        model = None if self.run is None else inputs.model().to(place).eval()
        indices = np.arange(self.frames) * self.period
        matches, studies, features, phases = [], [], {}, {}
        for name in inputs.shown(names, len(names)):
            phase = read_truth(inputs.truth, name).phase[indices]
            found, patient = clip_features(model, store, name, indices, place), store.studies["patient"][name]
            table = match_table(name, patient, found, phase, self.cycle)
            matches.append(table)
            means = [float(table[column].mean()) for column in ("error", "soft_error", "entropy", "loss", "came_round")]
            beat = self.period * (self.frames - 1) / max(float((np.diff(phase) % 1).sum()), 1e-9)
            studies.append((name, patient, *means, phase_correlation(found, phase), beat))
            if len(features) < self.drawn:
                features[name], phases[name] = found, phase
        drawn = list(features)
        points = embedding(list(features.values()))
        placed = pd.DataFrame({"study": np.repeat(drawn, self.frames), "frame": np.tile(indices, len(drawn)),
                               "phase": np.concatenate(list(phases.values())), "x": points[:, 0], "y": points[:, 1]})
        between = separation(list(features.values())) if len(drawn) > 1 else np.nan
        apart = pd.DataFrame({"studies": [len(drawn)], "separation": [between], "short": [len(every) - len(
            long_enough(store, every, self.frames, self.period))]})
        i, j = np.indices((self.frames, self.frames)).reshape(2, -1)
        far = pd.concat([pd.DataFrame({"study": name, "i": i.astype("int16"), "j": j.astype("int16"),
                                       "distance": distances(found).ravel().astype("float32")})
                         for name, found in features.items()], ignore_index=True)
        tables = {"studies": pd.DataFrame(studies, columns=list(STUDY_COLUMNS)), "embedding": placed, "apart": apart,
                  "matches": pd.concat(matches, ignore_index=True)[list(MATCH_COLUMNS)]}
        return Computed(tables, len(names), len(names) * self.frames, "beats", {"distances": far})

    def predicted_frames(self, studies: int, frames: float) -> float:
        """One clip a study."""
        return 0.0 if self.run is None else min(self.studies or studies, studies) * self.frames
