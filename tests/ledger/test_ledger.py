"""The ledger: what is run, what is taken from the record, and what is refused. Training itself is tested elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from echolib.config import Profile
from echolib.errors import ConfigError, RecordError
from echolib.evaluation.scores import summarise
from echolib.ledger import runs as module
from echolib.ledger.ledger import Ledger
from echolib.ledger.records import read_record
from echolib.ledger.workspace import Workspace, find_root
from echolib.papers.simlvseg.runs import segment_run
from tests.ledger.standin import frame_scores, scored_at_once, trained_at_once

ROOT = Path(__file__).parents[2]


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """(ledger, log of trainings): a workspace in which a training takes no time but leaves real weights."""
    profile = Profile.model_validate({
        "name": "tiny", "purpose": "a test", "quotable": False, "seeds": [0], "width": 0.125, "bootstrap": 200,
        "echonet": {"layout": "echonet", "channels": 1, "phantom": {"train": 2, "val": 1, "test": 1}},
        "clip_3d": {"frames": 16}, "clip_si": {"frames": 4, "period": 2},
        "pretrain": {"epochs": 1, "batch": 1}, "segment": {"epochs": 1, "batch": 1}, "framewise": {"epochs": 1, "batch": 2}})
    log: list[str] = []

    trained_at_once(monkeypatch, lambda spec: log.append(spec.label))
    scored_at_once(monkeypatch)
    ledger = Ledger(Workspace(root=tmp_path, profile=profile, build=tmp_path / "build" / "tiny"), say=log.append,
                    progress=False)
    ledger._store = packed("data one")
    return ledger, log


def packed(fingerprint: str) -> SimpleNamespace:
    """What the ledger looks at in packed clips."""
    studies = pd.DataFrame({"split": ["train", "val", "test"]}, index=["a", "b", "c"])
    return SimpleNamespace(fingerprint=fingerprint, studies=studies,
                           labels=pd.DataFrame({"study": ["a", "b", "c"], "frame": 0, "phase": "ED"}))


def trainings(log: list[str]) -> list[str]:
    return [line for line in log if not line.startswith("run ")]


def test_a_run_is_made_once_and_after_the_run_it_starts_from(trained):
    ledger, log = trained
    spec = segment_run(ledger.workspace.profile, "unet3d", seed=0, pretrained=True)
    first = ledger.require([spec])[0]
    assert trainings(log) == [spec.parents["init"].label, spec.label]
    assert ledger.require([spec]) == [first] and len(trainings(log)) == 2
    assert {p.name for p in ledger.workspace.run_dir(spec).iterdir()} >= {
        "spec.json", "weights.safetensors", "scores.parquet", "record.json"}


def test_several_processes_share_a_training_when_asked(trained, monkeypatch):
    ledger, _ = trained
    ledger.store.path = "store"
    asked = []
    monkeypatch.setattr(module.processes, "train", lambda spec, store, folder, count, parents, progress: asked.append(
        (spec.recipe.kind, Path(store), folder.name, count, [parent.weights.name for parent in parents.values()])))
    run = segment_run(ledger.workspace.profile, "unet3d", seed=0, pretrained=True)
    monkeypatch.setenv("ECHOLIB_PROCESSES", "two")
    with pytest.raises(ConfigError, match="ECHOLIB_PROCESSES is 'two'; expected a whole number"):
        ledger.require([run])
    assert not asked
    monkeypatch.setenv("ECHOLIB_PROCESSES", "2")
    assert ledger.require([run])[0].provenance.processes == 2
    store = Path("store")
    assert asked == [("reconstruct", store, run.parents["init"].key, 2, []),
                     ("segment", store, run.key, 2, ["weights.safetensors"])]


def test_changed_data_and_changed_code_are_said_and_run_again(trained, monkeypatch):
    ledger, log = trained
    spec = segment_run(ledger.workspace.profile, "unet3d", seed=0)
    ledger.require([spec])
    ledger._store = packed("data two")
    ledger.require([spec])
    monkeypatch.setattr(module, "run_code", lambda spec: "0" * 16)
    assert ledger.runs.own(spec) == (None, "the code changed")
    assert [line.split(": ")[-1] for line in log if line.startswith("run ")] == ["not run yet", "the data changed"]


def test_code_edited_during_a_run_does_not_pass_for_the_code_that_ran(trained, monkeypatch):
    ledger, _ = trained
    spec = segment_run(ledger.workspace.profile, "unet3d", seed=0)
    train = module.fit

    def edited_meanwhile(*args, **options):
        monkeypatch.setattr(module, "run_code", lambda spec: "edited")
        return train(*args, **options)

    monkeypatch.setattr(module, "fit", edited_meanwhile)
    monkeypatch.setattr(module, "run_code", lambda spec: "as it ran")
    assert ledger.require([spec])[0].provenance.code == "as it ran"
    assert ledger.runs.own(spec) == (None, "the code changed")


def test_a_directory_without_a_record_is_not_a_run_and_stale_leftovers_do_not_stay(trained):
    ledger, log = trained
    spec = segment_run(ledger.workspace.profile, "unet3d", seed=0)
    folder = ledger.workspace.run_dir(spec)
    folder.mkdir(parents=True)
    (folder / "origin.json").write_text(json.dumps({"code": "older", "data": "older"}))
    (folder / "checkpoint.pt").write_bytes(b"of other code")
    assert ledger.runs.own(spec) == (None, "not run yet")
    ledger.require([spec])
    assert not (folder / "checkpoint.pt").exists() and len(trainings(log)) == 1


def test_a_record_of_another_specification_is_refused_by_name(trained):
    ledger, _ = trained
    spec = segment_run(ledger.workspace.profile, "unet3d", seed=0)
    ledger.require([spec])
    path = ledger.workspace.run_dir(spec) / "record.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"key": "f" * 16}))
    with pytest.raises(RecordError, match=f"{spec.key}/record.json: says key ffff"):
        read_record(path)
    path.write_text("{half")
    with pytest.raises(RecordError, match="not a record of a run"):
        ledger.require([spec])
    other = segment_run(ledger.workspace.profile, "unet3d", seed=1)
    ledger.require([other])
    path.write_text((ledger.workspace.run_dir(other) / "record.json").read_text())
    with pytest.raises(RecordError, match="belongs to another run"):
        ledger.require([spec])


def test_a_record_says_where_it_comes_from_and_names_no_machine(trained):
    ledger, _ = trained
    spec = segment_run(ledger.workspace.profile, "unet3d", seed=0)
    record = ledger.require([spec])[0]
    text = (ledger.workspace.run_dir(spec) / "record.json").read_text()
    assert record.provenance.data == "data one" and record.provenance.versions["torch"]
    assert str(ROOT) not in text and str(ledger.workspace.root) not in text and str(Path.home()) + "/" not in text


def test_a_summary_keeps_both_means_and_both_intervals():
    scores = summarise("masks", frame_scores(0), resamples=400)
    whole = scores["overall"]
    table = frame_scores(0)
    assert whole.mean == pytest.approx(table.dice.mean())
    assert whole.pooled == pytest.approx(2 * table.intersection.sum() / (table.predicted_px + table.traced_px).sum())
    assert whole.low < whole.mean < whole.high and whole.pooled_high - whole.pooled_low < whole.high - whole.low
    assert (whole.frames, whole.patients, scores["ES"].frames) == (24, 12, 12)


def test_real_data_needs_a_folder(monkeypatch):
    monkeypatch.delenv("ECHOLIB_ECHONET", raising=False)
    workspace = Workspace.open("paper", ROOT)
    with pytest.raises(ConfigError, match="PROFILE=paper ECHONET="):
        workspace.cohort_dir(workspace.profile.echonet)
    monkeypatch.setenv("ECHOLIB_ECHONET", "somewhere")
    assert workspace.cohort_dir(workspace.profile.echonet) == Path("somewhere")


def test_a_store_of_no_layout_is_refused():
    with pytest.raises(ConfigError, match="no layout is called 'camus_training'; expected one of echonet, camus"):
        Workspace.open("smoke", ROOT).store("camus_training")


def test_a_profile_name_cannot_leave_its_folder():
    with pytest.raises(ConfigError, match="letters, digits"):
        Workspace.open("../smoke", ROOT)


def test_outside_a_checkout_is_said(tmp_path):
    with pytest.raises(ConfigError, match="not inside a checkout"):
        find_root(tmp_path)
