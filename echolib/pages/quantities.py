"""Numbers of a published table that are no Dice of a run: distances, areas under curves, agreement of ejection fractions.

A :class:`Quantity` says which column of an evaluation's table it is taken from and how; :func:`estimate` gives it over seeds
and patients with a 95 % interval, :func:`cells` beside what was published. Seeds may have been tested on different patients
(their own divisions of a cohort); a resample draws patients and seeds, and a seed counts those of its own patients that are
drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from echolib.config.profile import Profile
from echolib.config.specs import DataSpec
from echolib.pages.scorecard import Cell
from echolib.pages.verdict import Verdict, value_verdict

#: One for each seed: tables by name, such as those of an evaluation.
Tables = list[Mapping[str, pd.DataFrame]]
#: Rows of the matrix of resamples that are held at once.
BLOCK = 1000


@dataclass(frozen=True)
class Quantity:
    """How a number comes out of a table with one row a frame or a study and a column ``patient``.

    Attributes:
        heading: of its column.
        table: ``frames`` or ``studies``.
        value: the column that is averaged, or compared with ``exact``.
        exact: the column that holds what is true; "" for a mean.
        statistic: mean of ``value``; or of value against exact: Pearson's r, the mean (bias) or the standard deviation (sd) of
            value - exact, the size of the mean (size), the mean absolute error (mae), the root mean square error (rmse), the
            coefficient of determination about the line of identity (r2).
        factor: to the published unit.
        decimals: as printed.
    """

    heading: str
    table: str
    value: str
    exact: str = ""
    statistic: Literal["mean", "r", "bias", "sd", "size", "mae", "rmse", "r2"] = "mean"
    factor: float = 1.0
    decimals: int = 2


@dataclass(frozen=True)
class Estimate:
    """A number over seeds and patients; NaN where it is not defined.

    Attributes:
        value: mean over the seeds.
        low, high: 95 % interval, seeds and patients resampled.
        rows: frames or studies with a value, of all seeds together.
        patients: patients that they come from.
        spread: standard deviation between the seeds; NaN for one.
    """

    value: float
    low: float
    high: float
    rows: int
    patients: int
    spread: float


def estimate(seeds: Tables, quantity: Quantity, resamples: int, seed: int = 0) -> Estimate:
    """The quantity over the tables of all seeds.

    Args:
        seeds: tables of each seed.
        quantity: what is taken.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    columns = ["patient", quantity.value, *([quantity.exact] if quantity.exact else [])]
    parts = [tables[quantity.table][columns].dropna() for tables in seeds]
    patients = np.array(sorted({name for part in parts for name in part.patient}), dtype=object)
    rows = sum(map(len, parts))
    if not rows:
        return Estimate(np.nan, np.nan, np.nan, 0, 0, np.nan)
    sums = np.stack([_sums(part, quantity, patients) for part in parts])                     # (S, K, P)
    values = quantity.factor * _statistic(sums.sum(-1), quantity.statistic)
    rng, drawn = np.random.default_rng([seed, len(patients), len(parts)]), []
    for first in range(0, resamples, BLOCK):
        count = min(BLOCK, resamples - first)
        weights = rng.multinomial(len(patients), np.full(len(patients), 1 / len(patients)), count).T.astype(float)
        share = rng.multinomial(len(parts), np.full(len(parts), 1 / len(parts)), count).T / len(parts)
        found = _statistic(sums @ weights, quantity.statistic)                                # (S, count)
        known = np.isfinite(found) & (share > 0)
        total = (share * known).sum(0)
        drawn.append(np.divide((np.where(known, found, 0) * share).sum(0), total, out=np.full(count, np.nan), where=total > 0))
    drawn = quantity.factor * np.concatenate(drawn)
    low, high = np.nanquantile(drawn, (0.025, 0.975)) if np.isfinite(drawn).any() else (np.nan, np.nan)
    return Estimate(float(_mean(values)), float(low), float(high), rows, len(patients),
                    float(np.nanstd(values, ddof=1)) if np.isfinite(values).sum() > 1 else np.nan)


def _sums(part: pd.DataFrame, quantity: Quantity, patients: np.ndarray) -> np.ndarray:
    """``(K, P)``: per patient the count and the sums that the statistics are made of."""
    x = part[quantity.value].to_numpy(float)
    y = part[quantity.exact].to_numpy(float) if quantity.exact else np.zeros(len(x))
    where = np.searchsorted(patients.astype(str), part.patient.to_numpy(str))
    gap = x - y
    terms = (np.ones(len(x)), x, y, x * x, y * y, x * y, gap, gap * gap, np.abs(gap))
    return np.stack([np.bincount(where, term, len(patients)) for term in terms])


