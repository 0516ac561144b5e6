"""Whole videos of a split; without a run the exact masks take the network's place, and what is left of the error is that of the
beat finder and of the disks."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from echolib.config.specs import ClipSpec, DataSpec, RunSpec, Split
from echolib.data.store import ClipStore
from echolib.data.subsets import restricted
from echolib.data.truth import read_truth
from echolib.errors import DataError
from echolib.evaluation.evaluation import Case, Computed, EvaluationSpec, Inputs, Picture
from echolib.evaluation.inference import segment_studies
from echolib.evaluation.study_measures import study_measures
from echolib.evaluation.whole_video import at_size, beat_table, frame_tables, study_table, unit_of


class VideoSpec(EvaluationSpec):
    """A run, or the exact masks, on whole videos."""

    kind: Literal["video"] = "video"
    split: Split = "test"
    studies: int | None = Field(None, ge=1, description="the first so many studies by name; None: all")
    overlap: bool = Field(False, description="windows that overlap by half: smoother, for twice the work")
    period: int | None = Field(None, ge=1, le=32, description="of the windows; None: that of the run's clips")

    tables = ("studies", "beats")
    bulk = ("frames", "areas")
    compact = ("areas",)

    @property
    def label(self) -> str:
        """Such as ``unet3d 32x1 seed0 on arrhythmia/test``."""
        return f"{self.run.label if self.run else 'exact masks'} on {self.data.cohort}/{self.split}"

    @property
    def clip(self) -> ClipSpec | None:
        """Frames and period of a window."""
        if self.run is None or self.period is None:
            return None if self.run is None else self.run.clip
        return ClipSpec(frames=self.run.clip.frames, period=self.period)

    def compute(self, inputs: Inputs) -> Computed:
        """Tables of studies, beats and frames, see :mod:`echolib.evaluation.whole_video` and ``study_measures``."""
        store = own_split(inputs.store, self.run, self.data)
        names = sorted(store.studies.index[store.studies.split == self.split])[:self.studies]
        if not names:
            raise DataError(f"the {self.split} split holds no study to evaluate", value=self.label)
        model, clip = (None, None) if self.run is None else (inputs.model(), self.clip)
        unit = unit_of(store, names, inputs.truth)
        found = frame_tables(store, names, inputs.truth, model, clip, overlap=self.overlap, unit=unit)
        frames = pd.concat(inputs.shown(found, len(names)), ignore_index=True)
        studies = study_table(frames, store).merge(study_measures(frames, store), on="study", validate="one_to_one")
        tables = {"studies": studies, "beats": beat_table(frames, store)}
        return Computed(tables, len(studies), len(frames), unit, {"frames": frames, "areas": areas_of(frames)})

    def pictures(self, inputs: Inputs, cases: list[Case]) -> dict[Case, Picture]:
        """Frames with the outlines of the run."""
        store, studies, out = inputs.store, list(dict.fromkeys(study for study, _ in cases)), {}
        exact = {} if inputs.truth is None else {s: at_size(read_truth(inputs.truth, s).masks, store.size) for s in studies}
        if self.run is None:
            masks = iter([exact[s] for s in studies])
        else:
            masks = segment_studies(inputs.model(), store, studies, self.clip, overlap=self.overlap)
        for study, found in zip(studies, masks, strict=True):
            traced = set(store.labels.frame[store.labels.study == study])
            for frame in (frame for other, frame in cases if other == study):
                true = exact[study][frame] if exact else store.mask(study, frame) if frame in traced else None
                out[study, frame] = Picture(grey(np.asarray(store.video(study)[frame])), found[frame], true)
        return out

    def predicted_frames(self, studies: int, frames: float) -> float:
        """Every frame once, or twice where windows overlap; a window of one frame has nothing to overlap with."""
        if self.run is None:
            return 0.0
        count = studies if self.studies is None else min(self.studies, studies)
        return count * frames * (2 if self.overlap and self.run.clip.frames > 1 else 1)


def own_split(store: ClipStore, run: RunSpec | None, data: DataSpec) -> ClipStore:
    """The cohort as a run divides it where it is the run's own (a fold's test split, say), else as it is."""
    return store if run is None or data != run.data else restricted(store, run.subset)


def areas_of(frames: pd.DataFrame) -> pd.DataFrame:
    """The area curves alone: study, frame, area_px, exact_area_px (float32, NaN on real data)."""
    table = frames[["study", "frame", "area_px", "exact_area_px"]]
    return table.astype({"frame": "int32", "area_px": "float32", "exact_area_px": "float32"})


def grey(frame: np.ndarray) -> np.ndarray:
    """(H, W, C) uint8 -> (H, W) uint8."""
    return frame.mean(-1).round().astype(np.uint8)
