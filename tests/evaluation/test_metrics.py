"""Dice and surface distances against hand-worked cases and brute-force twins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from echolib.errors import DataError
from echolib.evaluation.metrics import area_px, area_under_roc, dice, pooled_dice, surface_distances

masks = arrays(bool, (7, 9))


def square(row: int, column: int, side: int, shape: tuple[int, int] = (20, 20)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[row:row + side, column:column + side] = True
    return mask


def test_dice_by_hand():
    # 4x4 and 4x4 squares, 2 columns common: 2 * 8 / 32
    assert dice(square(0, 0, 4), square(0, 2, 4)) == 0.5
    assert dice(square(0, 0, 4), square(0, 0, 4)) == 1.0
    assert dice(square(0, 0, 4), square(10, 10, 4)) == 0.0


def test_empty_masks_are_defined():
    empty, one = np.zeros((5, 5), bool), square(1, 1, 2, (5, 5))
    assert dice(empty, empty) == 1.0
    assert dice(empty, one) == dice(one, empty) == 0.0
    assert surface_distances(empty, empty) == (0.0, 0.0)
    assert np.isnan(surface_distances(empty, one)).all() and np.isnan(surface_distances(one, empty)).all()
    assert pooled_dice(np.array([0]), np.array([0]), np.array([0])) == 1.0


def test_pooled_dice_weighs_large_frames_more():
    # frame 1: dice 1 with 100 px; frame 2: dice 0 with 10 px each -> pooled 2*100 / (110 + 110)
    assert pooled_dice(np.array([100, 0]), np.array([100, 10]), np.array([100, 10])) == pytest.approx(200 / 220)


@settings(max_examples=60, deadline=None)
@given(a=masks, b=masks, axis=st.sampled_from([0, 1]), shift=st.integers(0, 6))
def test_dice_invariants(a, b, axis, shift):
    value = dice(a, b)
    assert 0 <= value <= 1
    assert dice(b, a) == value
    assert dice(np.flip(a, axis), np.flip(b, axis)) == value
    assert dice(np.roll(a, shift, axis), np.roll(b, shift, axis)) == value
    inside = sum(bool(p) and bool(q) for p, q in zip(a.ravel(), b.ravel(), strict=True))
    total = sum(map(int, a.ravel())) + sum(map(int, b.ravel()))
    assert value == (2 * inside / total if total else 1.0)
    assert value == pooled_dice(np.array([inside]), np.array([a.sum()]), np.array([b.sum()]))


def edge(mask: np.ndarray) -> list[tuple[int, int]]:
    padded = np.pad(mask, 1)
    return [(r, c) for r, c in zip(*np.nonzero(mask), strict=True)
            if not (padded[r, c + 1] and padded[r + 2, c + 1] and padded[r + 1, c] and padded[r + 1, c + 2])]


def brute_distances(a: np.ndarray, b: np.ndarray, spacing: tuple[float, float]) -> tuple[float, float]:
    def directed(one, two):
        return [min(np.hypot((r - s) * spacing[0], (c - d) * spacing[1]) for s, d in two) for r, c in one]
    there, back = directed(edge(a), edge(b)), directed(edge(b), edge(a))
    return max(np.percentile(there, 95), np.percentile(back, 95)), float(np.mean(there + back))


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.3, 0.3), (0.5, 2.0)])
@pytest.mark.parametrize("other", [square(5, 9, 8), square(0, 0, 3), square(12, 12, 8) | square(1, 1, 2)])
def test_surface_distances_against_brute_force(spacing, other):
    one = square(4, 5, 9)
    expected = brute_distances(one, other, spacing)
    assert surface_distances(one, other, spacing) == pytest.approx(expected, rel=1e-5)
    assert surface_distances(other, one, spacing) == pytest.approx(expected, rel=1e-5)


def test_surface_distances_by_hand():
    # two single pixels 3 rows and 4 columns apart: 5 px, 1.5 mm at 0.3 mm
    a, b = square(2, 2, 1), square(5, 6, 1)
    assert surface_distances(a, b) == pytest.approx((5.0, 5.0))
    assert surface_distances(a, b, 0.3) == pytest.approx((1.5, 1.5))
    assert surface_distances(a, a) == (0.0, 0.0)


def test_a_mask_at_the_border_has_its_surface_there():
    # a full 4x4 image against its top half: the border pixels of both count; only rows 2 and 3 are off, by 1 and 2
    whole, half = np.ones((4, 4), bool), np.zeros((4, 4), bool)
    half[:2] = True
    assert surface_distances(whole, half) == pytest.approx(brute_distances(whole, half, (1, 1)), rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(scores=arrays(np.float64, 12, elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])), truth=arrays(bool, 12))
def test_area_under_roc_against_all_pairs(scores, truth):
    if truth.all() or not truth.any():
        with pytest.raises(DataError, match="ventricle and background"):
            area_under_roc(scores, truth)
        return
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[truth] for b in scores[~truth]]
    assert area_under_roc(scores, truth) == pytest.approx(np.mean(pairs))


def test_area_px():
    stack = np.stack([square(0, 0, 3), square(0, 0, 5)])
    assert area_px(stack).tolist() == [9, 25]
    assert area_px(stack[0]) == 9


@pytest.mark.parametrize(("a", "b", "words"), [
    (np.ones((2, 2)), np.ones((2, 2), bool), "boolean"),
    (np.ones((2, 2), bool), np.ones((2, 3), bool), r"\(2, 2\).*\(2, 3\)"),
])
def test_wrong_masks_are_refused(a, b, words):
    for score in (dice, surface_distances):
        with pytest.raises(DataError, match=words):
            score(a, b)
    with pytest.raises(DataError, match="single masks"):
        surface_distances(np.ones((2, 2, 2), bool), np.ones((2, 2, 2), bool))
    with pytest.raises(DataError, match="float64"):
        area_px(np.ones((2, 2)))