def _statistic(sums: np.ndarray, statistic: str) -> np.ndarray:
    """The statistic of sums ``(S, K, ...)``; NaN where it is not defined."""
    n, x, y, xx, yy, xy, gap, gap2, size = np.moveaxis(sums, 1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        if statistic == "mean":
            return np.where(n > 0, x / n, np.nan)
        if statistic in ("bias", "size"):
            bias = np.where(n > 0, gap / n, np.nan)
            return np.abs(bias) if statistic == "size" else bias
        if statistic == "mae":
            return np.where(n > 0, size / n, np.nan)
        if statistic == "rmse":
            return np.where(n > 0, np.sqrt(gap2 / n), np.nan)
        if statistic == "r2":
            varies = yy - y * y / n
            return np.where((n > 1) & (varies > 1e-9 * np.maximum(yy, 1e-12)), 1 - gap2 / varies, np.nan)
        if statistic == "sd":
            return np.where(n > 1, np.sqrt(np.maximum(gap2 - gap * gap / n, 0) / (n - 1)), np.nan)
        spread = (xx - x * x / n) * (yy - y * y / n)
        return np.where((n > 1) & (spread > 1e-9 * np.maximum(xx * yy, 1e-12)), (xy - x * y / n) / np.sqrt(np.maximum(spread, 0)),
                        np.nan)


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else np.nan


@dataclass(frozen=True)
class Asked:
    """A row of a published table.

    Attributes:
        row: its name on the page.
        printed: value by column of the published CSV, NaN where nothing is printed.
        group: name of the results that answer it, "" for none.
        other: the row is another group's program.
        absent: why nothing answers it.
        reason: why another group's row is not run, where there is more to say.
        data: the cohort that stands for the row's data set here; None: not run.
        note: what a reader must know to compare the two.
        spread: by column, the standard deviation as printed.
    """

    row: str
    printed: Mapping[str, float]
    group: str = ""
    other: bool = False
    absent: str = ""
    data: DataSpec | None = None
    note: str = ""
    spread: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""


def cells(rows: Iterable[Asked], results: Mapping[str, Tables], quantities: Mapping[str, Quantity], profile: Profile,
          replicates: int | None = None) -> pd.DataFrame:
    """The published cells beside ours, columns as :class:`~echolib.pages.scorecard.Cell`.

    Args:
        rows: of the published table.
        results: tables by group.
        quantities: by column of the published CSV.
        profile: of the results.
        replicates: on how many trainings of a row ours rest; None: one for each seed.
    """
    out = []
    for asked in rows:
        for column, quantity in quantities.items():
            value = float(asked.printed.get(column, np.nan))
            spread = float(asked.spread.get(column, np.nan))
            printed = (value, value - spread, value + spread)
            if asked.group not in results:
                reason = "the paper prints no value" if np.isnan(value) else (
                    asked.reason or "another group's program, not run here")
                verdict = Verdict("as published", reason) if asked.other else Verdict("not run", asked.absent)
                out.append(Cell(asked.row, column, *printed, np.nan, np.nan, np.nan, **asdict(verdict)))
                continue
            ours = estimate(results[asked.group], quantity, profile.bootstrap)
            verdict = _verdict(printed, ours, asked, profile, replicates or len(profile.seeds))
            out.append(Cell(asked.row, column, *printed, ours.value, ours.low, ours.high, **asdict(verdict)))
    return pd.DataFrame(out, columns=list(Cell.__dataclass_fields__))


def _verdict(printed: tuple[float, float, float], ours: Estimate, asked: Asked, profile: Profile, replicates: int) -> Verdict:
    note = f"; {asked.note}" if asked.note else ""
    if np.isnan(printed[0]):
        return Verdict("as published", "the paper prints no value")
    if asked.data.phantom is not None:
        return Verdict("awaiting data", f"published on patients, ours on phantoms: not the same experiment{note}")
    if np.isnan(ours.value):
        return Verdict("not run", f"no study has a value{note}")
    found = value_verdict(printed, (ours.value, ours.low, ours.high), seeds=replicates, quotable=profile.quotable)
    return Verdict(found.status, found.why + note)
