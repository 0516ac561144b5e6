"""Verdicts: printed precision for counts; seeds, sign and a paired test for orders."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from echolib.reproduce.verdict import count_verdict, order_verdict


def table(mean: float, seed: int, studies: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [{"study": f"s{i}", "patient": f"s{i}", "frame": f, "phase": p,
             "dice": float(np.clip(mean + rng.normal(0, .02), 0, 1))}
            for i in range(studies) for f, p in ((3, "ED"), (12, "ES"))]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("published", "ours", "decimals", "status"), [
    (18.83, 18.832525, 2, "exact"), (1.13, 1.126, 2, "exact"), (7.84, 7.836, 2, "exact"), (7.37, 7.364, 2, "differs"),
    (2.17, 2.1656, 2, "exact"), (2.17, 2.1649, 2, "differs")])
def test_a_count_is_exact_at_the_printed_precision(published, ours, decimals, status):
    assert count_verdict(published, ours, decimals).status == status


@pytest.mark.parametrize(("gap", "seeds", "quotable", "status"), [
    (0.02, 3, True, "holds"), (-0.02, 3, True, "does not hold"), (0.02, 2, True, "undecided"), (0.02, 3, False, "undecided"),
    (0.0, 3, True, "undecided")])
def test_an_order_needs_seeds_sign_and_a_test(gap, seeds, quotable, status):
    better = [table(0.80 + gap, 10 + s) for s in range(seeds)]
    worse = [table(0.80, 20 + s) for s in range(seeds)]
    assert order_verdict(better, worse, quotable=quotable).status == status


def test_seeds_that_disagree_leave_an_order_undecided_whatever_the_mean():
    better = [table(0.90, 1), table(0.90, 2), table(0.79, 3)]
    worse = [table(0.80, 4), table(0.80, 5), table(0.80, 6)]
    verdict = order_verdict(better, worse, quotable=True)
    assert verdict.status == "undecided" and "3 seeds" in verdict.why


def test_a_missing_seed_is_an_error():
    with pytest.raises(ValueError, match="zip"):
        order_verdict([table(0.9, 1)] * 2, [table(0.8, 2)] * 3, quotable=True)
