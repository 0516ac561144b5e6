"""Verdicts: printed precision for counts; seeds, sign and a paired test for orders; how many seeds would decide."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from echolib.pages.experiment import Claim, Measure
from echolib.pages.scorecard import claim_verdict
from echolib.pages.verdict import Scale, all_verdict, count_verdict, needed_seeds, order_verdict, seeds_to_decide, value_verdict


def table(mean: float, seed: int, studies: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [{"study": f"s{i}", "patient": f"s{i}", "frame": f, "phase": p,
             "dice": float(np.clip(mean + rng.normal(0, .02), 0, 1))}
            for i in range(studies) for f, p in ((3, "ED"), (12, "ES"))]
    return pd.DataFrame(rows)


def group(*means: float, first: int = 0) -> list[pd.DataFrame]:
    return [table(mean, first + i) for i, mean in enumerate(means)]


@pytest.mark.parametrize(("published", "ours", "decimals", "status"), [
    (18.83, 18.832525, 2, "exact"), (1.13, 1.126, 2, "exact"), (7.84, 7.836, 2, "exact"), (7.37, 7.364, 2, "differs"),
    (2.17, 2.1656, 2, "exact"), (2.17, 2.1649, 2, "differs")])
def test_a_count_is_exact_at_the_printed_precision(published, ours, decimals, status):
    assert count_verdict(published, ours, decimals).status == status


@pytest.mark.parametrize(("gap", "seeds", "quotable", "status"), [
    (0.02, 3, True, "holds"), (-0.02, 3, True, "does not hold"), (0.02, 2, True, "undecided"), (0.02, 3, False, "undecided"),
    (0.0, 3, True, "no difference"), (0.0, 3, False, "undecided"), (0.02, 6, True, "holds"), (-0.02, 6, True, "does not hold")])
def test_an_order_needs_seeds_sign_and_a_test(gap, seeds, quotable, status):
    better = [table(0.80 + gap, 10 + s) for s in range(seeds)]
    worse = [table(0.80, 20 + s) for s in range(seeds)]
    assert order_verdict(better, worse, quotable=quotable).status == status


def test_seeds_that_disagree_leave_an_order_undecided_and_their_number_is_named():
    better, worse = group(0.90, 0.90, 0.79), group(0.80, 0.80, 0.80, first=4)
    verdict = order_verdict(better, worse, quotable=True)
    assert verdict.status == "undecided" and "3 seeds" in verdict.why
    gaps = np.array([100 * (b.dice.mean() - w.dice.mean()) for b, w in zip(better, worse, strict=True)])
    assert seeds_to_decide(gaps) in verdict.why and "would decide" in verdict.why


def test_from_six_seeds_on_one_that_disagrees_can_be_outvoted():
    worse = group(*[0.80] * 6, first=10)
    assert order_verdict(group(0.84, 0.84, 0.84, 0.85, 0.84, 0.795), worse, quotable=True).status == "holds"
    assert order_verdict(group(0.99, 0.81, 0.70, 0.85, 0.84, 0.795), worse, quotable=True).status == "undecided"


def test_no_difference_needs_seeds_and_patients_that_both_exclude_a_point():
    level, other = group(0.80, 0.80, 0.80, first=20), group(0.80, 0.80, 0.80, first=10)
    same = order_verdict(other, level, quotable=True)
    assert same.status == "no difference" and "90 % intervals" in same.why and same.why.endswith("less than 1 Dice point")
    apart = group(0.78, 0.80, 0.82, first=10)
    assert order_verdict(apart, level, quotable=True).status == "undecided", "the seeds do not exclude it"
    few = [t[t.study.isin(("s0", "s1", "s2"))] for t in other]
    assert order_verdict(few, [t[t.study.isin(("s0", "s1", "s2"))] for t in level], quotable=True).status == "undecided"
    assert order_verdict(other, level, quotable=True, alpha=1e-4).status == "undecided"
    bare = Scale("dice", 100.0, "dB")
    assert order_verdict(other, level, quotable=True, scale=bare).status == "undecided", "no bound is set"


@pytest.mark.parametrize(("small", "status"), [(1.0, "no difference"), (None, "undecided"), (0.01, "undecided")])
def test_a_measure_of_evaluations_brings_its_own_bound(small, status):
    """Scores of untraced frames are levelled as those of traced ones are, where the measure says below what."""
    measure = Measure("untraced_dice", "Dice points of untraced frames", factor=100.0, small=small)
    tables = {name: [t.rename(columns={"dice": "score"}) for t in group(0.80, 0.80, 0.80, first=first)]
              for name, first in (("with", 10), ("without", 20))}
    found = claim_verdict(Claim("helps", "with", "without", measure=measure), tables, quotable=True)
    assert found.status == status
    assert found.why.endswith("less than 1 Dice point of untraced frames") == (status == "no difference")


def test_a_margin_lets_a_small_loss_pass():
    better, worse = group(*[0.79] * 3), group(*[0.80] * 3, first=5)
    assert order_verdict(better, worse, quotable=True).status == "does not hold"
    assert order_verdict(better, worse, quotable=True, margin=2.0).status == "holds"
    assert order_verdict(group(*[0.77] * 3), worse, quotable=True, margin=2.0).status == "does not hold"


def test_several_orders_hold_together_or_fail_by_one():
    best, low, lower = group(*[0.85] * 3), group(*[0.80] * 3, first=5), group(*[0.78] * 3, first=15)
    assert all_verdict([("a", best, low), ("b", best, lower)], quotable=True).status == "holds"
    beaten = all_verdict([("to b", low, lower), ("to best", low, best)], quotable=True)
    assert beaten.status == "does not hold" and beaten.why.startswith("to best: ") and "0.05 / 2" in beaten.why
    twin = [t.copy() for t in best]
    level = all_verdict([("to low", best, low), ("to its twin", best, twin)], quotable=True)
    assert level.status == "no difference" and level.why.startswith("1 of 2 comparisons hold; to its twin: ")
    apart = group(0.87, 0.85, 0.83, first=40)
    open_ = all_verdict([("to low", best, low), ("to one that varies", best, apart)], quotable=True)
    assert open_.status == "undecided" and "1 of 2 comparisons hold; the hardest, to one that varies" in open_.why
    both = all_verdict([("to its twin", best, twin), ("to a better one", best, group(*[0.88] * 3, first=50))], quotable=True)
    assert both.status == "does not hold", "reversed counts before no difference"


def test_needed_seeds_against_a_simulation():
    n = needed_seeds(1.0, 1.2)
    draws = np.random.default_rng(0).normal(1.0, 1.2, (4000, n))
    assert (stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05).mean() == pytest.approx(0.8, abs=0.06)
    assert needed_seeds(1.0, 0.0) == needed_seeds(5.0, 0.1) == 6 and needed_seeds(0.01, 5.0) is None
    assert "more than 1000" in seeds_to_decide(np.array([5.0, -5.0, 0.01]))


NEAR, FAR = (93.0, 92.7, 93.25), (92.0, 91.7, 92.3)


@pytest.mark.parametrize(("published", "ours", "seeds", "quotable", "status"), [
    ((93.3, 93.2, 93.4), NEAR, 3, True, "holds"), ((93.3, 93.2, 93.4), FAR, 3, True, "does not hold"),
    ((93.3, np.nan, np.nan), NEAR, 3, True, "does not hold"), ((93.3, 93.2, 93.4), NEAR, 2, True, "undecided"),
    ((93.3, 93.2, 93.4), NEAR, 3, False, "undecided"), ((np.nan, np.nan, np.nan), NEAR, 3, True, "as published")])
def test_a_value_on_the_same_data_is_compared_by_intervals(published, ours, seeds, quotable, status):
    assert value_verdict(published, ours, seeds=seeds, quotable=quotable).status == status


def test_a_missing_seed_is_an_error():
    with pytest.raises(ValueError, match="zip"):
        order_verdict([table(0.9, 1)] * 2, [table(0.8, 2)] * 3, quotable=True)
