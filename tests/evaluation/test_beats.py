"""Beats with their volumes: hand-made curves with known ejection fractions, matched and counted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from echolib.errors import DataError
from echolib.evaluation.agreement import agreement
from echolib.evaluation.beats import BeatVolumes, exact_beats, match_beats, measure_beats

FPS = 50.0


def curve(esvs: list[float], edv: float = 100.0, period: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Volume and phase of beats of ``period`` frames, ED at phase 0, each with its own ESV."""
    phase = np.tile(np.arange(period) / period, len(esvs))
    depth = np.repeat(edv - np.array(esvs), period)
    return edv - depth * np.sin(np.pi * phase) ** 2, phase


def test_exact_beats_give_each_contraction_its_own_fraction():
    volumes, phase = curve([40, 60, 50])
    found = exact_beats(volumes, phase)
    assert [round(b.ef, 6) for b in found] == [60, 40, 50]
    assert [b.es - b.ed for b in found] == [20, 20, 20] and found[1].edv == 100


def test_a_contraction_that_the_clip_cuts_off_is_no_beat():
    volumes, phase = curve([40, 60])
    assert len(exact_beats(volumes[:58], phase[:58])) == 1, "still emptying at the end"
    assert len(exact_beats(volumes[10:], phase[10:])) == 1, "end-diastole lies before the start"
    assert exact_beats(volumes[10:40], phase[10:40]) == [], "a part of a beat without its end-diastole"
    with pytest.raises(DataError, match="volume and phase"):
        exact_beats(volumes, phase[:-1])


def test_beats_survive_frames_without_a_ventricle():
    volumes, _ = curve([40, 60, 50])
    area = volumes.copy()
    holes = [5, 20, 61]
    area[holes] = volumes[holes] = 0.0
    found = measure_beats(area, volumes, FPS)
    assert [b.ef for b in found] == pytest.approx([60, 40, 50], abs=2)
    area[::2] = 0.0
    area[1::4] = 0.0
    assert measure_beats(area, volumes, FPS) == []
    with pytest.raises(DataError, match="area curve"):
        measure_beats(area, volumes[1:], FPS)


def test_beats_are_matched_by_their_end_systole_and_once():
    def beat(es: int) -> BeatVolumes:
        return BeatVolumes(es - 20, es, 100, 50, 50)

    exact = [beat(20), beat(60), beat(100)]
    found = [beat(22), beat(97), beat(103)]
    assert [(a.es, b.es) for a, b in match_beats(found, exact, FPS)] == [(22, 20), (97, 100)]
    assert match_beats([], exact, FPS) == []


def test_agreement_by_hand():
    table = pd.DataFrame({"patient": ["a", "b", "c", "d"], "found": [52, 58, 65, np.nan], "exact": [50, 60, 70, 40]})
    result = agreement(table, "found", "exact", resamples=200)
    assert (result.n, result.patients, result.mae) == (3, 3, 3.0)
    assert result.bias == pytest.approx(-5 / 3) and result.sd == pytest.approx(np.std([2, -2, -5], ddof=1))
    assert result.r2 == pytest.approx(1 - 33 / 200) and result.mae_low <= 3 <= result.mae_high
    assert result.limits == pytest.approx((result.bias - 1.96 * result.sd, result.bias + 1.96 * result.sd))
    assert agreement(table[3:], "found", "exact") is None
    with pytest.raises(DataError, match="lacks columns"):
        agreement(table, "ef", "exact")
