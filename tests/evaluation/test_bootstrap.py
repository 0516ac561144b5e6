"""Intervals: twins by plain loops, exact small cases, coverage by simulation; the paired test by hand."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
import pytest

from echolib.errors import DataError
from echolib.evaluation import bootstrap
from echolib.evaluation.bootstrap import legacy_frame_interval, paired_test, patient_interval


def table(patients: int, frames: int = 2, seed: int = 0, spread: float = 0.05, noise: float = 0.01) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    own = rng.normal(0.9, spread, patients)
    rows = [{"study": f"s{p:04d}", "patient": f"p{p:04d}", "frame": f, "phase": "ED" if f == 0 else "ES",
             "dice": float(own[p] + rng.normal(0, noise)), "predicted_px": 1000, "traced_px": int(rng.integers(800, 1200))}
            for p in range(patients) for f in range(frames)]
    out = pd.DataFrame(rows)
    out["intersection"] = (out.dice * (out.predicted_px + out.traced_px) / 2).round().astype(int)
    return out


def test_patient_interval_against_a_loop():
    scores = table(9, frames=3)
    got = patient_interval(scores, resamples=300, seed=4)
    groups = [g.dice.to_numpy() for _, g in scores.groupby("patient", sort=False)]
    drawn = np.random.default_rng([4, 9]).integers(0, 9, size=(300, 9), dtype=np.int32)
    means = [np.concatenate([groups[k] for k in row]).mean() for row in drawn]
    assert (got.low, got.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))
    assert got.mean == pytest.approx(scores.dice.mean())
    assert (got.n, got.patients, got.level, got.unit) == (27, 9, 0.95, "patients")


def test_patients_weigh_by_their_frames():
    # patient a has 3 frames of 1, b one frame of 0: the mean over frames is 3/4; resamples are aa, ab or ba, bb
    scores = pd.DataFrame({"patient": list("aaab"), "dice": [1.0, 1, 1, 0]})
    got = patient_interval(scores, resamples=2000)
    assert (got.mean, got.low, got.high) == (0.75, 0.0, 1.0)


def test_legacy_interval_against_a_loop():
    scores = table(7)
    got = legacy_frame_interval(scores, resamples=200, seed=1)
    drawn = np.random.default_rng([1, 14]).integers(0, 14, size=(200, 14), dtype=np.int32)
    pooled = [2 * s.intersection.sum() / (s.predicted_px.sum() + s.traced_px.sum()) for s in (scores.iloc[row] for row in drawn)]
    assert (got.low, got.high) == pytest.approx(tuple(np.percentile(pooled, [5, 95])))
    assert got.mean == pytest.approx(2 * scores.intersection.sum() / (scores.predicted_px + scores.traced_px).sum())
    assert (got.n, got.patients, got.level, got.unit) == (14, 7, 0.9, "frames")


def test_pooled_value_resamples_patients_of_pooled_dice():
    scores = table(30)
    ours, legacy = patient_interval(scores, "pooled", level=0.9), legacy_frame_interval(scores)
    assert ours.mean == legacy.mean
    # Two frames of a patient are nearly equal here, so frames taken as independent give an interval sqrt(2) too narrow.
    assert (ours.high - ours.low) / (legacy.high - legacy.low) == pytest.approx(2 ** 0.5, rel=0.12)


def test_blocks_do_not_change_the_interval(monkeypatch):
    scores = table(40)
    whole = patient_interval(scores, resamples=500), legacy_frame_interval(scores, resamples=500)
    monkeypatch.setattr(bootstrap, "BLOCK", 1000)
    assert (patient_interval(scores, resamples=500), legacy_frame_interval(scores, resamples=500)) == whole


def test_seed_decides():
    scores = table(20)
    assert patient_interval(scores, resamples=400, seed=3) == patient_interval(scores, resamples=400, seed=3)
    assert patient_interval(scores, resamples=400, seed=3) != patient_interval(scores, resamples=400, seed=4)


def test_row_order_of_frames_within_a_patient_does_not_matter():
    scores = table(12)
    swapped = scores.sort_values(["patient", "frame"], ascending=[True, False])
    one, two = patient_interval(scores, resamples=300), patient_interval(swapped, resamples=300)
    assert (one.mean, one.low, one.high) == pytest.approx((two.mean, two.low, two.high))


def test_frames_without_a_value_do_not_enter():
    scores = table(6).assign(hd95_px=[np.nan, 1.0] * 6)
    got = patient_interval(scores, "hd95_px", resamples=100)
    assert (got.n, got.patients, got.mean, got.low, got.high) == (6, 6, 1.0, 1.0, 1.0)


def test_memory_is_bounded():
    scores = table(1276)
    tracemalloc.start()
    legacy_frame_interval(scores, resamples=10_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6  # all draws at once would take 10,000 x 2,552 x 8 bytes = 204 MB


def test_coverage_of_the_two_intervals():
    """Of 250 small cohorts the 95 % patient interval holds the true mean in about 95 %, the legacy one in far fewer."""
    held = {"patients": 0, "frames": 0}
    for seed in range(250):
        scores = table(40, seed=seed)
        scores["traced_px"] = 1000
        scores["intersection"] = scores.dice * 1000  # equal areas: pooled Dice is mean Dice, with the same true value 0.9
        for got in (patient_interval(scores, resamples=400, seed=seed), legacy_frame_interval(scores, resamples=400, seed=seed)):
            held[got.unit] += got.low <= 0.9 <= got.high
    assert 0.90 <= held["patients"] / 250 <= 0.98
    assert held["frames"] / 250 <= 0.82  # 2 frames as independent and 5-95 %: about 0.75


def test_paired_test_by_hand():
    # patient means of a - b: +.1, +.2, +.3, -.4, +.5 -> ranks 1..5, negative rank sum 4; two-sided exact p = 14/32
    a = pd.DataFrame({"study": list("vwxyz"), "patient": list("vwxyz"), "frame": 0, "dice": [0.1, 0.2, 0.3, -0.4, 0.5]})
    got = paired_test(a, a.assign(dice=0.0))
    assert (got.statistic, got.patients) == (4.0, 5)
    assert got.p_value == pytest.approx(14 / 32)
    assert got.difference == pytest.approx(0.14)


def test_paired_test_averages_frames_and_ignores_row_order():
    a, b = table(20, seed=1), table(20, seed=2)
    got = paired_test(a, b.sample(frac=1, random_state=0))
    gaps = a.groupby("patient").dice.mean() - b.groupby("patient").dice.mean()
    assert got.difference == pytest.approx(gaps.mean())
    assert got.patients == 20
    back = paired_test(b, a)
    assert (back.difference, back.p_value) == pytest.approx((-got.difference, got.p_value))


def test_paired_test_of_equal_sides():
    a = table(5)
    got = paired_test(a, a)
    assert (got.difference, got.p_value) == (0.0, 1.0)


def test_paired_test_names_what_does_not_match():
    a = table(4)
    with pytest.raises(DataError, match="1 frames.*s0003, frame 1"):
        paired_test(a, a.iloc[:-1])
    with pytest.raises(DataError, match="scored twice"):
        paired_test(pd.concat([a, a.iloc[:1]]), a)
    with pytest.raises(DataError, match="finite"):
        paired_test(a, a.assign(dice=np.nan))


@pytest.mark.parametrize(("scores", "options", "words"), [
    (table(3).drop(columns="patient"), {}, "patient"),
    (table(3), {"value": "hd95_px"}, "hd95_px"),
    (table(3).assign(dice=np.nan), {}, "no frame has a value"),
    (table(3), {"level": 1.0}, "level 1.0"),
    (table(3), {"resamples": 0}, "0 resamples"),
])
def test_wrong_tables_are_refused(scores, options, words):
    with pytest.raises(DataError, match=words):
        patient_interval(scores, **options)


def test_legacy_needs_frames():
    with pytest.raises(DataError, match="no frames"):
        legacy_frame_interval(table(3).iloc[:0])
    with pytest.raises(DataError, match="intersection"):
        legacy_frame_interval(table(3).drop(columns="intersection"))
