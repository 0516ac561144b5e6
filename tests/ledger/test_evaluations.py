"""Evaluations of runs on whole videos: computed once, redone when anything changes, right on exact masks."""

from __future__ import annotations

import json

import numpy as np
import pytest

from echolib import models
from echolib.config import Profile
from echolib.errors import DataError, RecordError
from echolib.evaluation.kinds.video import VideoSpec
from echolib.ledger import evaluations as module
from echolib.ledger.evaluations import all_committed, commit
from echolib.ledger.ledger import Ledger
from echolib.ledger.workspace import Workspace
from echolib.papers.simlvseg.runs import segment_run
from tests.ledger.standin import untrained_runs


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    """A workspace whose cohorts are simulated once for all tests here."""
    profile = Profile.model_validate({
        "name": "tiny", "purpose": "a test", "quotable": False, "seeds": [0], "width": 0.125, "bootstrap": 200,
        "echonet": {"layout": "echonet", "channels": 1, "phantom": {"train": 1, "val": 1, "test": 2, "frames": [50, 60]}},
        "clip_3d": {"frames": 16}, "pretrain": {"epochs": 1, "batch": 1}, "segment": {"epochs": 1, "batch": 1},
        "framewise": {"epochs": 1, "batch": 2}, "probe": {"studies": 2, "frames": [96, 110]}})
    root = tmp_path_factory.mktemp("evaluations")
    return Workspace(root=root, profile=profile, build=root / "build" / "tiny")


@pytest.fixture
def ledger(cohorts, monkeypatch):
    """A ledger whose runs count as finished once they have weights; ``log`` holds its lines."""
    log: list[str] = []
    ledger = Ledger(cohorts, say=log.append, progress=False)
    ledger.log = log

    untrained_runs(monkeypatch)
    return ledger


def test_exact_masks_show_what_is_left_of_the_error(ledger):
    spec = VideoSpec(run=None, data=ledger.workspace.profile.probe_data("arrhythmia"))
    one = ledger.evaluate([spec])[0]
    assert one.record.unit == "mL" and one.record.weights is None and one.record.studies == len(one.studies) == 2
    assert (one.frames.dice == 1).all() and (one.studies.area_error == 0).all()
    assert np.abs(one.frames.volume / one.frames.exact_volume - 1).median() < 0.05
    matched = one.beats[one.beats.kind == "matched"]
    assert len(matched) >= 2 and (matched.found_ef - matched.exact_ef).abs().mean() < 4
    assert set(one.beats.kind) <= {"matched", "edge", "missed"}


def test_an_evaluation_is_made_once_and_again_when_something_changed(ledger, monkeypatch):
    profile = ledger.workspace.profile
    spec = VideoSpec(run=segment_run(profile, "unet3d", seed=0), data=profile.echonet, studies=1)
    first = ledger.evaluate([spec])[0]
    assert first.record.studies == 1 and first.frames.traced_dice.notna().sum() == 2
    assert 0 <= first.frames.dice.min() and first.frames.dice.max() <= 1
    assert ledger.evaluate([spec])[0].record == first.record and len(ledger.log) == 1
    weights = ledger.workspace.run_dir(spec.run) / "weights.safetensors"
    net = models.build("unet3d", width=0.125, frames=16, seed=1)
    models.save_weights(net, weights, {})
    assert ledger.evaluations.own(spec) == (None, "the run's weights changed")
    ledger.evaluate([spec])
    monkeypatch.setattr(module, "modules_code", lambda modules: "0" * 16)
    assert ledger.evaluations.own(spec) == (None, "the code changed")
    monkeypatch.undo()
    monkeypatch.setattr(Ledger, "store_of", lambda self, data: type("Store", (), {"fingerprint": "other"}))
    assert ledger.evaluations.own(spec) == (None, "the data changed")


def test_a_killed_evaluation_is_none(ledger):
    spec = VideoSpec(run=None, data=ledger.workspace.profile.echonet, studies=1)
    folder = ledger.evaluations.folder(spec)
    ledger.evaluate([spec])
    (folder / "record.json").unlink()
    assert ledger.evaluations.own(spec) == (None, "not run yet")
    ledger.evaluate([spec])
    text = (folder / "record.json").read_text()
    assert str(ledger.workspace.root) not in text
    (folder / "record.json").write_text(json.dumps(json.loads(text) | {"key": "f" * 16}))
    with pytest.raises(RecordError, match="says key ffff"):
        ledger.evaluate([spec])
    (folder / "record.json").write_text("{")
    with pytest.raises(RecordError, match="not a record"):
        ledger.evaluations.read(folder / "record.json")
    (folder / "record.json").write_text(text)


def test_kept_evaluations_are_read_back_without_their_frames(ledger, tmp_path):
    spec = VideoSpec(run=None, data=ledger.workspace.profile.echonet, studies=1)
    one = ledger.evaluate([spec])[0]
    commit(one, tmp_path / "results" / "tiny")
    kept = all_committed(tmp_path)
    assert [k.record for k in kept] == [one.record] and kept[0].beats.equals(one.beats)
    with pytest.raises(RecordError, match="committed without its frames"):
        _ = kept[0].frames
    (tmp_path / "results" / "tiny" / "evaluations" / f"{spec.key}.beats.csv").unlink()
    with pytest.raises(RecordError, match="beats.csv is missing"):
        all_committed(tmp_path)


def test_an_empty_split_is_named(ledger):
    spec = VideoSpec(run=None, data=ledger.workspace.profile.probe_data("arrhythmia"), split="val")
    with pytest.raises(DataError, match="val split holds no study"):
        ledger.evaluate([spec])
