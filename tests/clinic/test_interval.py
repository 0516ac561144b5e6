"""Intervals of the EF: hand-worked ones, doubts of made-up clips, the calibration, and the record that comes along."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from echolib.clinic import calibrate as calibrating
from echolib.clinic.calibrate import Measured, calibrate, coverage, fit_calibration
from echolib.clinic.calibration import Calibration
from echolib.clinic.cohort import segment_files
from echolib.clinic.interval import VIEWS, _network_doubt, _window, measure_doubts
from echolib.clinic.outputs import summary
from echolib.clinic.report import build_report
from echolib.clinic.result import MOST_WIDTH, Doubts, HeartBeat
from echolib.clinic.segmentation import segment
from echolib.clinic.weights import DEFAULT, load_segmenter
from echolib.clinic.wide_clips import CALIBRATE, CALIBRATE_ECHONET, clip_path
from echolib.data.video import write_avi
from echolib.errors import DataError, TrainingError, WeightsError
from echolib.evaluation.ejection import disk_volume
from tests.clinic.clips import FPS, DarkRegion, beating, stand_in

CPU = torch.device("cpu")
PLAIN = Calibration(level=90, floor=3.0, views=2.0, network=0.5, beats=1.0, low=-1.0, high=2.0)


def test_an_interval_worked_by_hand():
    between = PLAIN.interval(50.0, Doubts(views=2.0, network=0.0, beats=0.0))  # the root of 9 + 16 is 5
    assert (between.low, between.high, between.largest) == (45.0, 60.0, "views") and between.useful
    between = PLAIN.interval(95.0, Doubts(views=0.0, network=8.0, beats=0.0))
    assert (between.low, between.high, between.largest) == (90.0, 100.0, "network")
    assert PLAIN.interval(50.0, Doubts(0.0, 0.0, 0.0)).largest == "floor"
    wide = PLAIN.interval(50.0, Doubts(views=2.0, network=0.0, beats=9.0))
    assert wide.high - wide.low > MOST_WIDTH and not wide.useful and wide.why == "the beats differ from one another"
    lost = PLAIN.interval(50.0, Doubts(views=math.inf, network=0.0, beats=0.0))
    assert (lost.low, lost.high) == (0.0, 100.0) and "lost" in lost.why


@pytest.mark.parametrize("change", [{"floor": 0.0}, {"views": -1.0}, {"low": 0.5}, {"high": math.inf}, {"level": 100}])
def test_a_calibration_that_cannot_be_is_refused(change):
    with pytest.raises(DataError, match="calibration"):
        replace(PLAIN, **change)


def drawn(count: int, seed: int, bias: float) -> list[Measured]:
    """Clips whose error has the spread sqrt(3^2 + (2 views)^2) about a bias."""
    rng = np.random.default_rng(seed)
    views = rng.exponential(3, count)
    error = bias + rng.normal(size=count) * np.hypot(3, 2 * views)
    return [Measured("made", 50 + e, 50.0, Doubts(v, float(rng.uniform(0, 9)), 0.0)) for e, v in zip(error, views, strict=True)]


@pytest.mark.parametrize("bias", [0.0, 4.0])
def test_the_fit_finds_what_the_errors_follow_and_holds_on_others(bias):
    found = fit_calibration(drawn(400, 1, bias))
    assert found.floor == pytest.approx(3, abs=1) and found.views == pytest.approx(2, abs=0.4) and found.network < 0.5
    told = coverage(found, drawn(2000, 2, bias))
    assert told["clips"] == 2000 and told["held_percent"] == pytest.approx(90, abs=3)
    assert 0 < told["withheld"] < 1000


def test_coverage_is_counted():
    truths = ((46, 0), (48, 0), (57, 0), (20, 10), (50, 10))
    clips = [Measured("made", true, 50.0, Doubts(views, 0.0, 0.0)) for true, views in truths]
    told = coverage(PLAIN, clips)  # 47 to 56, and 30 to 91, which is too wide
    assert told == {"clips": 5, "held_percent": 40.0, "held_percent_where_given": 33.3, "width_median_points": 9.0, "withheld": 2,
                    "ef_bias_points": 5.8, "ef_mae_points": 8.6}


def test_too_few_clips_cannot_be_fitted():
    lost = Measured("made", 50, 50, Doubts(math.inf, 1.0, 0.0))
    with pytest.raises(TrainingError, match="only 9 of 20"):
        fit_calibration(drawn(9, 0, 0) + [lost] * 11)


class Near(DarkRegion):
    """The stand-in says that it looks at single frames."""

    reach = 0


@pytest.mark.parametrize("model", [DarkRegion, Near])
def test_a_clear_clip_leaves_little_doubt(result, model):
    segmenter = replace(stand_in(), model=model().eval())
    doubts = measure_doubts(segmenter, result.frames, 110 / 150, result.probabilities, result.masks, result.beats, FPS, CPU)
    assert 0 < doubts.views < 3 and doubts.network < 5
    efs = [beat.ef for beat in result.beats]
    assert doubts.beats == pytest.approx(np.std(efs, ddof=1) / math.sqrt(2))
    one = measure_doubts(segmenter, result.frames, 110 / 150, result.probabilities, result.masks, result.beats[:1], FPS, CPU)
    assert one.beats == 0


def test_a_ventricle_that_is_lost_in_a_view_is_a_doubt_without_end(result):
    class Dazzled(DarkRegion):
        """Sees nothing as soon as one pixel is brighter than 1.1 times the brightest of the clip as it is."""

        def forward(self, clip):
            logits = super().forward(clip)
            brightest = float(clip.max()) * 0.196 + 0.128
            return logits if brightest < 1.1 * 143 / 255 else torch.full_like(logits, -9.0)

    gain = 143 / result.frames.max()
    known = (result.frames, gain, result.probabilities, result.masks, result.beats, FPS, CPU)
    assert math.isfinite(measure_doubts(stand_in(), *known).views)
    assert math.isinf(measure_doubts(replace(stand_in(), model=Dazzled().eval()), *known).views)


def test_the_networks_doubt_by_hand():
    """Discs of probability 0.9, 0.6 and 0.3 inside one another, as large at end-systole as the middle one alone."""
    rows, columns = np.mgrid[:112, :112]
    far = np.hypot((rows - 56) / 1.6, columns - 56)
    wide = np.where(far < 16, 0.9, np.where(far < 18, 0.6, np.where(far < 20, 0.3, 0.0)))
    sharp = np.where(far < 12, 0.95, 0.0)
    p = np.stack([wide] * 3 + [sharp] * 3)
    beat = HeartBeat(1, 4, 0, 0, math.nan, 1, 1, 1, 1, 50)
    volume = {radius: disk_volume(far < radius, 1.0) for radius in (12, 16, 18, 20)}
    expected = 100 * volume[12] / volume[18] * (volume[20] - volume[16]) / 2 / volume[18]
    assert _network_doubt(p, (p > 0.5).mean(0), beat) == pytest.approx(expected, rel=1e-6)
    assert math.isinf(_network_doubt(np.zeros_like(p), np.zeros((112, 112)), beat))


def test_windows_hold_their_key_frame():
    for segmenter in (stand_in(), replace(stand_in(), model=Near().eval()), replace(stand_in(), period=2)):
        for count in (2, 5, 60):
            for key in (0, count // 2, count - 1):
                for view in VIEWS:
                    numbers, place = _window(count, key, segmenter, FPS, view.offset)
                    assert numbers[place] == key and 0 <= numbers.min() and numbers.max() < count
                    assert (np.abs(np.diff(numbers)) <= 1).all()
    places = {_window(60, 30, stand_in(), FPS, view.offset)[1] for view in VIEWS}
    assert len(places) == 5, "a network that sees all of its window sees the frame at other places of it"
    assert len(_window(60, 30, replace(stand_in(), model=Near().eval()), FPS, 0.25)[0]) == 5, "its neighbours, averaged"


@pytest.fixture(scope="module")
def sure(clip):
    return segment(clip[0], FPS, 0.8, weights=replace(stand_in(), interval=PLAIN), orientation="upright")


@pytest.fixture(scope="module")
def unsure(clip):
    return segment(clip[0], FPS, 0.8, weights=replace(stand_in(), interval=replace(PLAIN, floor=12.0)), orientation="upright")


def test_the_interval_is_shown_with_the_ef(sure, result):
    between = sure.interval
    assert between.low < sure.ef < between.high and sure.ef == result.ef and between.useful
    told = summary(sure)["ef_percent"]
    assert told["interval"]["low"] == round(between.low, 1) and told["interval"]["level_percent"] == 90
    assert f"90 % interval {between.low:.0f}–{between.high:.0f} %" in build_report(sure, "none")
    assert not [flag for flag in sure.flags if flag.code.startswith("ef_")]


def test_no_ef_is_given_when_the_interval_is_too_wide(unsure, result):
    assert math.isnan(unsure.ef) and all(math.isnan(beat.ef) for beat in unsure.beats) and not unsure.interval.useful
    said = [flag.text for flag in unsure.flags if flag.code == "ef_withheld"]
    assert len(said) == 1 and said[0].startswith("No EF is given") and "these weights miss the EF" in said[0]
    told = summary(unsure)["ef_percent"]
    assert told["mean"] is None and told["low"] is None and told["beats"] == 2 and told["interval"]["useful"] is False
    page = build_report(unsure, "none")
    assert ">nan" not in page and "not given" in page and f"{result.ef:.0f} %" not in page.replace(said[0], "")
    assert unsure.main_beat is unsure.beats[0]


def test_weights_without_a_calibration_say_so(result):
    assert result.interval is None and "ef_without_interval" in {flag.code for flag in result.flags}


def test_cohort_lines_hold_the_interval(clip, tmp_path):
    write_avi(tmp_path / "a.avi", clip[0], 50)
    for floor in (3.0, 30.0):
        said: list[str] = []
        segmenter = replace(stand_in(), interval=replace(PLAIN, floor=floor))
        row = segment_files([tmp_path / "a.avi"], tmp_path / "out", segmenter, orientation="upright", say=said.append)[0]
        assert float(row.values["ef_low"]) < float(row.values["ef_high"])
        assert bool(row.values["ef_percent"]) == (floor < 10) and ("no EF" in said[0]) == (floor > 10)


def test_calibrating_writes_the_record(tmp_path, monkeypatch):
    for stream in (CALIBRATE, CALIBRATE_ECHONET):
        for number in range(9):
            video, masks = beating(44, 112, 112, seed=stream + number, ejected=0.1 + 0.03 * number)
            path = clip_path(tmp_path, stream, 0, number)
            path.parent.mkdir(exist_ok=True)
            np.savez_compressed(path, frames=video, masks=np.packbits(masks), fps=FPS, spacing_mm=1.0, ed_frame=0, es_frame=20,
                                ef=100 * (1 - (0.9 - 0.03 * number) ** 3))
    monkeypatch.setattr(calibrating, "ensure_clips", lambda *_, **__: None)
    monkeypatch.setattr(calibrating, "load_segmenter", lambda *_, **__: stand_in())
    (tmp_path / "w.json").write_text(json.dumps({"sha256": "1", "validation": {}}))
    entry = calibrate(tmp_path / "w.safetensors", tmp_path, fit=6, check=3, device="cpu", say=lambda _: None)
    kept = json.loads((tmp_path / "w.json").read_text())
    assert kept["sha256"] == "1" and kept["interval"] == entry and entry["all"]["clips"] == 6
    assert entry["counted_on"]["wide"]["clips"] == 3 and "numbers 6 to 8" in entry["counted_on"]["wide"]["data"]
    assert Calibration.of_record(entry).level == 90


def test_the_shipped_weights_are_calibrated_and_their_intervals_hold():
    """Fails when the weights were made anew without `python -m echolib.clinic.calibrate`."""
    entry = json.loads(DEFAULT.with_suffix(".json").read_text())["interval"]
    assert load_segmenter().interval == Calibration.of_record(entry)
    assert 85 <= entry["all"]["held_percent"] <= 95 and entry["all"]["clips"] >= 80


def test_a_damaged_calibration_is_damage(tmp_path):
    for suffix in (".safetensors", ".json"):
        (tmp_path / f"default{suffix}").write_bytes(DEFAULT.with_suffix(suffix).read_bytes())
    record = json.loads(DEFAULT.with_suffix(".json").read_text())
    for entry in ({"level": 90}, {"floor": -1}, []):
        (tmp_path / "default.json").write_text(json.dumps({**record, "interval": entry}))
        with pytest.raises(WeightsError, match=r"default.json is missing or damaged"):
            load_segmenter(None, default=tmp_path / "default.safetensors")
