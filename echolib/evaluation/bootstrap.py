"""Intervals and tests of mean Dice.

Two frames of one patient are not independent, so the interval of this book resamples **patients**, each with all its
frames, and takes the 2.5th and 97.5th percentile. The released program of SimLVSeg (after EchoNet-Dynamic's) resamples
**frames** as if independent, pools their pixels into one Dice and takes the 5th and 95th percentile, a 90 % interval;
:func:`legacy_frame_interval` does the same so that printed intervals can be compared with like.

Both are ratios of sums over the units drawn, so a resample needs two sums per unit and no table: 10,000 resamples of
2,552 frames take about half a second, in blocks of bounded memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import wilcoxon

from echolib.errors import DataError

#: Draws held in memory at a time (units x resamples); 2**20 of them are 8 MiB.
BLOCK = 2 ** 20


@dataclass(frozen=True)
class Interval:
    """A mean and its percentile bootstrap interval.

    Attributes:
        mean: the statistic of the sample itself (not the mean of the resamples).
        low, high: ends of the interval.
        n: frames that entered.
        patients: patients that entered.
        level: nominal coverage, such as 0.95.
        unit: what was resampled, ``patients`` or ``frames``.
    """

    mean: float
    low: float
    high: float
    n: int
    patients: int
    level: float
    unit: str


@dataclass(frozen=True)
class PairedTest:
    """Wilcoxon signed-rank test of two sides measured on the same patients.

    Attributes:
        difference: mean over patients of a - b.
        statistic: the smaller of the two rank sums.
        p_value: two-sided; 1 when every patient scores the same on both sides.
        patients: number of pairs.
    """

    difference: float
    statistic: float
    p_value: float
    patients: int


def patient_interval(scores: pd.DataFrame, value: str = "dice", level: float = 0.95, resamples: int = 10_000,
                     seed: int = 0) -> Interval:
    """Percentile bootstrap of a mean over frames, resampling patients.

    Args:
        scores: one row a frame, with the columns ``patient`` and ``value``; frames where ``value`` is NaN do not enter.
            ``value="pooled"`` takes pooled Dice from ``intersection``, ``predicted_px`` and ``traced_px``.
        value: column to average.
        level: nominal coverage, in (0, 1).
        resamples: number of bootstrap resamples.
        seed: of the resampling; the same seed gives the same interval.

    Raises:
        DataError: a column is missing, no frame is left, or an option is out of range.
    """
    _need(scores, ["patient", *(_POOLED if value == "pooled" else [value])])
    top, bottom = _terms(scores, value)
    used = np.isfinite(top) & np.isfinite(bottom)
    codes, _ = pd.factorize(scores["patient"][used])
    if len(codes) == 0:
        raise DataError(f"no frame has a value in column {value!r}; an interval needs at least one")
    tops, bottoms = np.bincount(codes, top[used]), np.bincount(codes, bottom[used])
    mean, low, high = _percentiles(tops, bottoms, level, resamples, seed)
    return Interval(mean, low, high, len(codes), len(tops), level, "patients")


def legacy_frame_interval(scores: pd.DataFrame, resamples: int = 10_000, seed: int = 0) -> Interval:
    """Pooled Dice with the 5th and 95th percentile of resampled frames: how the published intervals were made.

    Args:
        scores: one row a frame: ``patient``, ``intersection``, ``predicted_px``, ``traced_px``.
        resamples: number of bootstrap resamples.
        seed: of the resampling.

    Raises:
        DataError: a column is missing or there is no frame.
    """
    _need(scores, ["patient", *_POOLED])
    if len(scores) == 0:
        raise DataError("no frames; an interval needs at least one")
    mean, low, high = _percentiles(*_terms(scores, "pooled"), 0.90, resamples, seed)
    return Interval(mean, low, high, len(scores), scores["patient"].nunique(), 0.90, "frames")


def paired_test(a: pd.DataFrame, b: pd.DataFrame, value: str = "dice") -> PairedTest:
    """Wilcoxon signed-rank test over patients; a patient's score is the mean over their frames.

    Args:
        a: one row a frame with ``study``, ``patient``, ``frame`` and ``value``.
        b: the same frames scored by the other side, rows in any order.
        value: column to compare.

    Raises:
        DataError: the two tables do not hold the same frames (one that differs is named), or a value is not finite.
    """
    keys = ["study", "frame"]
    for table in (a, b):
        _need(table, [*keys, "patient", value])
        if table.duplicated(keys).any():
            raise DataError("a frame is scored twice", value=tuple(table.loc[table.duplicated(keys), keys].iloc[0]))
    both = a[[*keys, "patient", value]].merge(b[[*keys, value]], on=keys, how="outer", suffixes=("_a", "_b"), indicator=True)
    alone = both[both["_merge"] != "both"]
    if len(alone):
        raise DataError(f"{len(alone)} frames are scored on one side only, the first: study {alone.study.iloc[0]}, "
                        f"frame {alone.frame.iloc[0]}", expected="the same frames on both sides")
    gap = both[f"{value}_a"] - both[f"{value}_b"]
    if not np.isfinite(gap).all() or len(gap) == 0:
        raise DataError(f"a paired test needs finite values of {value!r} on both sides", value=f"{len(gap)} pairs")
    per_patient = gap.groupby(both["patient"]).mean().to_numpy()
    # Averages that are equal up to rounding are ties, not tiny differences with a rank of their own.
    per_patient = np.where(np.abs(per_patient) < 1e-12, 0.0, per_patient)
    if not per_patient.any():
        return PairedTest(0.0, 0.0, 1.0, len(per_patient))
    result = wilcoxon(per_patient)
    return PairedTest(float(per_patient.mean()), float(result.statistic), float(result.pvalue), len(per_patient))


def resampled_patients(patients: pd.Series, resamples: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Rows of a table whose patients are drawn with replacement, each with all its rows: ``(k,)`` int, one array a resample."""
    codes, names = pd.factorize(patients)
    rows = [np.flatnonzero(codes == code) for code in range(len(names))]
    rng = np.random.default_rng([seed, len(names)])
    for _ in range(resamples):
        yield np.concatenate([rows[code] for code in rng.integers(0, len(names), len(names))])


