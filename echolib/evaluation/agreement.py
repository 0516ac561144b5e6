"""How well two measurements of the same thing agree: mean absolute error, R2, bias and limits of agreement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from echolib.errors import DataError
from echolib.evaluation.bootstrap import patient_interval


@dataclass(frozen=True)
class Agreement:
    """Found against exact, in the unit of the two.

    Attributes:
        n: pairs; pairs with a missing side do not enter.
        patients: patients that they come from.
        mae, mae_low, mae_high: mean absolute error and its 95 % interval, patients resampled.
        r2: coefficient of determination about the line of identity, 1 - SSE / SST; below 0 is worse than the mean of the
            exact values; NaN when those do not vary.
        bias: mean of found - exact.
        sd: standard deviation of found - exact; NaN for one pair.
        r: Pearson's correlation; NaN where one side does not vary.
    """

    n: int
    patients: int
    mae: float
    mae_low: float
    mae_high: float
    r2: float
    bias: float
    sd: float
    r: float

    @property
    def limits(self) -> tuple[float, float]:
        """Bland and Altman's 95 % limits of agreement, bias -/+ 1.96 sd."""
        return self.bias - 1.96 * self.sd, self.bias + 1.96 * self.sd


def agreement(table: pd.DataFrame, found: str, exact: str, resamples: int = 10_000, seed: int = 0) -> Agreement | None:
    """Agreement of two columns; None when no row has both.

    Args:
        table: one row a measurement, with ``patient`` and the two columns.
        found: column of the measurement.
        exact: column of what is true.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        DataError: a column is missing.
    """
    missing = {"patient", found, exact} - set(table.columns)
    if missing:
        raise DataError("a table of measurements lacks columns", value=", ".join(sorted(missing)))
    pairs = table[["patient", found, exact]].dropna()
    if pairs.empty:
        return None
    gap = pairs[found] - pairs[exact]
    interval = patient_interval(pairs.assign(error=gap.abs()), value="error", resamples=resamples, seed=seed)
    spread = float(((pairs[exact] - pairs[exact].mean()) ** 2).sum())
    return Agreement(n=len(pairs), patients=pairs.patient.nunique(), mae=interval.mean, mae_low=interval.low,
                     mae_high=interval.high, r2=1 - float((gap ** 2).sum()) / spread if spread > 0 else float("nan"),
                     bias=float(gap.mean()), sd=float(np.std(gap, ddof=1)) if len(gap) > 1 else float("nan"),
                     r=_correlation(pairs[found], pairs[exact]))


def _correlation(a: pd.Series, b: pd.Series) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if a.nunique() > 1 and b.nunique() > 1 else float("nan")
