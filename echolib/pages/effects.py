"""What one switch does to the Dice: the difference between groups of runs that differ in an option, its verdict, its drawing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from echolib.pages.estimates import cube, resample
from echolib.pages.html import true_minus
from echolib.pages.verdict import MIN_SEEDS, Verdict, order_verdict
from echolib.plots import COLOURS

#: Status of "the switched run scores above the paper's" -> the verdict in words, where the profile may decide at all.
WORDS = {"holds": "raises", "does not hold": "lowers", "no difference": "no difference",
         "undecided": "no difference found"}


def differences(scores: Mapping[str, list[pd.DataFrame]], base: str, resamples: int) -> pd.DataFrame:
    """Difference of Dice between each group and ``base``, paired over seeds and patients.

    Args:
        scores: group -> per-frame scores (columns patient, dice), one table a seed; all scored on the same frames.
        base: the group that the others are compared with.
        resamples: of seeds and patients together, the same for every group.

    Returns:
        Index: the other groups; columns ``value``, ``low``, ``high`` (mean and 95 % interval) and ``sd`` (of the seeds'
        differences, NaN for one seed), in Dice points.
    """
    data = cube(scores)
    at, drawn = data.names.index(base), resample(data, resamples)
    gaps = 100 * (data.sums - data.sums[at]).sum(2) / data.frames.sum()
    low, high = np.quantile(drawn - drawn[at], (0.025, 0.975), axis=1)
    sd = gaps.std(1, ddof=1) if gaps.shape[1] > 1 else np.full(len(gaps), np.nan)
    return pd.DataFrame({"value": gaps.mean(1), "low": low, "high": high, "sd": sd}, index=list(data.names)).drop(index=base)


def effect_verdict(switched: list[pd.DataFrame], paper: list[pd.DataFrame], *, quotable: bool) -> Verdict:
    """``raises``, ``lowers``, ``no difference`` or ``no difference found`` by the rule of :func:`verdict.order_verdict`;
    ``undecided`` where the profile has too few seeds to say, or may not be quoted. The sentence says how many seeds would
    decide."""
    found = order_verdict(switched, paper, quotable=quotable)
    may = quotable and len(paper) >= MIN_SEEDS
    return Verdict(WORDS[found.status] if may else found.status, found.why)


def figure(found: pd.DataFrame, names: Iterable[str], title: str, label: str) -> Figure:
    """Differences with their intervals around a zero line, a row each.

    Args:
        found: ``value``, ``low``, ``high`` and ``status`` of each comparison.
        names: of the rows.
        title: what lies to either side of zero.
        label: of the axis, with its unit.
    """
    drawn, axis = plt.subplots(figsize=(8.6, 0.5 * max(len(found), 1) + 1.3), layout="constrained")
    axis.axvline(0, color="#888888", lw=1, zorder=1)
    for place, row in enumerate(found.itertuples()):
        axis.plot([row.low, row.high], [place] * 2, color=COLOURS["here"], lw=2.2, solid_capstyle="butt", zorder=2)
        axis.plot(row.value, place, "o", color=COLOURS["here"], ms=5.5, zorder=3)
        axis.annotate(f"{signed(row.value)}  {row.status}", (row.value, place), (0, 6), textcoords="offset points", ha="center",
                      fontsize=8, color=COLOURS["here"])
    axis.set_yticks(range(len(found)), list(names))
    axis.set_ylim(len(found) - 0.5, -0.7)
    axis.set_xlabel(label)
    axis.set_title(title, fontsize=9, loc="left")
    axis.grid(axis="x", color="#dddddd", lw=0.6)
    axis.margins(x=0.2)
    return drawn


def signed(value: float) -> str:
    """Two decimals with a sign; a true minus, and no sign at zero."""
    text = f"{value:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else true_minus(text)
