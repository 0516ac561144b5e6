"""kill -9, Ctrl-C, two processes at once: what is there afterwards is the old result or the new one, never half."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from echolib.config import PhantomSpec
from echolib.data import echonet
from echolib.data.store import ClipStore, pack
from echolib.errors import DataError
from echolib.files import write_json
from echolib.phantom.cohort import write_echonet
from tests.data import fakes
from tests.robustness.children import DONE, INTERRUPTED, content, end, interrupt, start

SPEC = PhantomSpec(train=2, val=1, test=1, seed=5, frames=(16, 18))


@dataclass(frozen=True)
class Work:
    """Something that writes a folder: ``old`` writes what is there before, ``new`` replaces it; ``whole`` is what it gives."""

    old: Callable[[Path], object]
    new: Callable[[Path], object]
    unfinished: Callable[[Path], bool]  # is what lies there refused by name, and taken up again by the next attempt?


def _store_unfinished(folder: Path) -> bool:
    try:
        ClipStore.open(folder, verify=True)
    except DataError as error:
        return "interrupted" in str(error) or "not a store" in str(error)
    return False


@pytest.fixture(scope="module")
def works(tmp_path_factory) -> dict[str, Work]:
    cohort = echonet.read(fakes.write_echonet(tmp_path_factory.mktemp("data") / "data"))
    return {
        "pack": Work(lambda folder: None, partial(_pack, cohort, 112), _store_unfinished),
        "pack over another": Work(partial(_pack, cohort, 32), partial(_pack, cohort, 112), _store_unfinished),
        "phantom": Work(lambda folder: None, lambda folder: write_echonet(folder, SPEC, progress=False),
                        lambda folder: not (folder / "VolumeTracings.csv").exists() or not (folder / "FileList.csv").exists()),
    }


def _pack(cohort, size: int, folder: Path) -> None:
    pack(cohort, folder, size=size, progress=False, replace=True)


def _settled(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in content(folder).items() if not name.endswith(".part")} if folder.exists() else {}


@pytest.mark.parametrize("name", ["pack", "pack over another", "phantom"])
def test_a_signal_at_any_moment_leaves_the_old_or_the_new_result(works, tmp_path, name):
    work, rng = works[name], random.Random(name)
    work.old(tmp_path / "old")
    old = _settled(tmp_path / "old")
    work.old(tmp_path / "new")
    child, began = start(partial(work.new, tmp_path / "new")), time.monotonic()
    assert end(child) == DONE
    took, new = time.monotonic() - began, _settled(tmp_path / "new")
    assert new != old
    statuses = []
    for attempt, number in enumerate((signal.SIGKILL, signal.SIGINT, signal.SIGKILL, signal.SIGKILL)):
        folder = tmp_path / f"attempt{attempt}" / "result"
        work.old(folder)
        statuses.append(interrupt(partial(work.new, folder), took * rng.uniform(0.05, 0.95), number))
        assert statuses[-1] in (DONE, INTERRUPTED, -number)
        left = _settled(folder)
        assert left in (old, new) or work.unfinished(folder), sorted(left)
        work.new(folder)  # the next attempt
        assert _settled(folder) == new
        assert not list(folder.rglob("*.part"))
    assert set(statuses) != {DONE}, "every signal came too late: this test looked at nothing"


def test_two_packings_into_one_folder_give_one_whole_store(works, tmp_path):
    works["pack"].new(tmp_path / "alone")
    for attempt in range(3):
        folder = tmp_path / f"{attempt}" / "store"
        both = [start(partial(works["pack"].new, folder)) for _ in range(2)]
        assert [end(child) for child in both] == [DONE, DONE]
        assert content(folder) == content(tmp_path / "alone")


def test_two_builds_in_one_checkout_at_once(tmp_path, monkeypatch):
    """Cohort, store and runs of one profile by two processes: each thing is made once and both see the same."""
    from tests.robustness.workspace import RUNS, build, workspace

    monkeypatch.chdir(tmp_path)
    both = [start(partial(build, tmp_path, f"seen-{n}.json")) for n in range(2)]
    assert [end(child, 120) for child in both] == [DONE, DONE]
    one, two = (json.loads((tmp_path / f"seen-{n}.json").read_text()) for n in range(2))
    assert one == two and len(one["records"]) == RUNS
    trained = (tmp_path / "trained.txt").read_text().splitlines()
    assert len(trained) == len(set(trained)) == RUNS, "a run was trained twice"
    store = next((workspace(tmp_path).build / "store").glob("echonet-*"))
    assert ClipStore.open(store, verify=True).fingerprint == one["data"]
    assert not [p for p in tmp_path.rglob("*.part")]


def test_a_record_is_whole_while_it_is_replaced(tmp_path):
    """A reader beside a writer that is killed: every read gives one of the two records."""
    path = tmp_path / "record.json"
    records = [{"number": n, "text": str(n) * 100_000} for n in (1, 2)]
    write_json(path, records[0])

    def forever() -> None:
        for n in range(10 ** 9):
            write_json(path, records[n % 2])
    for _ in range(4):
        child = start(forever)
        seen = [json.loads(path.read_text()) in records for _ in range(40)]
        os.kill(child, signal.SIGKILL)
        assert end(child) == -signal.SIGKILL
        assert all(seen) and json.loads(path.read_text()) in records
    shutil.rmtree(tmp_path)
