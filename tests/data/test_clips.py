"""Clips against hand-worked cases, a rejection-sampling twin, and invariants."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echolib.data import clips
from echolib.errors import DataError

sizes = dict(length=st.integers(1, 90), frames=st.integers(1, 40), period=st.integers(1, 9), seed=st.integers(0, 2**32 - 1))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("length, traced, frames, period, expected, position", [
    (20, 10, 4, 1, [8, 9, 10, 11], 2),        # F/2 before, F/2 - 1 after
    (20, 10, 4, 3, [4, 7, 10, 13], 2),
    (20, 10, 5, 1, [8, 9, 10, 11, 12], 2),    # odd F: the middle
    (20, 10, 1, 7, [10], 0),                  # a frame-wise network
    (20, 0, 4, 1, [0, 1, 2, 3], 0),           # traced at either end: shifted inside
    (20, 1, 4, 1, [0, 1, 2, 3], 1),
    (20, 19, 4, 1, [16, 17, 18, 19], 3),
    (20, 1, 4, 3, [1, 4, 7, 10], 0),          # shifted by whole periods: the traced frame stays on the grid
    (20, 18, 4, 3, [9, 12, 15, 18], 3),
    (3, 1, 5, 1, [0, 1, 2, -1, -1], 1),       # shorter than F: all frames, then black
    (3, 2, 4, 2, [0, 2, -1, -1], 1),          # shorter than F*T
    (10, 7, 4, 4, [3, 7, -1, -1], 1),
    (1, 0, 3, 5, [0, -1, -1], 0),
    (4, 2, 4, 1, [0, 1, 2, 3], 2),            # exactly F frames
])
def test_centred_clips_by_hand(length, traced, frames, period, expected, position):
    indices, where = clips.centred_indices(length, traced, frames, period)
    assert indices.tolist() == expected
    assert where == position


@pytest.mark.parametrize("length, traced, frames, period, expected", [
    (5, 0, 5, 1, [0, 1, 2, 3, 4]),            # one start only
    (5, 4, 3, 2, [0, 2, 4]),
    (3, 2, 5, 1, [0, 1, 2, -1, -1]),          # too short: starts at the first frame of the grid
    (6, 2, 2, 5, [2, -1]),                    # long enough for F*T, but no start puts frame 2 on the grid
    (6, 5, 2, 5, [0, 5]),
])
def test_training_clips_without_choice(length, traced, frames, period, expected):
    for seed in range(5):
        indices, position = clips.training_indices(length, traced, frames, period, rng(seed))
        assert indices.tolist() == expected
        assert indices[position] == traced


@pytest.mark.parametrize("length, traced, frames, period", [(12, 5, 4, 1), (12, 0, 4, 2), (12, 11, 4, 3), (14, 6, 4, 3)])
def test_training_clips_are_those_of_rejection_sampling(length, traced, frames, period):
    """Twin: draw starts uniformly inside the video until the clip hits the traced frame."""
    twin, generator, n = Counter(), rng(1), 4000
    while twin.total() < n:
        start = int(generator.integers(0, length - (frames - 1) * period))
        if traced in range(start, start + frames * period, period):
            twin[start] += 1
    generator = rng(2)
    ours = Counter(int(clips.training_indices(length, traced, frames, period, generator)[0][0]) for _ in range(n))
    assert ours.keys() == twin.keys()
    for start in twin:  # 5 sigma of the difference of two binomial shares
        share = twin[start] / n
        assert abs(ours[start] / n - share) < 5 * np.sqrt(2 * share * (1 - share) / n) + 1e-9


def check_grid(indices: np.ndarray, length: int, frames: int, period: int) -> None:
    """Valid frame numbers or black; black only at the end; one period apart."""
    assert indices.shape == (frames,) and indices.dtype == np.int64
    real = indices[indices != clips.BLACK]
    assert len(real) >= 1 and (indices[:len(real)] == real).all()
    assert ((real >= 0) & (real < length)).all()
    assert (np.diff(real) == period).all()


@given(traced=st.integers(0, 89), **sizes)
def test_clips_hold_the_traced_frame(length, traced, frames, period, seed):
    traced %= length
    for indices, position in (clips.training_indices(length, traced, frames, period, rng(seed)),
                              clips.centred_indices(length, traced, frames, period)):
        check_grid(indices, length, frames, period)
        assert 0 <= position < frames and indices[position] == traced
        if (indices == clips.BLACK).any():  # padded only when no clip through the traced frame fits
            assert traced // period + (length - 1 - traced) // period + 1 < frames
            assert indices[0] == traced % period


@given(**sizes)
def test_reconstruction_clips(length, frames, period, seed):
    indices = clips.reconstruct_indices(length, frames, period, rng(seed))
    check_grid(indices, length, frames, period)
    assert (clips.BLACK in indices) == (length < (frames - 1) * period + 1)


def test_reconstruction_reaches_every_start():
    generator = rng(3)
    assert {int(clips.reconstruct_indices(10, 3, 2, generator)[0]) for _ in range(300)} == set(range(6))


@given(length=sizes["length"], frames=sizes["frames"], period=sizes["period"])
def test_windows_cover_the_video(length, frames, period):
    windows = clips.window_indices(length, frames, period)
    for window in windows:
        check_grid(window, length, frames, period)
    assert set(windows[windows != clips.BLACK]) == set(range(length))
    fewest = sum(-(-len(range(offset, length, period)) // frames) for offset in range(min(period, length)))
    assert len(windows) == fewest


def test_windows_by_hand():
    assert clips.window_indices(7, 3, 1).tolist() == [[0, 1, 2], [3, 4, 5], [4, 5, 6]]
    assert clips.window_indices(5, 3, 2).tolist() == [[0, 2, 4], [1, 3, -1]]


def test_half_cycles_by_hand():
    assert clips.half_cycle_indices(3, 5).tolist() == [0, 1, 2, -1, -1]
    assert clips.half_cycle_indices(5, 5).tolist() == [0, 1, 2, 3, 4]
    assert clips.half_cycle_indices(9, 5).tolist() == [0, 2, 4, 6, 8]
    assert clips.half_cycle_indices(42, 32)[[0, -1]].tolist() == [0, 41]
    assert (np.diff(clips.half_cycle_indices(42, 32)) >= 1).all()


@pytest.mark.parametrize("frames, ratio, counts, masked", [
    (16, 0.6, "masked", 10), (16, 0.6, "kept", 6), (32, 0.6, "masked", 19), (16, 0.0, "masked", 0), (16, 1.0, "kept", 0),
    (5, 0.5, "masked", 3),  # int(2.5 + .5): half rounds up
])
def test_masked_share(frames, ratio, counts, masked):
    mask = clips.masked_positions(frames, ratio, rng(), counts)
    assert mask.dtype == bool and mask.shape == (frames,) and mask.sum() == masked


def test_masking_reaches_every_frame_and_is_seeded():
    generator = rng(0)
    draws = np.array([clips.masked_positions(8, 0.5, generator) for _ in range(200)])
    assert (np.abs(draws.mean(0) - 0.5) < 0.18).all()  # 5 sigma of a share of 200
    assert (clips.masked_positions(8, 0.5, rng(7)) == clips.masked_positions(8, 0.5, rng(7))).all()


@pytest.mark.parametrize("length, traced, frames, period", [
    (10, 10, 4, 1), (10, -1, 4, 1), (0, 0, 4, 1), (10, 0, 0, 1), (10, 0, 4, 0)])
def test_impossible_clips_are_refused(length, traced, frames, period):
    with pytest.raises(DataError, match="traced frame|cannot be taken"):
        clips.centred_indices(length, traced, frames, period)
    with pytest.raises(DataError, match="traced frame|cannot be taken"):
        clips.training_indices(length, traced, frames, period, rng())


@pytest.mark.parametrize(("length", "frames", "period"), [(30, 16, 1), (1, 4, 1), (3, 16, 1), (64, 16, 2), (7, 1, 1), (50, 9, 5)])
def test_overlapping_windows_cover_every_frame_and_mirror_the_ends(length, frames, period):
    indices, weights = clips.overlapping_windows(length, frames, period)
    assert indices.shape == weights.shape and indices.shape[1] == frames
    assert indices.min() >= 0 and indices.max() < length
    total = np.bincount(indices.ravel(), weights.ravel(), minlength=length)
    assert (total > 0).all()
    for row, weight in zip(indices, weights, strict=True):
        assert len(set(row[weight > 0])) == (weight > 0).sum(), "a frame counts twice in one window"


def test_a_mirrored_window_by_hand():
    indices, weights = clips.overlapping_windows(6, 4, 1)
    assert indices.tolist() == [[1, 0, 1, 2], [1, 2, 3, 4], [3, 4, 5, 4]]
    assert weights.tolist() == [[0, 2, 2, 1], [1, 2, 2, 1], [1, 2, 2, 0]]


@pytest.mark.parametrize(("length", "frames", "period", "reach"), [(30, 16, 1, 1), (1, 4, 1, 1), (64, 16, 2, 0), (50, 9, 5, 3)])
def test_in_a_reaching_window_every_frame_has_its_neighbours(length, frames, period, reach):
    indices, weights = clips.reaching_windows(length, frames, period, reach)
    assert np.array_equal(np.bincount(indices[weights > 0], minlength=length), np.ones(length)), "each frame once"
    for row, weight in zip(indices, weights, strict=True):
        for place in np.flatnonzero(weight):
            last = length - 1 - (length - 1 - row[place]) % period
            around = row[place] + period * np.arange(-reach, reach + 1)
            assert np.array_equal(row[place - reach:place + reach + 1], np.clip(around, row[place] % period, last))


def test_a_reaching_window_by_hand():
    indices, weights = clips.reaching_windows(5, 4, 1, 1)
    assert indices.tolist() == [[0, 0, 1, 2], [1, 2, 3, 4], [3, 4, 4, 4]]
    assert weights.tolist() == [[0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 0, 0]]
    with pytest.raises(DataError, match="2 frames, reach 1"):
        clips.reaching_windows(5, 2, 1, 1)


@pytest.mark.parametrize(("first", "last", "frames", "found"), [
    (3, 12, 10, [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]), (10, 0, 3, [10, 5, 0]), (0, 5, 3, [0, 2, 5]), (4, 6, 5, [4, 4, 5, 6, 6])])
def test_frames_from_one_traced_frame_to_the_other(first, last, frames, found):
    """By hand; 2.5 rounds to the even 2, and an interval shorter than the clip repeats frames."""
    assert clips.phase_indices(first, last, frames).tolist() == found


@pytest.mark.parametrize(("first", "last", "frames"), [(4, 4, 10), (0, 9, 1)])
def test_one_frame_is_no_way_from_one_to_the_other(first, last, frames):
    with pytest.raises(DataError, match=f"frames {first} and {last}, F = {frames}"):
        clips.phase_indices(first, last, frames)
