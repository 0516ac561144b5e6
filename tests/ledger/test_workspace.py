"""Cohorts beside one another: who needs another one does not wait for it, who needs the same one does."""

from __future__ import annotations

import threading

import pytest

from echolib.config import Profile
from echolib.files import locked
from echolib.ledger.workspace import Workspace


@pytest.fixture
def tiny(tmp_path):
    profile = Profile.model_validate({
        "name": "tiny", "purpose": "a test", "quotable": False, "seeds": [0], "width": 0.125, "bootstrap": 200,
        "echonet": {"layout": "echonet", "channels": 1, "size": 32,
                    "phantom": {"train": 1, "val": 1, "test": 1, "seed": 4, "frames": [16, 18]}},
        "clip_3d": {"frames": 16}, "pretrain": {"epochs": 1, "batch": 1}, "segment": {"epochs": 1, "batch": 1},
        "framewise": {"epochs": 1, "batch": 2}})
    return Workspace(root=tmp_path, profile=profile, build=tmp_path / "build" / "tiny")


def in_thread(work) -> tuple[threading.Thread, list]:
    found: list = []
    thread = threading.Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()
    return thread, found


def test_a_cohort_does_not_wait_for_another_one(tiny):
    data = tiny.profile.echonet
    other = data.model_copy(update={"phantom": data.phantom.model_copy(update={"seed": 5})})
    with locked(tiny.cohort_dir(other).with_name(f".{tiny.cohort_dir(other).name}.lock")):
        thread, found = in_thread(lambda: tiny.store_of(data, workers=1, progress=False))
        thread.join(60)
        assert not thread.is_alive() and len(found[0].studies) == 3
        waiting, found = in_thread(lambda: tiny.store_of(other, workers=1, progress=False))
        waiting.join(2)
        assert waiting.is_alive() and not tiny.cohort_dir(other).exists()
    waiting.join(60)
    assert not waiting.is_alive() and len(found[0].studies) == 3


def test_some_studies_wait_while_the_whole_cohort_is_simulated(tiny):
    data = tiny.profile.echonet
    names, whole = tiny.names(data, "test"), tiny.cohort_dir(data)
    with locked(whole.with_name(f".{whole.name}.lock")):
        waiting, found = in_thread(lambda: tiny.some(data, names, progress=False))
        waiting.join(2)
        assert waiting.is_alive() and not found
    waiting.join(60)
    assert list(found[0][0].studies.index) == names