_POOLED = ["intersection", "predicted_px", "traced_px"]


def _terms(scores: pd.DataFrame, value: str) -> tuple[np.ndarray, np.ndarray]:
    """Numerator and denominator of each frame: the statistic is the ratio of their sums."""
    if value == "pooled":
        i, p, t = (scores[c].to_numpy(np.float64) for c in _POOLED)
        return 2 * i, p + t
    top = scores[value].to_numpy(np.float64)
    return top, np.ones(len(top))


def _percentiles(top: np.ndarray, bottom: np.ndarray, level: float, resamples: int, seed: int) -> tuple[float, float, float]:
    if not 0 < level < 1 or resamples < 1:
        raise DataError("not a bootstrap", value=f"level {level}, {resamples} resamples", expected="0 < level < 1, 1 or more")
    rng = np.random.default_rng([seed, len(top)])
    ratios = np.empty(resamples)
    step = max(1, BLOCK // len(top))
    for first in range(0, resamples, step):
        drawn = rng.integers(0, len(top), size=(min(step, resamples - first), len(top)), dtype=np.int32)
        ratios[first:first + len(drawn)] = _ratio(top[drawn].sum(1), bottom[drawn].sum(1))
    low, high = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2])
    return float(_ratio(top.sum(), bottom.sum())), float(low), float(high)


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Pooled Dice of nothing but empty masks is 1, as for a single pair of empty masks."""
    return np.divide(top, bottom, out=np.ones_like(np.asarray(top, np.float64)), where=bottom > 0)


def _need(table: pd.DataFrame, columns: list[str]) -> None:
    missing = [c for c in columns if c not in table.columns]
    if missing:
        raise DataError("a table of scores lacks columns", value=", ".join(missing), expected=", ".join(columns))
