"""What the smoke book must have shown once it is made; run by .ci/run after ``make book``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from echolib.config import load_profile
from echolib.evaluation.kinds.threshold import ThresholdSpec
from echolib.ledger.ledger import Ledger
from echolib.ledger.workspace import Workspace
from echolib.papers.simlvseg.table1 import TABLE1

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.book


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    return Ledger(Workspace.open("smoke", ROOT), progress=False)


def test_every_run_of_the_catalogue_has_a_current_record(ledger):
    for specs in TABLE1.runs(load_profile(ROOT / "profiles" / "smoke.yml")).values():
        for spec in specs:
            found = ledger.runs.find(spec)
            record, why = found.record, found.why
            assert why == "finished" and record.key == spec.key
            for parent in spec.parents.values():
                assert ledger.runs.read(ledger.runs.folder(parent) / "record.json").spec == parent


def test_the_3d_network_beats_the_baseline_by_a_tenth(ledger):
    spec = TABLE1.runs(ledger.workspace.profile)["SimLVSeg-3D"][0]
    record = ledger.runs.find(spec).record
    scores = ledger.evaluate([ThresholdSpec(data=ledger.workspace.profile.echonet)])[0].tables["scores"]
    baseline = scores.dice.mean()
    assert baseline < 0.75, "the phantom is too easy"
    assert record.dice.mean >= baseline + 0.10


def test_the_home_page_shows_published_and_ours(ledger):
    home = (ledger.workspace.build / "html" / "book" / "index.html").read_text(encoding="utf-8")
    spec = TABLE1.runs(ledger.workspace.profile)["SimLVSeg-3D"][0]
    record = ledger.runs.find(spec).record
    assert "93.32" in home and f"{100 * record.dice.mean:.2f}" in home and spec.key in home


def test_no_record_names_a_machine(ledger):
    for path in (ledger.workspace.build / "runs").glob("*/record.json"):
        text = path.read_text(encoding="utf-8")
        assert str(ROOT) not in text and str(Path.home()) + "/" not in text
        assert json.loads(text)["provenance"]["commit"]
