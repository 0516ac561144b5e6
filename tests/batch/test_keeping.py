"""Committed records: what `echolib keep` copies, when it takes the place of training, and what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from echolib.batch import make
from echolib.batch.keeping import keep
from echolib.batch.make import IncompleteBook, make_book
from echolib.batch.planner import make_plan
from echolib.batch.report import report, stale
from echolib.cli import app
from echolib.config import DataSpec
from echolib.errors import ConfigError, RecordError
from echolib.evaluation.kinds.threshold import ThresholdSpec, scores_of
from echolib.evaluation.kinds.video import VideoSpec
from echolib.files import write_json
from echolib.ledger import runs
from echolib.ledger.ledger import Ledger
from echolib.ledger.provenance import short
from echolib.ledger.workspace import Workspace
from echolib.pages import footer
from echolib.pages.experiment import Needs
from echolib.pages.footer import provenance_html
from echolib.papers import book as papers
from echolib.papers.simlvseg.table1_drawing import committed_elsewhere
from tests.small import PROFILE, catalogue, entry, two_pages, write_checkout

ROOT = Path(__file__).parents[2]


def pages(patch: pytest.MonkeyPatch) -> None:
    """Two pages (see ``small.two_pages``). ``one`` draws its run's network and log, shows the baseline and an evaluation of
    the network and one of the exact masks; the frames of the latter are drawn."""
    two_pages(patch)
    fit = runs.fit

    def and_log(recipe, folder, **options):
        (folder / "log.csv").write_text("epoch,step,loss\n1,1,0.123456789\n")
        return fit(recipe, folder, **options)

    def more(profile, options):
        run = entry("one", unet3d=True).runs(profile)["unet3d"][0]
        exact, network = (VideoSpec(run=r, data=profile.echonet, studies=1) for r in (None, run))
        shown = (exact, network, ThresholdSpec(data=profile.echonet))
        return Needs(evaluations=shown, weights=(run,), logs=(run,), bulk=(exact,))

    patch.setattr(runs, "fit", and_log)
    patch.setattr(papers, "BOOK", catalogue(entry("one", more=more, unet3d=True), entry("two", nnunet2d=False)))


@pytest.fixture(scope="module")
def computed(tmp_path_factory) -> Path:
    """A checkout of a quotable profile in which everything is computed, and kept."""
    root = write_checkout(tmp_path_factory.mktemp("kept") / "checkout")
    (root / "profiles" / "tiny.yml").write_text(PROFILE.replace("quotable: false", "quotable: true"))
    with pytest.MonkeyPatch.context() as patch:
        pages(patch)
        ledger = Ledger(Workspace.open("tiny", root), say=lambda text: None, progress=False)
        for name in papers.BOOK.notebooks:
            needs = papers.BOOK.needs(name, ledger.workspace.profile)
            ledger.require(needs.runs)
            ledger.evaluate(needs.evaluations)
        keep(ledger.workspace, say=lambda text: None)
    return root


@pytest.fixture
def whole(computed, tmp_path, monkeypatch) -> Workspace:
    """A copy of it, build folder and all."""
    shutil.copytree(computed, tmp_path / "whole")
    pages(monkeypatch)
    monkeypatch.delenv("ECHOLIB_ANEW", raising=False)
    return Workspace.open("tiny", tmp_path / "whole")


@pytest.fixture
def fresh(computed, tmp_path, monkeypatch) -> Workspace:
    """A copy without a build folder: what someone else checks out."""
    shutil.copytree(computed, tmp_path / "fresh", ignore=shutil.ignore_patterns("build"))
    pages(monkeypatch)
    monkeypatch.delenv("ECHOLIB_ANEW", raising=False)
    return Workspace.open("tiny", tmp_path / "fresh")


def ledger_of(workspace: Workspace, **options) -> Ledger:
    return Ledger(workspace, say=lambda text: None, progress=False, **options)


def specs(workspace: Workspace):
    """(pre-trained run of page one, run of page two)."""
    return tuple(papers.BOOK.needs(name, workspace.profile).runs[0] for name in ("one", "two"))


def counted(monkeypatch) -> list[str]:
    """The label of every training from now on."""
    log, fit = [], runs.fit

    def noted(recipe, *args, **options):
        log.append(recipe.spec.label)
        return fit(recipe, *args, **options)

    monkeypatch.setattr(runs, "fit", noted)
    return log


def results(workspace: Workspace, kind: str = "runs") -> Path:
    return workspace.root / "results" / "tiny" / kind


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


def sums_again(folder: Path, key: str) -> None:
    """Write a key's sums anew, as if the files had been like that when they were kept."""
    parts = {p.name.removeprefix(f"{key}."): p for p in folder.glob(f"{key}.*") if p.suffix != ".sha256"}
    (folder / f"{key}.sha256").write_text("".join(f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {key}.{n}\n" for n, p in
                                                  sorted(parts.items())))


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


def test_an_evaluation_to_be_computed_wants_the_weights_of_its_run(fresh):
    one, network = specs(fresh)[0], papers.BOOK.needs("one", fresh.profile).evaluations[1]
    for path in (*results(fresh, "evaluations").glob(f"{network.key}.*"), results(fresh) / f"{one.key}.weights.safetensors"):
        path.unlink()
    step = next(s for s in make_plan(fresh, rate=1e11).steps if s.name == network.key)
    assert step.state == "broken" and f"echolib run {one.key} --anew" in step.why


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


def test_committed_evaluations_are_damaged_by_name(fresh):
    exact = papers.BOOK.needs("one", fresh.profile).evaluations[0]
    path = results(fresh, "evaluations") / f"{exact.key}.beats.csv"
    path.write_text(path.read_text() + "x\n")
    with pytest.raises(RecordError, match=f"results/tiny/evaluations/{exact.key}.beats.csv has another SHA-256"):
        ledger_of(fresh).evaluate([exact])
