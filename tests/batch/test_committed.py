"""Committed records in the place of training: what they give, and what the plan, a page and the book make of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from echolib.batch import make
from echolib.batch.make import IncompleteBook, make_book
from echolib.batch.planner import make_plan
from echolib.batch.report import report, stale
from echolib.cli import app
from echolib.config import DataSpec
from echolib.errors import ConfigError, RecordError
from echolib.evaluation.kinds.threshold import scores_of
from echolib.ledger import runs
from echolib.ledger.provenance import short
from echolib.ledger.workspace import Workspace
from echolib.pages import footer
from echolib.pages.footer import provenance_html
from echolib.papers import book as papers
from echolib.papers.simlvseg.table1_drawing import committed_elsewhere
from tests.batch.kept import counted, ledger_of, results, specs

ROOT = Path(__file__).parents[2]


def test_what_was_kept_is_what_is_given_and_nothing_is_trained_or_simulated(whole, fresh, monkeypatch):
    trained, there, here = counted(monkeypatch), ledger_of(whole), ledger_of(fresh)
    one, two = specs(fresh)
    assert here.require([one, two]) == there.require([one, two])
    for spec in (one, two):
        pd.testing.assert_frame_equal(here.scores(spec), there.scores(spec), check_dtype=False, rtol=1e-4)
    assert here.log(one).loss.tolist() == [0.12346]
    for a, b in zip(here.model(one).parameters(), there.model(one).parameters(), strict=True):
        assert torch.equal(a, b)
    wanted = papers.BOOK.needs("one", fresh.profile).evaluations
    for a, b in zip(here.evaluate(wanted[:2]), there.evaluate(wanted[:2]), strict=True):
        assert a.record == b.record and a.committed and not b.committed
        pd.testing.assert_frame_equal(a.beats, b.beats)
        pd.testing.assert_frame_equal(a.studies, b.studies)
    pd.testing.assert_frame_equal(here.evaluate(wanted[2:])[0].tables["scores"], scores_of(there.store), check_dtype=False,
                                  rtol=1e-4)
    assert trained == [] and not (fresh.build / "cohort").exists()


def test_frames_are_kept_where_a_page_draws_them(whole, fresh):
    exact, network, _ = papers.BOOK.needs("one", fresh.profile).evaluations
    there, here = (ledger_of(w).evaluate([exact, network]) for w in (whole, fresh))
    pd.testing.assert_frame_equal(here[0].frames, there[0].frames)
    with pytest.raises(RecordError, match=f"committed without its frames; .*echolib run {network.key} --anew --profile tiny"):
        _ = here[1].frames


def test_other_code_is_used_and_said(fresh, monkeypatch):
    one, _ = specs(fresh)
    origin = ledger_of(fresh).require([one])[0].provenance
    for module in (runs, footer):
        monkeypatch.setattr(module, "run_code", lambda spec: "0" * 16)
    found = ledger_of(fresh).runs.find(one)
    record, why = found.record, found.why
    said = f"computed by code {origin.code}, commit {short(origin.commit)}; the code has changed since"
    assert why == f"results/tiny; {said}"
    assert f"1 of 1 {said}" in provenance_html([record], "tiny")
    plan = make_plan(fresh, rate=1e11)
    assert {s.state for s in plan.steps if s.kind == "run"} == {"committed"} and not stale(plan)
    assert f"Committed, 1: {said}" in report(plan)


def test_a_footer_names_each_machine(fresh):
    one, two = ledger_of(fresh).require(specs(fresh))
    assert "Code today" not in provenance_html([one, two], "tiny")
    there = two.model_copy(update={"provenance": two.provenance.model_copy(update={"hardware": "another one", "data": "9" * 64})})
    text = provenance_html([one, there], "tiny")
    assert one.provenance.hardware in text and "another one" in text and "9" * 16 in text and one.provenance.data[:16] in text


def test_anew_computes_what_is_kept(fresh, monkeypatch):
    _, two = specs(fresh)
    trained = counted(monkeypatch)
    monkeypatch.chdir(fresh.root)
    monkeypatch.setenv("ECHOLIB_ANEW", "")
    said = CliRunner().invoke(app, ["run", two.key, "--profile", "tiny"])
    assert said.exit_code == 0 and trained == []
    said = CliRunner().invoke(app, ["run", two.key, "--profile", "tiny", "--anew"])
    assert said.exit_code == 0 and trained == [two.label]
    monkeypatch.setenv("ECHOLIB_ANEW", "0")
    found = ledger_of(fresh).runs.find(two)
    assert found.record is not None and not found.committed, "this machine's own comes first"
    monkeypatch.setenv("ECHOLIB_ANEW", "yes")
    with pytest.raises(ConfigError, match="ECHOLIB_ANEW = 'yes'; expected 1"):
        ledger_of(fresh)


def test_the_plan_of_a_kept_profile_simulates_nothing(fresh):
    plan = make_plan(fresh, rate=1e11)
    found = {s.id: s for s in plan.steps}
    assert {s.state for s in plan.steps if s.kind in ("run", "evaluation")} == {"committed"}
    assert {s.state for s in plan.steps if s.kind in ("cohort", "store")} == {"unneeded"} and plan.seconds() == 0
    assert [s.id for s in plan.pending] == ["notebook-one", "notebook-two", "book"]
    assert "unet3d 16x1 pretrain seed0" not in {s.label for s in plan.steps} and "0 of this machine, 5 from" in report(plan)
    assert not fresh.build.exists() or not list(fresh.build.rglob("*.avi"))
    _, two = specs(fresh)
    for path in results(fresh).glob(f"{two.key}.*"):
        path.unlink()
    found = {s.id: s.state for s in make_plan(fresh, rate=1e11).steps}
    assert found[f"run-{two.key}"] == "to do" and {found[i] for i in found if i.startswith(("cohort", "store"))} == {"to do"}


@pytest.fixture
def book(fresh, monkeypatch) -> Workspace:
    """The checkout with the prose of a tiny book; Sphinx, the scorecard and the page on speed are left out."""
    (fresh.root / "book" / "offline").mkdir(parents=True)
    (fresh.root / "book" / "index.md").write_text("# Home\n")
    shutil.copy(ROOT / "_config.yml", fresh.root / "_config.yml")
    monkeypatch.setattr(make, "_generated", lambda making, ledger: ({}, {}))
    monkeypatch.setattr(make.speed, "speed_pages", lambda root: {"speed.md": "none"})
    monkeypatch.setattr(make, "build", lambda staging, out: shutil.copytree(staging, out, dirs_exist_ok=True) / "index.html")
    monkeypatch.chdir(fresh.root)
    return fresh


def test_a_book_of_kept_records_is_made_without_simulating_or_training(book, monkeypatch, capsys):
    trained = counted(monkeypatch)
    make_book("tiny")
    said = capsys.readouterr().out
    assert "every result is here or committed: no cohort is simulated" in said and "store:" not in said
    assert trained == [] and not (book.build / "cohort").exists() and not (book.build / "store").exists()
    assert "one of tiny" in (book.build / "html" / "notebooks" / "one.ipynb").read_text()
    _, two = specs(book)
    (results(book) / f"{two.key}.scores.csv").unlink()
    with pytest.raises(IncompleteBook, match=f"1 page .*\n  page two: results/tiny/runs/{two.key}.scores.csv is missing"):
        make_book("tiny")
    assert trained == [] and not (book.build / "cohort").exists()


def test_a_sample_is_the_same_bytes_as_the_whole_cohort(whole, fresh):
    data = whole.profile.echonet
    full, (alone, folder), (copied, _) = whole.store_of(data, progress=False), *(w.sample(data, train=2, test=1, progress=False)
                                                                                  for w in (fresh, whole))
    assert len(alone.studies) == 3 and set(alone.studies.split) == {"train", "test"}
    assert alone.fingerprint == copied.fingerprint != full.fingerprint
    for study in alone.studies.index:
        assert (alone.video(study) == full.video(study)).all()
        for frame in alone.labels.frame[alone.labels.study == study]:
            assert (alone.mask(study, frame) == full.mask(study, frame)).all()
        for name in (f"Videos/{study}.avi", f"Truth/{study}.npz"):
            assert (folder / name).read_bytes() == (whole.cohort_dir(data) / name).read_bytes()
    assert not (fresh.cohort_dir(data)).exists()
    one, _ = fresh.some(data, [alone.studies.index[0]], progress=False)
    assert list(one.studies.index) == [alone.studies.index[0]]
    with pytest.raises(ConfigError, match="the cohort has no study 0XNONE; expected names of its 5 studies"):
        fresh.some(data, ["0XNONE"], progress=False)
    with pytest.raises(ConfigError, match="only phantoms in EchoNet-Dynamic's layout"):
        fresh.some(DataSpec(layout="echonet"), ["a"])


def test_kept_records_of_the_profile_shown_do_not_stand_beside_themselves(whole, fresh, monkeypatch):
    table = papers.BOOK.entries["one"]
    ledger = ledger_of(fresh)
    assert committed_elsewhere(table, ledger, ledger.require(specs(fresh))) == ("", {})
    name, rows = committed_elsewhere(table, ledger, [])
    assert name == "tiny" and [r.key for r in rows["unet3d"]] == [specs(fresh)[0].key]
