"""A tracing of a known shape: what it must contain, how far the hand may stray."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echolib.data.echonet import polygon_mask
from echolib.errors import DataError
from echolib.phantom.tracing import CHORDS, trace


def ventricle(tilt: float = 12.0, size: int = 112) -> tuple[np.ndarray, np.ndarray]:
    """Half an ellipse cut by a slanting line, and its long axis (apex, mid-annulus)."""
    y, x = np.mgrid[:size, :size] * 112 / size
    angle = np.deg2rad(tilt)
    x, y = x - 58, y - 62
    u, v = x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)
    mask = ((u / 16) ** 2 + (v / 40) ** 2 <= 1) & (v < 12 + 0.2 * u)
    down = np.array([np.sin(angle), np.cos(angle)])
    centre = np.array([58.0, 62.0])
    return mask, np.stack([centre - 40 * down, centre + 12 * down]) * size / 112


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("tilt", [-25, 0, 12, 30])
def test_a_steady_hand_traces_the_mask(tilt):
    mask, axis = ventricle(tilt)
    tracing = trace(mask, axis, np.random.default_rng(0), steadiness=0)
    assert tracing.shape == (1 + CHORDS, 4)
    assert overlap(polygon_mask(tracing, 112, 112), mask) > 0.97


def test_chords_stand_on_the_axis_apex_first_left_end_first():
    mask, axis = ventricle(15)
    tracing = trace(mask, axis, np.random.default_rng(1))
    direction = (axis[1] - axis[0]) / np.hypot(*(axis[1] - axis[0]))
    starts, ends = tracing[1:, :2], tracing[1:, 2:]
    assert np.abs((ends - starts) @ direction).max() < 1e-9
    steps = np.diff((starts + ends) / 2 @ direction)
    assert (steps > 0).all() and np.ptp(steps) < 1e-9
    assert (starts[:, 0] <= ends[:, 0]).all()
    assert np.hypot(*(tracing[0, :2] - axis[0])) < 4  # row 0 begins at the apex
    assert tracing[0, 3] > tracing[0, 1]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2 ** 32 - 1), tilt=st.floats(-30, 30))
def test_a_human_hand_strays_a_little(seed, tilt):
    mask, axis = ventricle(tilt)
    tracing = trace(mask, axis, np.random.default_rng(seed))
    assert np.isfinite(tracing).all() and tracing.min() >= 0 and tracing.max() <= 111
    assert overlap(polygon_mask(tracing, 112, 112), mask) > 0.88


def test_the_hand_strays_as_much_as_it_should():
    mask, axis = ventricle()
    steady = trace(mask, axis, np.random.default_rng(0), steadiness=0)
    gaps = []
    for seed in range(300):
        tracing = trace(mask, axis, np.random.default_rng(seed))
        gaps.append(np.hypot(*(tracing[1:, 2:] - tracing[1:, :2]).T) - np.hypot(*(steady[1:, 2:] - steady[1:, :2]).T))
    gaps = np.stack(gaps)
    # a chord's length changes by two independent wanders and twice the offset: sd sqrt(2 * .6^2 + 4 * .3^2) = 1.04 px
    assert gaps.std(0)[5:15] == pytest.approx(1.04, rel=0.15)
    assert abs(gaps.mean()) < 0.15


def test_same_seed_same_tracing():
    mask, axis = ventricle()
    one, two, other = (trace(mask, axis, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert (one == two).all() and (one != other).any()


def test_a_shape_at_the_border_stays_inside():
    mask = np.zeros((40, 40), bool)
    mask[:, 20:] = True
    tracing = trace(mask, np.array([[30.0, 0.0], [30.0, 39.0]]), np.random.default_rng(0))
    assert tracing.min() >= 0 and tracing.max() <= 39


def test_a_notch_gets_a_chord_between_its_neighbours():
    mask = np.zeros((60, 40), bool)
    mask[5:25, 10:30] = True
    mask[31:55, 10:30] = True
    tracing = trace(mask, np.array([[19.5, 5.0], [19.5, 54.0]]), np.random.default_rng(0), steadiness=0)
    assert tracing[1:, 0] == pytest.approx(np.full(CHORDS, 9.5), abs=0.3)


@pytest.mark.parametrize("axis", [[[5.0, 5.0], [5.0, 5.0]], [[5.0, 2.0], [5.0, 8.0]]])
def test_nothing_to_trace(axis):
    mask = np.zeros((12, 12), bool)
    mask[0, 0] = axis[0] == axis[1]
    with pytest.raises(DataError, match="nothing to trace"):
        trace(mask, np.array(axis), np.random.default_rng(0))
