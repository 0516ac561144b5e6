"""The acceptance statistics of a cohort of 40 clips, and that they can fail."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from echolib.evaluation.baseline import threshold_and_fill
from echolib.phantom import statistics
from echolib.phantom.presets import QUALITIES, draw


@pytest.fixture(scope="module")
def table(echonet_clips):
    return statistics.acceptance(echonet_clips, draws=10_000)


def test_every_acceptance_statistic_is_in_range(table):
    assert len(table) >= 30
    assert table["ok"].all(), "\n" + table[~table["ok"]].to_string()


def test_every_statistic_has_a_source(table):
    assert set(table["source"]) == {"measured", "derived", "published"}
    assert list(table.columns) == ["statistic", "value", "low", "high", "ok", "source"]


def test_pictures_without_speckle_or_contrast_are_refused(echonet_clips):
    flat = [replace(c, frames=np.where(c.labels == 1, 40, 60).astype(np.uint8)) for c in echonet_clips[:3]]
    refused = statistics.acceptance(flat, draws=100).set_index("statistic")["ok"]
    for name in ("frame mean", "frame sd", "dark share", "cavity mean"):
        assert not refused[name]


def test_uniform_speckle_approaches_theory_with_many_scatterers():
    """Envelope SNR by scatterers per cell, and 1.91 and 5.57 dB in the limit."""
    few, some, many = (statistics.uniform_speckle(1.0, 2.4, per_cell=n) for n in (1.0, 5.0, 60.0))
    assert few.snr < 1.3 < some.snr < many.snr
    assert many.snr == pytest.approx(1.91, abs=0.05)
    assert many.log_sd_db == pytest.approx(5.57, abs=0.15)
    assert many.lateral_deg == pytest.approx(2.4, rel=0.12) and many.axial_mm == pytest.approx(1.0, rel=0.12)


def test_ring_by_hand():
    mask = np.zeros((9, 9), bool)
    mask[4, 4] = True
    around = statistics.ring(mask, 2)
    assert around.sum() == 12 and not around[4, 4] and around[4, 2] and not around[2, 2]


def test_correlation_of_still_and_of_independent_frames(echonet_clips):
    clip = echonet_clips[0]
    still = replace(clip, frames=np.repeat(clip.frames[:1], len(clip.frames), axis=0))
    assert statistics.correlations(still)["ring correlation"] == pytest.approx(1.0)
    noise = np.random.default_rng(0).integers(0, 255, clip.frames.shape).astype(np.uint8)
    assert abs(statistics.correlations(replace(clip, frames=noise))["ring correlation"]) < 0.05


def test_ef_of_the_labels_is_within_two_points(echonet_clips):
    for clip in echonet_clips:
        edv, esv = clip.disk_volumes_ml[clip.ed_frame], clip.disk_volumes_ml[clip.es_frame]
        assert abs(100 * (edv - esv) / edv - clip.ef) < 2.0
        assert np.abs(clip.disk_volumes_ml / clip.volumes_ml - 1).max() < 0.06


def test_volumes_and_ef_hang_together_as_in_the_data():
    drawn = [draw("echonet", [1, k]) for k in range(600)]
    ef, edv = np.array([(p.ef, p.edv_ml) for p in drawn]).T
    assert abs(edv.mean() - 91) < 8 and abs(edv.std() - 46) < 10
    assert -0.6 < np.corrcoef(ef, edv)[0, 1] < -0.2
    esv = edv * (1 - ef / 100)
    assert abs(esv.mean() - 43) < 6 and abs(esv.std() - 35) < 10


def test_camus_quality_and_first_phase_shares():
    drawn = [draw("camus", [2, k]) for k in range(450)]
    for quality, count in QUALITIES.items():
        assert sum(p.quality == quality for p in drawn) == pytest.approx(count, abs=40)
    assert 0 < sum(p.first == "ES" for p in drawn) < 150


def test_threshold_and_fill_stays_below_fifty_five(echonet_clips):
    scores = []
    for clip in echonet_clips[::2]:
        truth = clip.labels[::6] == 1
        found = threshold_and_fill(clip.frames[::6])
        scores.append(np.mean(2 * (found & truth).sum((1, 2)) / (found.sum((1, 2)) + truth.sum((1, 2)))))
    assert 0.2 < np.mean(scores) < 0.55


def test_drop_out_takes_walls_away_that_neighbouring_frames_show(echonet_clips):
    """The reason why a video network can win: a wall segment that is gone for some frames is there before or after."""
    gone = 0
    for clip in echonet_clips:
        wall = clip.labels == 2
        half = np.arange(112)[None, None] > clip.long_axis[:, :1, :1]
        level = np.array([f[w & h].mean() if (w & h).any() else np.nan for f, w, h in zip(clip.frames, wall, half, strict=True)])
        gone += np.nanmin(level) < 0.6 * np.nanmedian(level)
    assert gone >= 3
