"""Committed records that do not count: damaged ones, of other data, of other weights; each is named, and nothing else stops."""

from __future__ import annotations

import json
import shutil

import pytest

from echolib.batch.planner import make_plan
from echolib.errors import RecordError
from echolib.files import write_json
from echolib.papers import book as papers
from tests.batch.kept import counted, ledger_of, results, specs, sums_again


@pytest.mark.parametrize(("part", "damage", "words"), [
    ("json", lambda p: p.write_text("{half"), "not a record of a run"),
    ("json", lambda p: write_json(p, json.loads(p.read_text()) | {"key": "f" * 16}), "says key f{16}, but its specification has"),
    ("json", lambda p: p.write_text(p.read_text().replace('"width": 0.125', '"width": 0.5')), "but its specification has"),
    ("json", lambda p: p.write_text(p.read_text().replace('"best_epoch": ', '"best_epoch": 1')), "has another SHA-256"),
    ("json", lambda p: p.unlink(), "json is missing"),
    ("scores.csv", lambda p: p.unlink(), "scores.csv is missing"),
    ("scores.csv", lambda p: p.write_text(p.read_text().replace("0.", "0.9", 1)), "scores.csv has another SHA-256"),
    ("sha256", lambda p: p.unlink(), "sha256 is missing beside the record"),
    ("sha256", lambda p: p.write_text("not sums\n"), "sha256 is damaged: expected lines such as sha256sum prints"),
])
def test_a_damaged_record_is_named_with_what_to_do_and_stops_nothing_else(fresh, monkeypatch, part, damage, words):
    one, two = specs(fresh)
    trained = counted(monkeypatch)
    damage(results(fresh) / f"{two.key}.{part}")
    ledger = ledger_of(fresh)
    with pytest.raises(RecordError, match=words) as error:
        ledger.require([two])
    assert f"results/tiny/runs/{two.key}" in str(error.value) and trained == []
    assert f"echolib run {two.key} --anew --profile tiny" in str(error.value)
    assert ledger.require([one])


def test_the_plan_names_a_damaged_record(fresh):
    _, two = specs(fresh)
    (results(fresh) / f"{two.key}.scores.csv").unlink()
    plan = make_plan(fresh, rate=1e11)
    (step,) = [s for s in plan.steps if s.state == "broken"]
    assert step.name == two.key and step.pages == ("two",) and f"results/tiny/runs/{two.key}.scores.csv is missing" in step.why
    assert {s.state for s in plan.steps if s.kind == "evaluation"} == {"committed"}


def test_a_record_under_another_key_is_refused_even_when_its_sums_agree(fresh):
    one, two = specs(fresh)
    shutil.copy(results(fresh) / f"{one.key}.json", results(fresh) / f"{two.key}.json")
    sums_again(results(fresh), two.key)
    with pytest.raises(RecordError, match=f"runs/{two.key}.json belongs to another key, {one.key}"):
        ledger_of(fresh).require([two])


def test_other_data_here_are_a_reason_to_compute(whole, monkeypatch):
    one, _ = specs(whole)
    shutil.rmtree(whole.build / "runs")
    video = next((whole.cohort_dir(whole.profile.echonet) / "Videos").glob("*.avi"))
    assert ledger_of(whole).runs.find(one).committed
    video.write_bytes(video.read_bytes() + b"\0")
    ledger = ledger_of(whole)
    found, trained = ledger.runs.find(one), counted(monkeypatch)
    assert found.record is None and found.why.startswith("not run yet; data differ: the record in results/tiny comes from ")
    step = next(s for s in make_plan(whole, rate=1e11).steps if s.name == one.key)
    assert step.state == "to do" and step.why == found.why
    assert ledger.require([one])[0].provenance.data != ledger_of(whole).all_committed()[0].provenance.data
    assert trained == [one.parents["init"].label, one.label]


def test_kept_records_of_one_cohort_must_agree_on_its_data(fresh):
    one, two = specs(fresh)
    path = results(fresh) / f"{two.key}.json"
    record = json.loads(path.read_text())
    record["provenance"]["data"] = "f" * 64
    write_json(path, record)
    sums_again(results(fresh), two.key)
    with pytest.raises(RecordError, match="committed results of one cohort come from different data: results/tiny/") as error:
        ledger_of(fresh).require([one])
    assert f"results/tiny/runs/{two.key}.json from ffffffffffffffff" in str(error.value)


def test_an_evaluation_of_other_weights_is_not_used(whole):
    one, _ = specs(whole)
    network = papers.BOOK.needs("one", whole.profile).evaluations[1]
    shutil.rmtree(whole.build / "evaluations")
    assert ledger_of(whole).evaluations.find(network).committed
    path = ledger_of(whole).runs.folder(one) / "weights.safetensors"
    path.write_bytes(path.read_bytes() + b" ")
    found = ledger_of(whole).evaluations.find(network)
    assert found.record is None
    assert found.why == "not run yet; the record in results/tiny does not count: the run's weights changed"


def test_an_evaluation_to_be_computed_wants_the_weights_of_its_run(fresh):
    one, network = specs(fresh)[0], papers.BOOK.needs("one", fresh.profile).evaluations[1]
    for path in (*results(fresh, "evaluations").glob(f"{network.key}.*"), results(fresh) / f"{one.key}.weights.safetensors"):
        path.unlink()
    step = next(s for s in make_plan(fresh, rate=1e11).steps if s.name == network.key)
    assert step.state == "broken" and f"echolib run {one.key} --anew" in step.why


def test_committed_evaluations_are_damaged_by_name(fresh):
    exact = papers.BOOK.needs("one", fresh.profile).evaluations[0]
    path = results(fresh, "evaluations") / f"{exact.key}.beats.csv"
    path.write_text(path.read_text() + "x\n")
    with pytest.raises(RecordError, match=f"results/tiny/evaluations/{exact.key}.beats.csv has another SHA-256"):
        ledger_of(fresh).evaluate([exact])
