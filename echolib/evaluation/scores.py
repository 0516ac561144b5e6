"""What a trained network is worth on the test split, by what it gives.

``masks``: Dice of the traced frames. ``number``: the error of one number a study, the ejection fraction. ``clip``: nothing is
scored. Each kind has its own table (one row a frame, or a study) and its own record of scores.
"""

from __future__ import annotations

import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from echolib.config.specs import Output, RunSpec
from echolib.data.frame_masks import FrameMasks
from echolib.data.store import ClipStore
from echolib.errors import DataError
from echolib.evaluation.agreement import agreement
from echolib.evaluation.bootstrap import legacy_frame_interval, patient_interval
from echolib.evaluation.inference import score_split
from echolib.training.predict import predicted_numbers

PHASES = ("overall", "ES", "ED")


class Score(BaseModel):
    """Dice (fraction) of one phase of the test split, with both intervals.

    ``mean`` is the mean over frames with its 95 % interval (patients resampled); ``pooled`` is the released program's
    2 sum(I) / sum(P + T) with its 5th and 95th percentile (frames resampled).
    """

    model_config = ConfigDict(extra="forbid")

    mean: float
    low: float
    high: float
    pooled: float
    pooled_low: float
    pooled_high: float
    frames: int
    patients: int


class NumberScore(BaseModel):
    """Error of the ejection fraction (points of %) on the test split.

    ``mae`` has its 95 % interval, patients resampled; ``r2`` is about the line of identity (NaN where the truth does not vary).
    """

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="constants")

    mae: float
    mae_low: float
    mae_high: float
    rmse: float
    r2: float
    bias: float
    studies: int
    patients: int


AnyScore = Score | NumberScore


def score_table(network: nn.Module, store: ClipStore, spec: RunSpec, split: str = "test",
                device: str | torch.device = "auto", *, beside: FrameMasks | None = None) -> pd.DataFrame | None:
    """The table of scores of a run's network: :func:`~echolib.evaluation.inference.score_split` for masks,
    :func:`~echolib.training.predict.predicted_numbers` for a number, None for a clip. ``beside`` are masks that
    the network takes as a further channel."""
    if spec.recipe.gives == "masks":
        return score_split(network, store, spec, split=split, device=device)
    if spec.recipe.gives == "number":
        return predicted_numbers(network, store, spec, split=split, device=device, beside=beside)
    return None


def summarise(gives: Output, table: pd.DataFrame, resamples: int, seed: int = 0) -> dict[str, AnyScore]:
    """The record of a table of :func:`score_table`: Dice by phase, or the one score ``ef``.

    Raises:
        DataError: no study has a label to compare with.
    """
    if gives == "number":
        found = agreement(table, "predicted_ef", "ef", resamples=resamples, seed=seed)
        if found is None:
            raise DataError("no study of the test split has an ejection fraction to compare with")
        rmse = float(((table.predicted_ef - table.ef) ** 2).mean() ** 0.5)
        return {"ef": NumberScore(mae=found.mae, mae_low=found.mae_low, mae_high=found.mae_high, rmse=rmse, r2=found.r2,
                                  bias=found.bias, studies=found.n, patients=found.patients)}
    out = {}
    for phase in PHASES:
        part = table if phase == "overall" else table[table.phase == phase]
        ours = patient_interval(part, value="dice", resamples=resamples, seed=seed)
        legacy = legacy_frame_interval(part, resamples=resamples, seed=seed)
        out[phase] = Score(mean=ours.mean, low=ours.low, high=ours.high, pooled=legacy.mean, pooled_low=legacy.low,
                           pooled_high=legacy.high, frames=len(part), patients=part.patient.nunique())
    return out
