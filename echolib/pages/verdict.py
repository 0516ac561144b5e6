"""Verdicts: what may be said of a published number or claim, and by which rule.

============== =========================================================================================================
exact          a count (parameters, FLOPs) that needs no data: ours equals the published one at its printed precision
differs        such a count that does not
holds          a claim about an order: at least 3 seeds, every seed agrees, paired Wilcoxon over patients p < 0.05. From 6
               seeds on a t-test over the seeds (p < 0.05) stands for "every seed agrees", so that more seeds can decide more.
               A number measured on the same data set: the published value or interval meets our 95 % interval
does not hold  the same rules with the order reversed; intervals that do not meet
no difference  a claim about an order: at least 3 seeds, and a difference of 1 point of Dice or of ejection fraction, or one of
               another bound that the claim sets, is excluded either way, by two one-sided t-tests (p < 0.05 each) over the seeds
               and likewise over the patients
undecided      a claim that the runs at hand cannot settle; the reason is given, and how many seeds would settle it
awaiting data  a number measured on a real data set, which cannot be compared without it
as published   a row of somebody else's program that is not run here
not run        a cell, or a claim, of runs that this profile leaves out; the reason is given
============== =========================================================================================================

A claim of several comparisons ("the best of sixteen") holds when each of them holds, and does not hold when one of them is
reversed at p < 0.05 divided by their number, and makes no difference when none is reversed and one of them makes none, tested at
that level.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from scipy import stats

from echolib.evaluation.bootstrap import paired_test
from echolib.pages.html import true_minus

Status = Literal["exact", "differs", "holds", "does not hold", "no difference", "undecided", "awaiting data",
                 "as published", "not run"]
STATUSES: tuple[Status, ...] = get_args(Status)

#: Fewest seeds on which a claim about an order may be decided.
MIN_SEEDS = 3
#: From so many seeds on a test over the seeds can reach p < 0.05 by their signs alone (2 / 2**6 = 0.03).
TEST_SEEDS = 6
#: No more seeds than this are named.
MAX_SEEDS = 1000


@dataclass(frozen=True)
class Verdict:
    """A status and the sentence that explains it; negative numbers in it are set with a minus sign."""

    status: Status
    why: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "why", true_minus(self.why))


@dataclass(frozen=True)
class Scale:
    """What the tables of scores that are compared hold: the column, the factor to the shown unit, that unit, and in it the
    difference below which neither side is better; None where no such bound is set."""

    column: str = "dice"
    factor: float = 100.0
    unit: str = "Dice points"
    small: float | None = None


#: Points of Dice and of ejection fraction below which neither side is better: conventions of this book, not measurements.
SMALL_DICE, SMALL_EF = 1.0, 1.0
DICE = Scale(small=SMALL_DICE)


def count_verdict(published: float, ours: float, decimals: int) -> Verdict:
    """Compare a count with the printed one, at the printed number of decimals."""
    if round(ours, decimals) == round(published, decimals):
        return Verdict("exact", f"counted {ours:.{decimals}f}, printed {published:.{decimals}f}")
    return Verdict("differs", f"counted {ours:.{decimals + 1}f}, printed {published:.{decimals}f}")


def value_verdict(published: tuple[float, float, float], ours: tuple[float, float, float], *, seeds: int,
                  quotable: bool) -> Verdict:
    """Compare a published mean with ours, measured on the same data set: do the two 95 % intervals meet?

    Args:
        published: value, low, high; where no interval is printed (NaN) the value alone counts.
        ours: the same over seeds and patients.
        seeds: how many seeds ours rests on.
        quotable: may the profile's numbers be quoted as results at all?
    """
    value, low, high = published
    low, high = (low, high) if np.isfinite(low) else (value, value)
    seen = f"published {low:.2f}–{high:.2f}, ours {ours[1]:.2f}–{ours[2]:.2f}" if high > low else (
        f"published {value:.2f}, ours {ours[1]:.2f}–{ours[2]:.2f}")
    if not np.isfinite(value):
        return Verdict("as published", "the paper prints no value")
    if not quotable or seeds < MIN_SEEDS:
        return Verdict("undecided", f"{seen}; {_too_few(seeds, quotable)}")
    meet = low <= ours[2] and ours[1] <= high
    return Verdict("holds" if meet else "does not hold",
                   f"{seen}: the intervals {'meet' if meet else 'do not meet'}, {seeds} seeds")


def order_verdict(better: list[pd.DataFrame], worse: list[pd.DataFrame], *, quotable: bool, margin: float = 0.0,
                  alpha: float = 0.05, scale: Scale = DICE) -> Verdict:
    """Does ``better`` score above ``worse``?

    Args:
        better: per-frame scores (columns study, patient, frame, phase and that of ``scale``), one table per seed. More is
            better.
        worse: the same for the other side; seed by seed in the same order.
        quotable: may the profile's numbers be quoted as results at all?
        margin: how far, in the scale's unit, ``better`` may lie below ``worse`` and the claim still holds.
        alpha: level of the tests.
        scale: what is compared.

    Returns:
        holds / does not hold when the profile may be quoted, there are at least ``MIN_SEEDS`` seeds, the seeds agree and
        the paired Wilcoxon test over patients (scores averaged over seeds) gives p < alpha; else, without a margin, no
        difference where one as large as ``scale.small`` is excluded; else undecided.
    """
    column = scale.column
    gaps = scale.factor * np.array([b[column].mean() - w[column].mean() for b, w in zip(better, worse, strict=True)])
    seen = f"difference {gaps.mean():+.2f} {scale.unit} over {len(gaps)} seed{'s' if len(gaps) > 1 else ''}"
    shifted = gaps + margin
    if margin:
        seen += f", allowed {-margin:+.2f}"
    if not quotable or len(gaps) < MIN_SEEDS:
        return Verdict("undecided", f"{seen}; {_too_few(len(gaps), quotable)}")
    sides = _seed_mean(better, scale), _seed_mean(worse, scale)
    lifted = sides[0].assign(**{column: lambda t: t[column] + margin / scale.factor})
    p = paired_test(lifted, sides[1], column).p_value
    told = f"paired Wilcoxon over patients p = {p:.2g}"
    sign = _agreed(shifted, alpha)
    if p < alpha and sign:
        how = "all of one sign" if len(gaps) < TEST_SEEDS else "t-test over seeds significant"
        return Verdict("holds" if sign > 0 else "does not hold", f"{seen}, {how}; {told}")
    if not margin and scale.small is not None:
        over = {"seeds": _interval(gaps, alpha), "patients": _interval(_patient_gaps(*sides, scale), alpha)}
        if all(-scale.small < low and high < scale.small for low, high in over.values()):
            words = " and ".join(f"{low:+.2f} to {high:+.2f} over {what}" for what, (low, high) in over.items())
            return Verdict("no difference", f"{seen}; {100 * (1 - 2 * alpha):.3g} % intervals {words}, so it is less than "
                                            f"{_one(scale.small, scale.unit)}")
    return Verdict("undecided", f"{seen}; {told}; {seeds_to_decide(shifted)}")


def all_verdict(pairs: list[tuple[str, list[pd.DataFrame], list[pd.DataFrame]]], *, quotable: bool,
                margin: float = 0.0, scale: Scale = DICE) -> Verdict:
    """Do several orders hold together?

    Args:
        pairs: (what is compared, scores of the side that must be better, scores of the other), see :func:`order_verdict`.
        quotable: may the profile's numbers be quoted as results at all?
        margin, scale: as in :func:`order_verdict`.

    Returns:
        holds when every order holds; does not hold when one is reversed at 0.05 divided by their number; no difference when
        one makes none at that level, since a side that is no better than one of the others is not better than each; else
        undecided.
    """
    if len(pairs) == 1:
        return order_verdict(*pairs[0][1:], quotable=quotable, margin=margin, scale=scale)
    found = [(name, order_verdict(b, w, quotable=quotable, margin=margin, scale=scale)) for name, b, w in pairs]
    strict = [(name, order_verdict(b, w, quotable=quotable, margin=margin, alpha=0.05 / len(pairs), scale=scale))
              for name, b, w in pairs]
    for name, one in strict:
        if one.status == "does not hold":
            return Verdict("does not hold", f"{name}: {one.why} (below 0.05 / {len(pairs)})")
    holding = sum(v.status == "holds" for _, v in found)
    if holding == len(found):
        return Verdict("holds", f"all {len(found)} comparisons hold; the closest, {_closest(pairs, scale)}")
    for name, one in strict:
        if one.status == "no difference" and dict(found)[name].status != "holds":
            return Verdict("no difference", f"{holding} of {len(found)} comparisons hold; {name}: {one.why}")
    hardest = _closest(pairs, scale, only=found)
    return Verdict("undecided", f"{holding} of {len(found)} comparisons hold; the hardest, {hardest}: {dict(found)[hardest].why}")


def _one(amount: float, unit: str) -> str:
    """An amount with its unit, one of it in the singular: "1 Dice point of untraced frames"."""
    return f"{amount:g} {unit.replace('points', 'point', 1) if amount == 1 else unit}"


def seeds_to_decide(gaps: np.ndarray, power: float = 0.8, alpha: float = 0.05) -> str:
    """How many seeds would decide a difference of this size, as a sentence.

    The smallest number, at least ``TEST_SEEDS``, with which a two-sided t-test over the seeds finds a true difference of the
    mean seen, at the standard deviation seen, with the given power. Rough: the deviation itself is known from few seeds.

    Args:
        gaps: (seeds,) differences in any unit, at least two.
    """
    mean, sd = float(np.mean(gaps)), float(np.std(gaps, ddof=1))
    if mean == 0:
        return "no number of seeds would decide a difference of 0"
    n = needed_seeds(mean, sd, power, alpha)
    return (f"about {n} seeds would decide a difference of this size" if n is not None else
            f"more than {MAX_SEEDS} seeds would be needed for a difference of this size")


def needed_seeds(mean: float, sd: float, power: float = 0.8, alpha: float = 0.05) -> int | None:
    """Smallest number of seeds, ``TEST_SEEDS`` to ``MAX_SEEDS``, for a paired t-test of that power; None: more than that."""
    if sd == 0:
        return TEST_SEEDS
    n = np.arange(TEST_SEEDS, MAX_SEEDS + 1)
    found = stats.nct.sf(stats.t.isf(alpha / 2, n - 1), n - 1, abs(mean) / sd * np.sqrt(n))
    enough = np.flatnonzero(np.nan_to_num(found, nan=1.0) >= power)  # so far out that scipy gives NaN: certain
    return int(n[enough[0]]) if len(enough) else None


def _interval(values: np.ndarray, alpha: float) -> tuple[float, float]:
    """t-interval of the mean, of level 1 - 2 alpha: what it leaves out, a one-sided test at alpha excludes. NaN, which lies
    within nothing, for a single value."""
    if len(values) < 2:
        return np.nan, np.nan
    half = float(stats.t.isf(alpha, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return float(np.mean(values)) - half, float(np.mean(values)) + half


def _patient_gaps(better: pd.DataFrame, worse: pd.DataFrame, scale: Scale) -> np.ndarray:
    both = better.merge(worse, on=["study", "patient", "frame", "phase"], suffixes=("", "_worse"))
    return scale.factor * (both[scale.column] - both[f"{scale.column}_worse"]).groupby(both.patient).mean().dropna().to_numpy()


def _agreed(gaps: np.ndarray, alpha: float) -> int:
    """+1 or -1 where the seeds agree on a sign, else 0."""
    if len(gaps) >= TEST_SEEDS and np.std(gaps) > 0:
        return int(np.sign(gaps.mean())) if stats.ttest_1samp(gaps, 0).pvalue < alpha else 0
    return int(np.sign(gaps[0])) if (np.sign(gaps) == np.sign(gaps[0])).all() else 0


def _too_few(seeds: int, quotable: bool) -> str:
    return f"at least {MIN_SEEDS} seeds are needed" if quotable else "this profile only proves that the path works"


def _closest(pairs: list, scale: Scale, only: list | None = None) -> str:
    """The comparison with the smallest difference, of those in ``only`` that do not hold."""
    open_ = {name for name, v in only if v.status != "holds"} if only else {name for name, *_ in pairs}
    gap = {name: np.mean([b[scale.column].mean() - w[scale.column].mean() for b, w in zip(better, worse, strict=True)])
           for name, better, worse in pairs if name in open_}
    return min(gap, key=gap.get)


def _seed_mean(tables: list[pd.DataFrame], scale: Scale) -> pd.DataFrame:
    keys = ["study", "patient", "frame", "phase"]
    return pd.concat(tables).groupby(keys, as_index=False)[scale.column].mean()
