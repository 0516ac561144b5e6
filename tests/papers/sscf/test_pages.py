"""SSCF's pages: every published cell has a status, folds are put together patient by patient, the audit's numbers by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from echolib import models, published
from echolib.config import SubsetSpec
from echolib.evaluation.complexity import Complexity
from echolib.pages import overview
from echolib.pages.quantities import Quantity, estimate
from echolib.pages.timing import Timing
from echolib.pages.verdict import STATUSES
from echolib.papers.book import BOOK
from echolib.papers.sscf import audit, drawing, table2, table3, table5
from echolib.papers.sscf.folds import fold_name, joined, load, on, over_folds
from echolib.papers.sscf.runs import data_of, sscf_run, subsets
from tests.papers.standin import PROFILES, StandIn

PAPER = next(p for p in BOOK.papers if p.id == "sscf")


@pytest.fixture
def counted(monkeypatch):
    """Counts and times without a network."""
    names = [*map(table5.window, table5.FRAMES), "DeepLabV3", "nnU-Net"]
    golden = {n: Complexity(53_700_417, 44.817, 44.817) for n in names}
    monkeypatch.setattr(table5, "counts", lambda ledger, explicit=True: golden)
    clock = {n: Timing(n, 1, 256, 10.0 + k, 0.1, 5, "a processor", 0.0, "2026-01-01 00:00 UTC", "abc")
             for k, n in enumerate(names)}
    monkeypatch.setattr(table5, "times", lambda ledger, options: clock)


@pytest.mark.parametrize("name", list(PROFILES))
def test_every_published_cell_has_a_status(counted, name):
    found = overview.all_cells(BOOK, PAPER, StandIn(name))
    assert set(found.status) <= set(STATUSES) and found.why.str.len().gt(0).all()
    assert not found.duplicated(["experiment", "row", "column"]).any()
    columns = {"sscf_table2_ablation": 3, "sscf_table3_echonet": 3, "sscf_table4_camus": 3, "sscf_table5_encoders": 4,
               "sscf_table6_ef": 3, "sscf_table7_efficiency": 3}
    assert set(columns) == {n for n in published.names() if n.startswith("sscf_")}
    tables = {e.published: e.id for e in BOOK.pages[PAPER] if e.published and not e.draws}
    for table, count in columns.items():
        assert (found.experiment == tables[table]).sum() == count * len(published.load(table)), table
    cells = found.set_index(["experiment", "row", "column"])
    one = cells.loc[("sscf_table2", "Baseline+TCE, CAMUS", "dc")]
    assert (one.published, one.published_low, one.published_high) == pytest.approx((92.83, 92.42, 93.24))
    assert cells.status["sscf_table7", "SSCF", "gflops"] == cells.status["sscf_table7", "SSCF", "params_m"] == "differs"
    if name == "desk":
        assert set(found.status[found.experiment == "sscf_table2"]) == {"awaiting data"}
        own = cells.loc["sscf_table3"].loc[["SSCF, EchoNet-Dynamic", "Echo-Net, EchoNet-Dynamic", "TransUNet, EchoNet-Dynamic"]]
        assert set(own.status) == {"awaiting data"} and "not TransUNet" in own.why.loc["TransUNet, EchoNet-Dynamic"].iloc[0]
        assert set(cells.loc["sscf_table3"].loc["DFF, EchoNet-Dynamic"].status) == {"as published"}
        assert set(cells.loc["sscf_table5"].loc["k = 7, CAMUS"].status) <= {"not run", "undecided"}
    claims = overview.all_claims(BOOK, PAPER, StandIn(name))
    assert set(claims.status) <= set(STATUSES) and set(claims.experiment) == {"sscf_table2", "sscf_table3", "sscf_table4",
                                                                              "sscf_table5", "sscf_table6", "sscf_table7"}


def test_a_profile_that_runs_none_says_so(counted):
    found = overview.all_cells(BOOK, PAPER, StandIn("desk", sscf=None))
    assert set(found.status[found.experiment == "sscf_table2"]) == {"not run"}
    assert found.why[found.experiment == "sscf_table2"].str.contains("runs no SSCF").all()


def test_runs_are_those_of_the_paper_s_text():
    profile = PROFILES["paper"]
    run = sscf_run(profile, "full", seed=0, data=profile.echonet, subset=SubsetSpec(folds=5, fold=2))
    assert (run.model.name, run.clip.frames, run.train.epochs, run.model.imagenet) == ("sscf", 3, 100, False)
    assert (run.recipe.decay, run.recipe.unlabelled, run.recipe.pixels, run.recipe.rotation) == (0.99, 1, "sum", 15)
    optimiser = run.train.optimiser
    assert (optimiser.name, optimiser.lr, optimiser.weight_decay, optimiser.schedule) == ("adam", 1e-4, 1e-6, "polynomial")
    assert run.recipe.network == {} and sscf_run(profile, "unet", seed=0, data=profile.echonet).recipe.unlabelled == 0
    small = PROFILES["desk"]
    assert sscf_run(small, "full", seed=0, data=small.echonet).recipe.network == {"padded": True}, "48 px"
    assert sscf_run(small, "baseline", seed=0, data=small.echonet).recipe.network == {}
    assert data_of(profile, "CAMUS").size == 256


def test_folds_are_groups_and_one_fold_is_the_data_set_s_own_split():
    profile = PROFILES["paper"]
    names = list(table2.groups(profile, 0, table2.Table2Options()))
    assert len(names) == 2 * 5 * 5 and names[0] == "U-Net on EchoNet-Dynamic, fold 1 of 5"
    assert subsets(PROFILES["desk"], "EchoNet-Dynamic", 1) == (SubsetSpec(),)
    camus = subsets(PROFILES["desk"], "CAMUS", 1)
    assert [s.fold for s in camus] == [0, 1, 2] and {s.seed for s in camus} == {1}, "other folds for every seed"
    assert fold_name("a on b", SubsetSpec()) == "a on b"
    only = table2.groups(profile, 0, table2.Table2Options(datasets=("CAMUS",)))
    assert len(only) == 25 and all("CAMUS" in name for name in only)


class Folds(StandIn):
    """Every fold has patients of its own."""

    def evaluate(self, specs):
        found = super().evaluate(specs)
        for one in found:
            mark = f"f{one.record.spec.run.subset.fold}"
            for table in one.tables.values():
                table["study"], table["patient"] = mark + table.study, mark + table.patient
        return found


def test_a_seed_s_result_is_that_of_all_its_folds_together():
    ledger = Folds("desk")
    specs = table2.EVALUATIONS(ledger.workspace.profile, table2.Table2Options())
    results = load(ledger, specs)
    group = on("Baseline", "CAMUS")
    assert [len(each) for each in results[group]] == [3, 3, 3] and len(results[on("Baseline", "EchoNet-Dynamic")][0]) == 1
    tables = joined(results)[group]
    assert len(tables) == 3 and all(t["frames"].patient.nunique() == 60 and len(t["studies"]) == 60 for t in tables)
    dice = Quantity("Dice", "frames", "dice", factor=100)
    means = [100 * one.tables["frames"].dice.mean() for each in results[group] for one in each]
    spread = over_folds({group: results[group]}, dice).loc[group]
    assert (spread["mean"], spread.sd, spread.folds) == pytest.approx((np.mean(means), np.std(means, ddof=1), 9))
    assert estimate(tables, dice, 200).value == pytest.approx(np.mean(means))


def test_claims_follow_the_scores_of_all_folds():
    ledger = Folds("desk", gain={'"sscf_tce"': 0.03, '"unlabelled":0': -0.03})
    found = table2.judged_claims(ledger, table2.Table2Options()).set_index("claim")
    assert found.status["TCE helps, CAMUS"] == found.status["The mean teacher helps, EchoNet-Dynamic"] == "holds"
    assert found.status["Both together beat each alone, CAMUS"] == "does not hold"
    assert found.status["BSSF helps, CAMUS"] == "no difference"
    ef = table3.TABLE6.judge(ledger, table3.Table3Options())
    assert len(ef) == 4 and set(ef.status) <= {"undecided", "holds", "does not hold", "no difference"}


def test_pages_share_their_runs():
    profile = PROFILES["desk"]
    keys = {e.id: {s.key for g in e.runs(profile).values() for s in g} for e in BOOK.pages[PAPER]}
    own = len(profile.seeds) * (1 + 3)  # SSCF on both data sets
    assert len(keys["sscf_table2"] & keys["sscf_table3"]) == own and len(keys["sscf_table2"] & keys["sscf_table5"]) == 2 * own
    assert len(keys["sscf_audit"] & keys["sscf_table2"]) == len(profile.seeds)
    pkecho = {s.key for s in BOOK.needs("pkecho_table1", profile).runs}
    assert len(pkecho & keys["sscf_table2"]) == len(profile.seeds), "SSCF on EchoNet-Dynamic stands in PKEcho-Net's table too"


def test_the_nearest_form_of_transunet_is_built_and_sees_one_frame():
    profile = PROFILES["smoke"].model_copy(update={"sscf": PROFILES["smoke"].sscf.model_copy(update={"others": ("vit",)})})
    run = table3.groups(profile, 0, table3.Table3Options())[on(table3.NAMES["TransUNet"], "EchoNet-Dynamic")]
    assert (run.model.name, run.clip.frames) == ("si_vit_b16", 1)
    with torch.no_grad():
        logits = models.build("si_vit_b16", width=0.25, frames=1, size=80)(torch.zeros(1, 3, 1, 80, 80))
    assert logits.shape == (1, 1, 1, 80, 80)


def test_figures_of_made_up_results():
    ledger = Folds("desk")
    results = load(ledger, table2.EVALUATIONS(ledger.workspace.profile, table2.Table2Options()))
    cells = table2.measured_cells(ledger, table2.Table2Options())
    assert len(drawing.dice_figure(cells, "phantoms").axes) == 4
    text = drawing.measured_html(results, 100).data
    assert text.count("<tr>") == 11 and "nan" not in text and "trainings ±" in text
    assert len(drawing.telling_cases(results, "CAMUS", 3)) == 3


# -- the audit --------------------------------------------------------------------------------------------------------

def test_the_calibration_at_the_start():
    clip = torch.randn(2, 3, 3, audit.PX, audit.PX, generator=torch.Generator().manual_seed(0))
    released = audit.levels(audit.untrained(), clip)
    normalised = audit.levels(audit.untrained(calibration="normalised"), clip)
    assert len(released) == 4 and all(one.rank < 1e-4 and one.drowned > 1e3 and one.saturated > 0.5 for one in released)
    assert all(0.1 < one.drowned < 10 for one in normalised)
    cooled = audit.levels(audit.untrained(temperature=1 / 84), clip)
    assert all(one.saturated < other.saturated / 2 for one, other in zip(cooled, released, strict=True))


def test_equations_by_hand():
    literal, meant = audit.least_divergence(0.8)
    assert literal == pytest.approx(0.8 / np.e, abs=1e-3) and meant == pytest.approx(0.8, abs=1e-3)
    assert audit.steps_to(1 / np.e, 100_000) == 471
    assert "471 of 100,000" in audit.equations_html().data


def test_each_switch_changes_what_it_says():
    profile = PROFILES["paper"]
    runs = audit.groups(profile, 0, audit.SeedOptions())
    base = runs.pop(audit.BASE)
    assert list(runs) == [what for what, _, _ in audit.SWITCHES.values()][:-1], "0.99 is the paper's own"
    short = PROFILES["desk"]
    decays = {name: run.recipe.decay for name, run in audit.groups(short, 0, audit.SeedOptions()).items()}
    assert decays[audit.BASE] == short.sscf.decay < 0.99 == decays[audit.SWITCHES["decay"][0]]
    for name, run in runs.items():
        a, b = base.model_dump(), run.model_dump()
        differ = {k for k in a if a[k] != b[k]}
        assert differ == ({"train"} if name == "half as many steps" else {"recipe"}), name
    assert runs["half as many steps"].train.epochs == 50
    assert list(audit.asked(profile)) == list(audit.ASKED) and audit.asked(StandIn("desk", sscf=None).workspace.profile) == {}


def test_the_influence_table_has_every_place(monkeypatch):
    changes = pd.DataFrame([(f"s{i}", f"s{i}", 3, place, 0.5 + place / 4) for i in range(6) for place in (-1, 0, 1)],
                           columns=["study", "patient", "frame", "place", "change"])
    monkeypatch.setattr(audit, "start_change", lambda ledger, profile: {audit.BASE: changes})
    trained = {audit.BASE: [type("E", (), {"tables": {"studies": changes.assign(change=changes.change * 2)}})()]}
    table = audit.influence_table(StandIn("desk"), trained).set_index(["when", "place"])
    assert table.value["at the start", 0] == 0.5 and table.value["trained", 1] == 1.5 and len(table) == 6
    assert len(audit.influence_figure(table.reset_index(), "phantoms").axes) == 1


def test_a_smaller_weight_on_camus_stands_beside_the_printed_one():
    desk, paper = PROFILES["desk"], PROFILES["paper"]
    assert desk.sscf.camus_weight < 1.0 == paper.sscf.camus_weight
    options = table2.TABLE2.options
    rows = [table2.ROWS[row] for row in ("baseline", "tce", "bssf", "full")]
    assert list(table2.on_camus(paper, options)) == [(row, 1.0) for row in rows]
    assert list(table2.on_camus(desk, options)) == [*((row, desk.sscf.camus_weight) for row in rows), (rows[-1], 1.0)]
    assert not table2.on_camus(desk, options.model_copy(update={"datasets": ("EchoNet-Dynamic",)}))
    for name, run in table2.groups(desk, 0, options).items():
        there = "CAMUS" in name and not name.startswith("U-Net")
        assert run.recipe.weight == (desk.sscf.camus_weight if there else 1.0), name
    printed = table2.on_camus(desk, options)[rows[-1], 1.0]
    assert len(printed) == len(desk.seeds) * desk.sscf.camus_folds and {run.recipe.weight for run in printed} == {1.0}
    asked = table2.TABLE2.needs(desk).runs
    assert {run.key for run in printed} <= {run.key for run in asked}


def test_trainings_that_end_with_empty_masks_are_counted_apart(monkeypatch):
    """Dice 0 in every second training at the printed weight; the mean is that of the others."""
    desk = PROFILES["desk"]

    class Ledger:
        workspace = SimpleNamespace(profile=desk)

        def require(self, runs):
            means = [0.0 if run.recipe.weight == 1.0 and k % 2 else 0.5 + 0.01 * k for k, run in enumerate(runs)]
            return [SimpleNamespace(scores={"overall": SimpleNamespace(mean=mean)}) for mean in means]

    found = table2.trainings_table(Ledger(), table2.TABLE2.options)
    at_one, smaller = found[found.weight == 1.0].iloc[0], found[found.weight != 1.0]
    assert (at_one.row, at_one.trainings, at_one.emptied) == (table2.ROWS["full"], 9, 4)
    assert len(smaller) == 4 and not smaller.emptied.any()
    assert at_one.dice == pytest.approx(54.0) and smaller.dice.tolist() == pytest.approx([54.0] * 4)
    text = drawing.trainings_html(found).data
    assert text.count("4 of 9") == 1 and text.count("0 of 9") == 4 and "54.00" in text
    assert "Nothing is trained on CAMUS" in drawing.trainings_html(found.iloc[:0]).data
