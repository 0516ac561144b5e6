"""The threshold-and-fill baseline on the traced frames of a split: what a program without training reaches."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from echolib.config.specs import Split
from echolib.data.store import ClipStore
from echolib.evaluation.baseline import threshold_and_fill
from echolib.evaluation.evaluation import Computed, EvaluationSpec, Inputs
from echolib.evaluation.metrics import dice


class ThresholdSpec(EvaluationSpec):
    """Smooth, threshold, fill, keep the largest dark region; nothing is trained."""

    kind: Literal["threshold"] = "threshold"
    run: None = None
    split: Split = "test"

    tables = ("scores",)

    @property
    def label(self) -> str:
        """Such as ``threshold and fill on echonet/test``."""
        return f"threshold and fill on {self.data.cohort}/{self.split}"

    def compute(self, inputs: Inputs) -> Computed:
        """One table, ``scores``, see :func:`scores_of`."""
        scores = scores_of(inputs.store, self.split)
        return Computed({"scores": scores}, scores.study.nunique(), len(scores), "px")


def scores_of(store: ClipStore, split: Split = "test") -> pd.DataFrame:
    """Scores of the baseline on the traced frames of a split, one row a frame.

    Returns:
        Columns study, patient, frame, phase, dice, intersection, predicted_px, traced_px, as in
        :func:`echolib.evaluation.inference.score_split`.
    """
    rows = []
    for study, frames in store.labels.groupby("study"):
        if store.studies.split[study] != split:
            continue
        masks = threshold_and_fill(np.asarray(store.video(study)))
        for label in frames.itertuples():
            truth = store.mask(study, label.frame)
            both = int((masks[label.frame] & truth).sum())
            rows.append({"study": study, "patient": store.studies.patient[study], "frame": label.frame, "phase": label.phase,
                         "dice": dice(masks[label.frame], truth), "intersection": both,
                         "predicted_px": int(masks[label.frame].sum()), "traced_px": int(truth.sum())})
    return pd.DataFrame(rows)
