"""The family: one budget for all, claims from one table, a correction for their number, and advice that follows from numbers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from echolib.evaluation.complexity import Complexity
from echolib.pages import overview
from echolib.pages.timing import Timing
from echolib.pages.verdict import STATUSES
from echolib.papers.book import BOOK
from echolib.papers.companion import advice, family, family_drawing, methods
from echolib.papers.companion.family import FamilyOptions, chance_of_best, judge
from echolib.papers.companion.methods import METHODS, Method, methods_of, run_of
from tests.papers.standin import PROFILES, StandIn


class Ledger(StandIn):
    """Runs say how long they trained."""

    def require(self, specs):
        return [SimpleNamespace(key=s.key, spec=s, train_seconds=10.0) for s in specs]


@pytest.fixture
def counted(monkeypatch):
    """Counts and times without a network: each method is slower than the one before."""
    monkeypatch.setattr(family, "counts", lambda ledger, found: {m.name: Complexity(10 ** 6, 1.0, 1.0) for m in found})
    monkeypatch.setattr(family, "times", lambda ledger, found: {
        m.name: Timing(m.name, 1, 64, 1.0 + k, 0.1, 3, "p", 0.0, "d", "c") for k, m in enumerate(found)})


def load(name: str = "desk", gain: dict | None = None, **changes) -> family.Family:
    return family.load(Ledger(name, gain, **changes), FamilyOptions())


def test_claims_name_methods_of_the_table():
    known = {m.name for m in METHODS}
    assert all({better, worse} <= known and better != worse for _, _, better, worse in family.claims())
    assert len(known) == len(METHODS)


def test_every_method_has_the_same_budget():
    for name in ("desk", "phantom", "paper"):
        profile = PROFILES[name]
        runs = {m.name: run_of(profile, m, 0) for m in methods_of(profile)}
        assert list(runs) == [m.name for m in METHODS if profile.css or m.needs != "css"]
        budget = profile.family.train
        for method, run in runs.items():
            traced = 2 if run.recipe.kind in ("clip_dense", "cyclic") else 1
            assert (run.train.epochs, run.train.steps) == (budget.epochs, budget.steps), method
            assert traced * run.train.batch == budget.batch, method
            assert run.data == profile.echonet and run.subset.parts is None is run.subset.folds
        assert len({run.key for run in runs.values()}) == len(runs)


def test_a_method_and_its_plain_form_differ_in_the_help_alone():
    profile = PROFILES["phantom"]
    runs = {m.name: run_of(profile, m, 0) for m in METHODS}
    for method in METHODS:
        if method.plain:
            a, b = runs[method.name].model_dump(), runs[method.plain].model_dump()
            differ = {k for k in a if a[k] != b[k]}
            assert differ in ({"parents"}, {"recipe"}), method.name
    assert runs["CSS, no cycle"].recipe.weight == 0 and runs["CSS"].recipe.weight > 0
    assert runs["SSCF, no teacher"].recipe.unlabelled == 0 and runs["PKEcho-Net, no kernels"].recipe.network["iterations"] == 0


def test_desk_shares_runs_with_the_papers_own_pages():
    profile = PROFILES["desk"]
    own = {s.key for seed in profile.seeds for s in family.groups(profile, seed, FamilyOptions()).values()}
    for page, count in (("simlvseg_table1", 3), ("pkecho_table1", 2), ("sscf_table2", 2)):
        shared = own & {s.key for s in BOOK.needs(page, profile).runs}
        assert len(shared) >= (count - 1) * len(profile.seeds), page


def test_a_new_method_is_one_entry(monkeypatch, counted):
    build = METHODS[1].build
    other = Method("New", "A new paper", lambda profile, seed, budget: build(profile, seed, budget.model_copy(
        update={"batch": 2})), "nnunet2d", 1, plain="nnU-Net", beats=("SSCF",))
    monkeypatch.setattr(family, "METHODS", (*METHODS, other))
    monkeypatch.setattr(methods, "METHODS", (*METHODS, other))
    found = load(gain={'"batch":2': 0.05})
    assert found.names[-1] == "New"
    rows = judge(found, PROFILES["desk"])
    mine = rows[rows.paper == "A new paper"]
    assert set(mine.claim) == {"New beats SSCF", "its self- or semi-supervision helps New"} and (mine.status == "holds").all()


def test_the_number_of_comparisons_raises_the_bar(monkeypatch, counted):
    found, levels = load(), []
    monkeypatch.setattr(family, "order_verdict", lambda a, b, quotable, alpha: levels.append(alpha) or SimpleNamespace(
        status="undecided", why="w"))
    rows = judge(found, PROFILES["desk"])
    run = [one for one in family.claims() if {one[2], one[3]} <= set(found.names)]
    assert set(levels) == {0.05 / (2 * len(run))} and len(levels) == 2 * len(run)
    assert len(rows) == 2 * len(family.claims())


def test_claims_of_methods_that_are_not_run_are_undecided_and_a_profile_without_a_family_runs_none(counted):
    profile = PROFILES["desk"].model_copy(update={"sscf": None})
    found = family.load(Ledger("desk", sscf=None), FamilyOptions())
    rows = judge(found, profile)
    assert not any("SSCF" in name for name in found.names)
    assert rows.why[rows.claim == "PKEcho-Net beats SSCF"].str.contains("'desk' does not run SSCF").all()
    assert family.quote(Ledger("desk", family=None), FamilyOptions()) == ""
    assert BOOK.needs("family", PROFILES["desk"].model_copy(update={"family": None})).runs == ()


@pytest.mark.parametrize("name", ["smoke", "desk"])
def test_the_scorecard_takes_the_claims(counted, name):
    paper = next(p for p in BOOK.papers if p.id == "companion")
    claims = overview.all_claims(BOOK, paper, Ledger(name))
    assert set(claims.status) <= set(STATUSES) and (claims.experiment == "family").sum() == 2 * len(family.claims())


def test_the_front_page_names_the_best_and_how_sure_that_is(counted):
    ledger = Ledger("desk", gain={'"nnunet2d"': 0.06})
    said = family.quote(ledger, FamilyOptions())
    assert "nnU-Net has the highest Dice over all frames of whole videos, 9" in said
    assert "the best in 100 % of the resamples" in said and "3 seeds" in said
    assert "no results" not in said and "no results" in family.quote(Ledger("smoke"), FamilyOptions())


def test_chances_and_the_table(counted):
    found = load(gain={'"nnunet2d"': 0.06})
    chance = chance_of_best(found)
    assert chance.sum() == pytest.approx(1) and chance.idxmax() == "nnU-Net"
    table = family.table(found)
    cohorts = [c for c in found.videos if c != family.ORDINARY]
    assert cohorts == ["poor_quality", "foreshortening", "arrhythmia", "camus"]
    assert len(table) == len(found.names) * (len(family.MEASURES) + len(cohorts))
    text = family_drawing.table_html(found, table).data
    assert text.count("<tr>") == 1 + len(found.names) and "nan" not in text
    assert len(family_drawing.cost_figure(found, table, "phantoms").axes) == 2
    assert len(family_drawing.robust_figure(found, table).axes) == 1
    text = family_drawing.claims_html(judge(found, PROFILES["desk"]), found).data
    run = sum({one[2], one[3]} <= set(found.names) for one in family.claims())
    assert text.count("<tr>") == 1 + len(family.claims()) and f"divided by {2 * run} comparisons" in text


def test_advice_follows_the_numbers(counted):
    found = load(gain={'"nnunet2d"': 0.08})
    best = next(one for one in advice.advice(found) if one.purpose == "The most accurate outline of every frame")
    assert best.method == "nnU-Net" and best.sure == advice.TOLD
    found = load(gain={'"nnunet2d"': 0.06, '"sscf"': 0.06})
    by = {one.purpose: one for one in advice.advice(found)}
    fast = by["Speed, for at most 1 Dice point"]
    assert fast.method == "nnU-Net" and "SSCF" in fast.why
    assert by["One frame at a time, no video"].method == "nnU-Net"
    assert by["Videos unlike those of training"].method in ("nnU-Net", "SSCF", "SSCF, no teacher")
    even = {one.purpose: one for one in advice.advice(load())}
    assert even["The most accurate outline of every frame"].sure == advice.NOT_TOLD
    assert "No advice" in advice.advice_html(advice.advice(found), PROFILES["smoke"]).data
    assert "No advice" not in advice.advice_html(advice.advice(found), PROFILES["desk"]).data


def test_a_method_without_beats_is_no_advice_for_the_ejection_fraction(counted):
    found = load()
    name = "SSCF"
    for one in found.videos[family.ORDINARY][name]:
        one.studies["ef"] = np.where(np.arange(20) < 10, one.studies.exact_ef, np.nan)  # exact where there is any
    answer = next(one for one in advice.advice(found) if one.purpose == "The ejection fraction")
    assert answer.method != name and name in answer.why.partition("left out")[2]
    lost = family.table(found).set_index(["method", "measure"]).estimate[name, "lost"]
    assert lost.value == 50


def test_real_data_without_exact_masks_is_scored_on_labelled_frames(counted):
    found = load()
    for group in found.videos[family.CAMUS].values():
        for one in group:
            one.studies["traced_dice"], one.studies["dice"] = 0.7, np.nan
    table = family.table(found).set_index(["method", "measure"]).estimate
    assert table["nnU-Net", family.CAMUS].value == pytest.approx(70)
