"""Borders as hard to see as real ones, measured the same way, and that the measuring can fail."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from echolib.phantom import borders, statistics


@pytest.fixture(scope="module")
def table(echonet_clips):
    return borders.compare(echonet_clips)


def test_the_cohort_is_as_hard_as_real_clips(table):
    held = borders.bar(table)
    assert len(held) == 6 * len(borders.OFFSETS) + 6 + 6 + 3 + len(borders.BANDS) + 2
    assert held["ok"].all(), "\n" + held[~held["ok"]].to_string()


def test_a_phantom_with_visible_walls_is_refused(echonet_clips):
    """Walls of one level all round, as in the simulator's first form."""
    painted = []
    for clip in echonet_clips[:4]:
        frames = np.where(clip.labels == 2, 150, np.where(clip.labels == 1, 3, clip.frames)).astype(np.uint8)
        painted.append(replace(clip, frames=frames))
    held = borders.bar(borders.compare(painted)).set_index(["statistic", "wall"])["ok"]
    assert not held["contrast", "apical"].any() and not held["hidden", "lateral"].any()


def test_wide_reaches_beyond_the_real_range_on_both_sides():
    """To the standard error of a decile of 100 clips: 4 of 100 grey levels where the sd over clips is 22, and so on."""
    table = borders.compare(statistics.cohort(100, preset="wide", frames=20))
    held = table[table["real mean"].notna() & table["real sd"].notna() & ~table["statistic"].isin(["change mean", "change 95"])]
    slack = held["statistic"].map({"grey": 4.0, "contrast": 3.0, "hidden": 0.05, "spectrum": 0.01})
    low = (held["real mean"] - held["real sd"]).clip(lower=0.0)          # nothing is darker than black
    high = held["real mean"] + held["real sd"]
    missed = held[(held["p10"] > low + slack) | (held["p90"] < high - slack)]
    assert missed.empty, "\n" + missed.to_string()


def test_outline_of_a_disk_by_hand():
    y, x = np.mgrid[:112, :112]
    mask = np.hypot(x - 56, y - 50) <= 20
    points, normals, walls = borders.outline(mask, np.array([[56, 30], [56, 70]]))
    np.testing.assert_allclose(np.hypot(points[:, 0] - 56, points[:, 1] - 50), 20.2, atol=0.6)
    outward = (points - [56, 50]) / 20
    assert (np.sum(outward * normals, axis=1) > 0.97).all()
    septal, apical, lateral = (points[walls == k] for k in range(3))
    assert (septal[:, 0] < 56).all() and (lateral[:, 0] > 56).all() and (apical[:, 1] < 39).all()
    assert (points[walls == -1][:, 1] > 63).all()


def test_grey_along_the_normals_of_a_ramp():
    y, x = np.mgrid[:112, :112]
    mask = np.hypot(x - 56, y - 50) <= 20
    points, normals, _ = borders.outline(mask, np.array([[56, 30], [56, 70]]))
    ramp = np.hypot(x - 56, y - 50)
    found = borders.along_normals(ramp, points, normals, (-5, 0, 5)).mean(axis=0)
    np.testing.assert_allclose(found, [15.2, 20.2, 25.2], atol=0.3)


def test_scale_and_spectrum_by_hand(echonet_clips):
    frames = np.zeros((2, 40, 40), np.uint8)
    frames[:, :20] = np.linspace(100, 200, 20)[:, None]
    assert borders.scale(frames) == pytest.approx(100 / 200, rel=0.03)
    assert borders.scale(np.zeros((1, 4, 4), np.uint8)) == 1.0
    wave = np.round(127 + 100 * np.sin(2 * np.pi * 10 * np.arange(112) / 112))
    waves = np.broadcast_to(wave, (9, 112, 112)).astype(np.uint8)
    assert borders.spectrum(replace(echonet_clips[0], frames=waves))[2] > 0.99       # 10 cycles: the band from 8 to 16


def test_change_of_still_and_of_blinking_frames(echonet_clips):
    still = np.full((5, 16, 16), 90, np.uint8)
    assert borders.frame_change(replace(echonet_clips[0], frames=still)) == (0.0, 0.0)
    still[1::2] += 4
    assert borders.frame_change(replace(echonet_clips[0], frames=still)) == (4.0, 4.0)
