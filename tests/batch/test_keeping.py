"""What `echolib keep` copies to ``results/``, and what it leaves out and says so."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from echolib.batch.keeping import keep
from echolib.errors import ConfigError, RecordError
from echolib.ledger import runs
from echolib.papers import book as papers
from tests.batch.kept import counted, ledger_of, pages, results, specs


def test_keeping_again_changes_nothing_and_says_so(whole):
    before = {p: p.stat().st_mtime_ns for p in (whole.root / "results").rglob("*")}
    said: list[str] = []
    done = keep(whole, say=said.append)
    assert done.written == done.skipped == [] and len(done.unchanged) == 5 and "5 as they were" in said[-1]
    assert before == {p: p.stat().st_mtime_ns for p in (whole.root / "results").rglob("*")}
    names = sorted(p.name.split(".", 1)[1] for p in results(whole).iterdir())
    assert names == ["json", "json", "log.csv", "scores.csv", "scores.csv", "sha256", "sha256", "weights.safetensors"]


def test_what_is_not_finished_or_not_current_is_skipped_and_the_reason_said(whole, monkeypatch):
    one, two = specs(whole)
    shutil.rmtree(whole.root / "results")
    (ledger_of(whole).runs.folder(two) / "record.json").unlink()
    monkeypatch.setattr(runs, "run_code", lambda spec: "0" * 16)
    said: list[str] = []
    keep(whole, say=said.append)
    text = "\n".join(said)
    assert f"run {two.key}  {two.label}: not run yet" in text
    assert f"run {one.key}  {one.label}: the code changed; --any-code keeps it all the same" in text
    assert not (results(whole) / f"{one.key}.json").exists()
    keep(whole, any_code=True, say=said.append)
    assert (results(whole) / f"{one.key}.json").is_file()
    monkeypatch.undo()
    pages(monkeypatch)
    here = whole.cohort_dir(whole.profile.echonet)
    here.rename(here.with_name(here.name[:-8] + "0" * 8))  # as if another version of the simulator had made it
    done = keep(whole, say=said.append)
    assert len(done.skipped) == 5 and "the simulator's sources changed since its data were made; --any-code" in said[-2]
    shutil.rmtree(whole.root / "results")
    done = keep(whole, any_code=True, say=said.append)
    assert len(done.written) == 4 and not here.exists()
    assert not (ledger_of(whole, anew=True).known(whole.profile.echonet)), "keeping simulates nothing"
    shutil.rmtree(whole.build / "cohort")
    done = keep(whole, say=said.append)
    assert len(done.skipped) == 5 and "its data are not here, so it cannot be compared with them" in "\n".join(said)


def test_weights_that_are_too_large_are_named_and_left_out(whole, fresh, monkeypatch):
    monkeypatch.setattr("echolib.batch.keeping.MOST_WEIGHTS", 1000)
    said: list[str] = []
    keep(whole, say=said.append)
    one, _ = specs(whole)
    assert any("without its weights" in line and one.key in line for line in said)
    assert not (results(whole) / f"{one.key}.weights.safetensors").exists()
    ledger, trained = ledger_of(whole), counted(monkeypatch)
    own = ledger.runs.folder(one) / "weights.safetensors"
    own.with_name("record.json").unlink()  # as after a change of the code: the committed record counts, this machine's does not
    assert ledger.runs.find(one).committed and ledger.runs.weights_of(one) == own, "the machine that trained them still has them"
    assert next(ledger.model(one).parameters()) is not None and not trained
    own.write_bytes(own.read_bytes()[:-1] + b"x")
    with pytest.raises(RecordError, match="was not committed"):  # another network's: the record does not speak of it
        ledger_of(whole).model(one)
    shutil.rmtree(whole.build)
    ledger = ledger_of(whole)
    with pytest.raises(RecordError, match=f"{one.key}.weights.safetensors was not committed; .*echolib run {one.key} --anew"):
        ledger.model(one)
    network = papers.BOOK.needs("one", whole.profile).evaluations[1]
    assert ledger.evaluations.find(network).committed, "its sum still says of which network the evaluation is"


def test_a_profile_that_may_not_be_quoted_keeps_nothing_and_uses_nothing(whole, monkeypatch):
    quiet = replace(whole, profile=whole.profile.model_copy(update={"quotable": False}))
    with pytest.raises(ConfigError, match="'tiny' is not quotable: it a test, and its numbers are never results"):
        keep(quiet)
    shutil.rmtree(whole.build)
    assert ledger_of(quiet).runs.find(specs(whole)[0]).why == "not run yet"


def test_an_evaluation_of_a_network_that_was_kept_elsewhere_is_kept(whole):
    one, network = specs(whole)[0], papers.BOOK.needs("one", whole.profile).evaluations[1]
    kept = results(whole, "evaluations") / f"{network.key}.json"
    before = kept.read_bytes()
    shutil.rmtree(ledger_of(whole).runs.folder(one))  # only results/ has the network, as on a machine that did not train it
    for path in kept.parent.glob(f"{network.key}.*"):
        path.unlink()
    done = keep(whole, say=lambda text: None)
    assert kept.read_bytes() == before and [w for w in done.written if network.key in w]
    sums = results(whole) / f"{one.key}.sha256"
    sums.write_text("".join("0" * 64 + line[64:] if "weights" in line else line for line in sums.open()))
    done = keep(whole, say=lambda text: None)
    assert [s for s in done.skipped if network.key in s], "of another network"
