"""Cleaning of masks and the rules of the flags, on shapes drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest

from echolib.clinic.masks import averaging_window, clean
from echolib.clinic.quality import find_flags, refuse, steadiness
from echolib.clinic.result import HeartBeat
from echolib.data.sector import Sector


def ellipse(a: float = 26, b: float = 15, row: float = 52, column: float = 58) -> np.ndarray:
    rows, columns = np.mgrid[:112, :112]
    return ((rows - row) / a) ** 2 + ((columns - column) / b) ** 2 < 1


@pytest.mark.parametrize("fps, window", [(15, 1), (30, 1), (50, 3), (60, 3), (85, 5), (5, 1)])
def test_the_averaging_window_is_odd(fps, window):
    assert averaging_window(fps) == window


def test_an_island_that_is_large_on_one_frame_does_not_win():
    truth = ellipse()
    p = np.repeat(truth[None].astype(np.float32), 9, 0)
    p[4] = 0.0
    p[4][ellipse(14, 9)] = 1.0                                # the ventricle is small on this frame
    p[4, 60:110, 2:30] = 1.0                                  # an island in the right heart is larger
    _, masks = clean(p, 30.0)
    assert not masks[4][:, :31].any() and masks[4][52, 58]


def test_holes_are_filled_specks_dropped_and_flicker_removed():
    p = np.repeat(ellipse()[None].astype(np.float32), 9, 0)
    p[:, 45:49, 55:59] = 0
    p[3:4] = 0                                                # one lost frame of nine at 50 fps
    _, masks = clean(p, 50.0)
    assert masks[:, 46, 56].all() and masks[3].sum() == ellipse().sum()
    speck = np.zeros((4, 112, 112), np.float32)
    speck[:, 10:14, 10:14] = 1
    assert not clean(speck, 30.0)[1].any()


def flags_of(masks, *, beats=(), cone=None, fps=50.0, p=None, coloured=0.0, complete=True) -> set[str]:
    cone = np.ones((112, 112), bool) if cone is None else cone
    frames = np.full(masks.shape, 90, np.uint8)
    sector = Sector(mask=cone, top=0, bottom=111, tip=56, coloured=coloured)
    p = masks.astype(np.float16) if p is None else p
    found = find_flags(frames, p, masks, masks.sum((1, 2)).astype(float), fps, sector, cone, list(beats), complete)
    return {flag.code for flag in found}


def beat(ed=0, es=5, ef=55.0) -> HeartBeat:
    return HeartBeat(ed, es, ed / 50, es / 50, np.nan, 100, 45, 30, 18, ef)


def test_a_good_clip_has_no_flag():
    masks = np.stack([ellipse(26 - 0.4 * t, 15 - 0.4 * t, 52 + 0.4 * t) for t in range(10)])
    assert flags_of(masks, beats=[beat(0, 9)]) == set()


def test_what_is_not_one_ventricle_in_one_place_is_refused():
    good = np.stack([ellipse(26 - 0.8 * t, 15 - 0.4 * t) for t in range(10)])
    p = np.where(good, 0.95, 0.05).astype(np.float16)
    assert refuse(p, good) is None and steadiness(p, good) > 0.75
    assert refuse(p, np.zeros_like(good)).code == "no_ventricle"
    most = good.copy()
    most[:4] = False
    assert refuse(p, most) is None, "frames without a ventricle are a doubt, not a reason"
    wandering = np.stack([ellipse(20, 14, 40 + 4 * t, 30 + 5 * t) for t in range(10)])
    assert refuse(np.where(wandering, 0.95, 0.05).astype(np.float16), wandering).code == "no_apical_view"
    hazy = np.where(good, 0.7, 0.3).astype(np.float16)
    assert refuse(hazy, good).code == "no_apical_view"
    both = np.stack([ellipse(26, 12, column=35) | ellipse(26, 12, column=80)] * 10)
    assert steadiness(np.where(both, 0.95, 0.05), both & (np.arange(112) > 56)) == pytest.approx(0.5, abs=0.02)


def test_each_flag_has_its_cause():
    good = np.repeat(ellipse()[None], 20, 0)
    some = good.copy()
    some[3] = False
    assert "frames_without_ventricle" in flags_of(some, beats=[beat()])
    jumpy = good.copy()
    jumpy[::4] = ellipse(18, 10)
    assert "area_jumps" in flags_of(jumpy, beats=[beat()])
    assert "no_contraction" in flags_of(good)
    assert "no_full_beat" in flags_of(good, beats=[beat()], complete=False)
    assert "beats_differ" in flags_of(good, beats=[beat(ef=40), beat(ef=60)])
    assert "implausible_ef" in flags_of(good, beats=[beat(ef=92)])
    assert "foreshortening" in flags_of(np.repeat(ellipse(18, 16)[None], 20, 0), beats=[beat()])
    moved = good.copy()
    moved[5] = ellipse(18, 13, 66)
    assert "foreshortening" in flags_of(moved, beats=[beat(0, 5)]), "the apex travels"
    assert "touches_edge" in flags_of(good, beats=[beat()], cone=np.arange(112)[None, :].repeat(112, 0) > 45)
    assert "unsure" in flags_of(good, beats=[beat()], p=np.where(good, 0.6, 0.0).astype(np.float16))
    assert "colour" in flags_of(good, beats=[beat()], coloured=0.2)
