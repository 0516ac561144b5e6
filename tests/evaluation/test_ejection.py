"""Volumes against ellipsoids and cylinders, beats against curves whose beats are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echolib.errors import DataError
from echolib.evaluation.ejection import (
    Beat,
    area_length,
    beat_fractions,
    disk_diameters,
    disk_volume,
    disk_volumes,
    ejection_fraction,
    find_beats,
    find_long_axis,
    tracing_volume,
)


def ellipse(half_length: float, half_width: float, degrees: float = 0.0, centre: tuple[float, float] = (56.3, 55.8),
            size: int = 112) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    angle = np.deg2rad(degrees)
    x, y = x - centre[0], y - centre[1]
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return (u / half_width) ** 2 + (v / half_length) ** 2 <= 1


def ellipsoid_ml(half_length: float, half_width: float, spacing: float) -> float:
    return 4 / 3 * np.pi * half_length * half_width ** 2 * spacing ** 3 / 1000


@pytest.mark.parametrize("degrees", [-60, -30, -13, 0, 13, 30, 45, 60])
@pytest.mark.parametrize(("half_length", "half_width", "spacing"), [(30, 16, 0.8), (22, 13, 1.1), (45, 25, 0.308)])
def test_volume_of_an_ellipsoid_however_it_is_turned(half_length, half_width, spacing, degrees):
    mask = ellipse(half_length, half_width, degrees)
    expected = ellipsoid_ml(half_length, half_width, spacing)
    assert disk_volume(mask, spacing) == pytest.approx(expected, rel=0.02)  # the mask is cut to whole pixels
    assert area_length(mask, spacing) == pytest.approx(expected, rel=0.025)  # the error of the length counts once more
    apex, annulus = find_long_axis(mask)
    angle = np.deg2rad(degrees)
    tip = np.array([np.sin(angle), -np.cos(angle)]) * half_length
    assert np.hypot(*(apex - (56.3, 55.8) - tip)) < 0.8
    assert np.hypot(*(annulus - (56.3, 55.8) + tip)) < 0.8


def test_volume_of_a_cylinder_by_hand():
    # 10 px wide, 40 px long, 1 mm: pi/4 * 100 * 40 mm^3 = 3.1416 mL; the chords are exactly 10 px
    mask = np.zeros((60, 40), bool)
    mask[8:48, 12:22] = True
    axis = find_long_axis(mask)
    assert axis == pytest.approx(np.array([[16.5, 7.5], [16.5, 47.5]]), abs=1e-5)
    assert disk_diameters(mask, axis) == pytest.approx(np.full(20, 10.0), abs=0.02)
    assert disk_volume(mask, 1.0) == pytest.approx(np.pi, rel=0.005)
    assert disk_volume(mask, 2.0) == pytest.approx(8 * disk_volume(mask, 1.0))
    assert area_length(mask, 1.0) == pytest.approx(8 * 400 ** 2 / (3 * np.pi * 40) / 1000)


def test_given_long_axis_is_used():
    mask = ellipse(30, 16)
    tilted = np.array([[56.3 - 5, 27.0], [56.3 + 5, 84.6]])
    assert disk_volume(mask, 1.0, tilted) != pytest.approx(disk_volume(mask, 1.0), rel=0.005)
    swapped = find_long_axis(mask)[::-1]
    assert disk_volume(mask, 1.0, swapped) == pytest.approx(disk_volume(mask, 1.0), rel=1e-6)
    assert disk_diameters(mask, swapped) == pytest.approx(disk_diameters(mask)[::-1], abs=1e-4)


def test_apex_up_and_chords_from_the_apex():
    # a cone: narrow on top, wide below
    mask = np.zeros((112, 112), bool)
    for row in range(20, 80):
        half = 2 + (row - 20) * 0.3
        mask[row, int(56 - half):int(56 + half)] = True
    apex, annulus = find_long_axis(mask)
    assert apex[1] == pytest.approx(19.5, abs=0.6) and annulus[1] == pytest.approx(79.5, abs=0.6)
    assert (np.diff(disk_diameters(mask)) > 0).all()


def test_islands_and_holes_do_not_count():
    mask = ellipse(30, 16)
    spoilt = mask.copy()
    spoilt[50:58, 52:58] = False
    spoilt[2:8, 2:8] = True
    assert disk_volume(spoilt, 0.8) == pytest.approx(disk_volume(mask, 0.8), rel=1e-9)
    assert area_length(spoilt, 0.8) == pytest.approx(area_length(mask, 0.8), rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2 ** 32 - 1))
def test_any_mask_has_a_volume(seed):
    """No mask that is not empty is refused, however odd, and flipping it left to right does not change its volume."""
    mask = np.random.default_rng(seed).random((9, 11)) < 0.55
    if not mask.any():
        mask[3, 4] = True
    volume = disk_volume(mask, 1.0)
    assert np.isfinite(volume) and volume >= 0
    single = np.zeros((9, 11), bool)
    single[4, 5] = True
    assert disk_volume(single, 1.0) > 0


def test_flip_and_shift_keep_the_volume():
    mask = ellipse(30, 16, 20, centre=(50.0, 50.0))
    assert disk_volume(mask[:, ::-1], 0.8) == pytest.approx(disk_volume(mask, 0.8), rel=1e-3)
    assert disk_volume(np.roll(mask, (5, -3), (0, 1)), 0.8) == pytest.approx(disk_volume(mask, 0.8), rel=1e-6)


def test_volumes_of_a_clip():
    masks = np.stack([ellipse(30, 16), np.zeros((112, 112), bool), ellipse(22, 13)])
    got = disk_volumes(masks, 0.8)
    assert got[1] == 0.0
    assert got[[0, 2]] == pytest.approx([disk_volume(masks[0], 0.8), disk_volume(masks[2], 0.8)])


def test_tracing_volume_by_hand():
    # L = 5 (3-4-5), two chords of 2 and 4 px: pi/4 * 5/2 * (4 + 16) px^3
    tracing = np.array([[0, 0, 3, 4], [0, 0, 2, 0], [1, 1, 1, 5]], float)
    assert tracing_volume(tracing) == pytest.approx(np.pi / 4 * 2.5 * 20 / 1000)
    assert tracing_volume(tracing, 2.0) == pytest.approx(8 * tracing_volume(tracing))


def test_tracing_of_an_ellipse_agrees_with_its_mask():
    t = (np.arange(20) + 0.5) / 20 * 60 - 30
    half = 16 * np.sqrt(1 - (t / 30) ** 2)
    chords = np.stack([56.3 - half, 55.8 + t, 56.3 + half, 55.8 + t], 1)
    tracing = np.concatenate([[[56.3, 25.8, 56.3, 85.8]], chords])
    assert tracing_volume(tracing, 0.8) == pytest.approx(disk_volume(ellipse(30, 16), 0.8), rel=0.01)


def test_ejection_fraction():
    assert ejection_fraction(100, 40) == 60.0
    assert ejection_fraction(80, 100) == -25.0
    for edv, esv in [(0, 0), (-1, 0), (np.nan, 1), (10, -1), (10, np.inf)]:
        with pytest.raises(DataError, match="EDV > 0"):
            ejection_fraction(edv, esv)


def curve(periods: list[int], depths: list[float], lead: int = 0) -> np.ndarray:
    """Beats one after another, each from ED (value 1) down to ES at 40 % of the period and back, after ``lead`` frames at 1."""
    parts = [np.ones(lead)]
    for period, depth in zip(periods, depths, strict=True):
        down = round(0.4 * period)
        fall = 1 - depth * 0.5 * (1 - np.cos(np.pi * np.arange(down) / down))
        rise = 1 - depth * 0.5 * (1 + np.cos(np.pi * np.arange(period - down) / (period - down)))
        parts += [fall, rise]
    return np.concatenate(parts)


def test_beats_of_a_regular_curve():
    area = curve([50, 50, 50], [0.5, 0.5, 0.5], lead=3)
    beats = find_beats(area, 50)
    assert [b.es for b in beats] == pytest.approx([23, 73, 123], abs=1)
    assert [b.ed for b in beats] == pytest.approx([2, 53, 103], abs=2)
    assert beat_fractions(area, beats) == pytest.approx([50, 50, 50], abs=1.0)


def test_beats_with_noise_and_arrhythmia():
    area = 1000 * curve([45, 70, 38, 60], [0.5, 0.6, 0.35, 0.55], lead=5)
    area += np.random.default_rng(0).normal(0, 12, len(area))
    beats = find_beats(area, 50)
    expected = np.cumsum([5, 45, 70, 38]) + np.round(0.4 * np.array([45, 70, 38, 60]))
    assert [b.es for b in beats] == pytest.approx(expected.tolist(), abs=3)
    assert all(b.ed < b.es for b in beats)
    assert beat_fractions(area, beats) == pytest.approx([50, 60, 35, 55], abs=6)


def test_a_beat_that_began_before_the_clip_is_left_out():
    area = curve([50, 50], [0.5, 0.5])[12:]  # starts half way down
    assert [b.es for b in find_beats(area, 50)] == pytest.approx([58], abs=1)
    assert len(find_beats(curve([50, 50], [0.5, 0.5])[1:], 50)) == 2


def test_clips_without_a_beat():
    assert find_beats(np.full(60, 7.0), 50) == []
    assert find_beats(np.linspace(10, 5, 20), 50) == []
    assert find_beats(np.zeros(1), 50) == []


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(0.01, 1e4), offset=st.floats(0, 100))
def test_beats_do_not_depend_on_the_unit(scale, offset):
    area = curve([50, 44], [0.5, 0.4], lead=4)
    assert find_beats(scale * (area + offset), 50) == find_beats(area, 50)


def test_beat_is_plain():
    assert beat_fractions(np.array([10.0, 5.0]), [Beat(0, 1)]).tolist() == [50.0]


@pytest.mark.parametrize(("call", "words"), [
    (lambda: find_long_axis(np.zeros((5, 5), bool)), "empty mask"),
    (lambda: disk_diameters(np.zeros((5, 5), bool)), "empty mask"),
    (lambda: disk_volume(np.ones((5, 5)), 1.0), "float64"),
    (lambda: disk_volume(np.ones((5, 5), bool), 0.0), "above 0"),
    (lambda: disk_volume(np.ones((5, 5), bool), 1.0, np.zeros((2, 2))), "long axis"),
    (lambda: tracing_volume(np.zeros((3, 4))), "no length"),
    (lambda: tracing_volume(np.zeros((3, 3))), r"\(3, 3\)"),
    (lambda: find_beats(np.array([1.0, np.nan]), 50), "area curve"),
    (lambda: find_beats(np.ones(9), 0), "fps > 0"),
])
def test_wrong_input_is_refused(call, words):
    with pytest.raises(DataError, match=words):
        call()
