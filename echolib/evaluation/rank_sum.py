"""Wilcoxon's rank-sum test of two sets of scores as if they were independent: the test that PKEcho-Net's Table 1 prints.

The two sides are scored on the same frames, so the scores are paired and the test throws that away: what differs between easy
and hard patients hides what differs between methods. Two frames of one patient count as two patients besides, which makes p
too small. The book's own test is the signed-rank test over patients (:func:`echolib.evaluation.bootstrap.paired_test`).
"""

from __future__ import annotations

import numpy as np
from scipy.stats import mannwhitneyu


def rank_sum(a: np.ndarray, b: np.ndarray) -> float:
    """Two-sided p of the rank-sum test (Mann-Whitney U with the normal approximation, corrected for ties); 1 where all scores are
    equal.

    Args:
        a, b: scores of the two sides, finite, any number of each.

    Raises:
        ValueError: a side is empty or not finite.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if not len(a) or not len(b) or not np.isfinite(a).all() or not np.isfinite(b).all():
        raise ValueError(f"a rank-sum test needs finite scores on both sides, not {len(a)} and {len(b)}")
    if np.unique(np.concatenate([a, b])).size == 1:
        return 1.0
    return float(mannwhitneyu(a, b, alternative="two-sided", method="asymptotic", use_continuity=False).pvalue)
