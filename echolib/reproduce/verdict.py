"""Verdicts: what may be said of a published number or claim, and by which rule.

============== =========================================================================================================
exact          a count (parameters, FLOPs) that needs no data: ours equals the published one at its printed precision
differs        such a count that does not
holds          a claim about an order, on phantoms: at least 3 seeds, every seed agrees, paired Wilcoxon p < 0.05
does not hold  the same rule with the order reversed
undecided      a claim that the runs at hand cannot settle; the reason is given
awaiting data  a number measured on a real data set, which cannot be compared without it
as published   a row of somebody else's program that is not run here
============== =========================================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from echolib.evaluation.bootstrap import paired_test

Status = Literal["exact", "differs", "holds", "does not hold", "undecided", "awaiting data", "as published"]

#: Fewest seeds on which a claim about an order may be decided.
MIN_SEEDS = 3


@dataclass(frozen=True)
class Verdict:
    """A status and the sentence that explains it."""

    status: Status
    why: str


def count_verdict(published: float, ours: float, decimals: int) -> Verdict:
    """Compare a count with the printed one, at the printed number of decimals."""
    if round(ours, decimals) == round(published, decimals):
        return Verdict("exact", f"counted {ours:.{decimals}f}, printed {published:.{decimals}f}")
    return Verdict("differs", f"counted {ours:.{decimals + 1}f}, printed {published:.{decimals}f}")


def order_verdict(better: list[pd.DataFrame], worse: list[pd.DataFrame], *, quotable: bool) -> Verdict:
    """Does ``better`` score above ``worse``?

    Args:
        better: per-frame scores (columns study, patient, frame, dice), one table per seed.
        worse: the same for the other side; seed by seed in the same order.
        quotable: may the profile's numbers be quoted as results at all?

    Returns:
        holds / does not hold when the profile may be quoted, there are at least ``MIN_SEEDS`` seeds, all seeds have the
        same sign and the paired Wilcoxon test over patients (Dice averaged over seeds) gives p < 0.05; else undecided.
    """
    gaps = [100 * (b.dice.mean() - w.dice.mean()) for b, w in zip(better, worse, strict=True)]
    mean = sum(gaps) / len(gaps)
    seen = f"difference {mean:+.2f} Dice points over {len(gaps)} seed{'s' if len(gaps) > 1 else ''}"
    if not quotable:
        return Verdict("undecided", f"{seen}; this profile only proves that the path works")
    if len(gaps) < MIN_SEEDS:
        return Verdict("undecided", f"{seen}; at least {MIN_SEEDS} seeds are needed")
    p = paired_test(_seed_mean(better), _seed_mean(worse)).p_value
    if p < 0.05 and all(g > 0 for g in gaps):
        return Verdict("holds", f"{seen}, all of one sign; paired Wilcoxon over patients p = {p:.2g}")
    if p < 0.05 and all(g < 0 for g in gaps):
        return Verdict("does not hold", f"{seen}, all of one sign; paired Wilcoxon over patients p = {p:.2g}")
    return Verdict("undecided", f"{seen}; paired Wilcoxon over patients p = {p:.2g}")


def _seed_mean(tables: list[pd.DataFrame]) -> pd.DataFrame:
    keys = ["study", "patient", "frame", "phase"]
    return pd.concat(tables).groupby(keys, as_index=False)["dice"].mean()
