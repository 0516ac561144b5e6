"""Time: the measured area curve, irregular beats, lost and repeated frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from echolib.phantom.motion import AREA_CURVE, SYSTOLE, relax, timeline
from echolib.phantom.presets import draw
from echolib.phantom.ventricle import POINTS, solve


def test_relax_inverts_the_area():
    a, b = 0.2, 0.28
    c = np.linspace(0, 1, 11)
    area = (1 - a * c) * (1 - b * c)
    share = (area - area[-1]) / (area[0] - area[-1])
    np.testing.assert_allclose(relax(share, a, b), c, atol=1e-12)


def test_the_traced_beat_follows_the_measured_curve():
    p = replace(draw("echonet", 1, frames=200), rr_variation=0.0)
    line = timeline(p, (0.2, 0.25))
    beat = line.beats[line.traced]
    assert line.contraction_at(np.array([beat.ed, beat.es])) == pytest.approx([0.0, 1.0], abs=1e-9)
    assert (beat.es - beat.ed) / (beat.end - beat.ed) == pytest.approx(SYSTOLE)
    rr = 60.0 / p.heart_rate
    before = line.beats[line.traced - 1] if line.traced else line.beats[0]
    c = line.contraction_at(before.es + np.linspace(0, 1, 26) * rr)
    area = (1 - 0.2 * c) * (1 - 0.25 * c)
    curve = (area - area.min()) / (area.max() - area.min())
    assert np.abs(curve - AREA_CURVE).max() < 0.10


def test_phase_is_zero_at_end_diastole_and_below_one():
    line = timeline(draw("echonet", 2, frames=120))
    assert line.phase.min() >= 0 and line.phase.max() < 1
    wraps = np.flatnonzero(np.diff(line.phase) < 0)
    assert len(wraps) >= 1
    starts = np.array([b.ed for b in line.beats])
    for k in wraps:
        assert np.any((starts > line.times[k]) & (starts <= line.times[k + 1]))


def test_sinus_rhythm_varies_by_one_to_three_percent():
    spread = []
    for seed in range(30):
        intervals = np.array([b.end - b.ed for b in timeline(draw("echonet", seed, frames=800)).beats])
        spread.append(intervals.std() / intervals.mean())
    assert 0.005 < np.mean(spread) < 0.03


def test_arrhythmia_changes_rr_and_ef_from_beat_to_beat():
    spread, change, kicks = [], [], []
    for seed in range(60):
        p = draw("arrhythmia", seed, frames=220)
        if p.rhythm != "fibrillation":
            continue
        ventricle, line = solve(p)
        intervals = np.array([b.end - b.ed for b in line.beats])
        spread.append(intervals.std() / intervals.mean())
        ef = []
        for beat in line.beats:
            c = np.array([beat.c_ed, beat.c_es])
            edv, esv = ventricle.volume(np.repeat(c[:, None], POINTS, axis=1), c)
            ef.append(100 * (edv - esv) / edv)
        change.append(max(ef) - min(ef))
        kicks.append(line.kick.max())
    assert 0.18 < np.mean(spread) < 0.36
    assert 14 < np.mean(change) < 27
    assert max(kicks) == 0.0


def test_an_ectopic_beat_is_early_and_followed_by_a_pause():
    seed = next(s for s in range(50) if draw("arrhythmia", s, frames=300).rhythm == "ectopy")
    p = replace(draw("arrhythmia", seed, frames=300), heart_rate=75.0)
    line = timeline(p)
    intervals = np.array([b.end - b.ed for b in line.beats])
    early = np.flatnonzero(intervals < 0.75 * 60 / 75)
    assert len(early) >= 1
    for k in early[early + 1 < len(intervals)]:
        assert intervals[k + 1] > 1.25 * 60 / 75
        assert line.beats[k].c_es < 0.8


@pytest.mark.parametrize("frames", [28, 60, 175])
def test_a_clip_holds_a_beat_where_the_rates_allow_it(frames):
    for seed in range(20):
        p = draw("echonet", seed, frames=frames)
        line = timeline(p)
        beat = line.beats[line.traced]
        assert beat.ed >= -1e-9 and beat.es <= line.times[-1] + 1e-9
        if (frames - 1) / p.fps > 60 / 111 * 1.05:
            assert beat.end <= line.times[-1] + 1.5 / p.fps


def test_half_cycles_start_and_end_on_the_traced_phases():
    for first, ends in (("ED", (0.0, 1.0)), ("ES", (1.0, 0.0))):
        p = draw("camus", 4, first=first)
        line = timeline(p)
        assert line.contraction[[0, -1]] == pytest.approx(ends, abs=0.03)
        assert 10 <= p.frames <= 42


def test_repeated_frames_stand_still_and_lost_frames_jump():
    p = replace(draw("echonet", 6, frames=80), repeated=2, lost=2)
    line = timeline(p)
    steps = np.diff(line.times) * p.fps
    assert sorted(np.unique(np.rint(steps))) == [0, 1, 2]
    assert (steps < 0.5).sum() == 2 and (steps > 1.5).sum() == 2
    assert (line.copies != np.arange(80)).sum() == 2


def test_mitral_leaflets_open_in_diastole_only():
    line = timeline(replace(draw("echonet", 8, frames=200), rr_variation=0.0))
    systole = line.phase < SYSTOLE
    assert line.opening[systole & (line.phase > 0.1)].max() < 0.05
    assert line.opening[~systole].max() > 0.95
