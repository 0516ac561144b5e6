"""PKEcho-Net's tables: every published cell has a status, each row its run, each claim its groups; splits do not leak."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from echolib import published
from echolib.evaluation.complexity import Complexity
from echolib.pages import overview, scorecard
from echolib.pages.timing import Timing
from echolib.pages.verdict import STATUSES
from echolib.papers.book import BOOK
from echolib.papers.pkecho import ablations, table1, table2
from echolib.papers.pkecho.runs import CLIP, data_of, fitted, pkecho_run
from echolib.papers.pkecho.table1 import OURS, RESPLIT, Table1Options, on
from tests.papers.standin import PROFILES, StandIn

PAPER = next(p for p in BOOK.papers if p.id == "pkecho")


@pytest.fixture
def counted(monkeypatch):
    """Counts and times without a network."""
    golden = {OURS[18]: (11_782_272, 42.21), OURS[34]: (21_890_432, 80.01), OURS[50]: (25_707_584, 109.07),
              "SSCF": (53_700_417, 687.67), "nnU-Net": (7_364_000, 188.0), "SimLVSeg-3D": (18_832_525, 147.1)}
    monkeypatch.setattr(table2, "counts", lambda ledger: {n: Complexity(p, g, g / 10) for n, (p, g) in golden.items()})
    clock = {n: Timing(n, 10, 320, g / 10, 0.01, 5, "a processor", 0.0, "2026-01-01 00:00 UTC", "abc")
             for n, (_, g) in golden.items()}
    monkeypatch.setattr(table2, "times", lambda ledger, options: clock)


@pytest.mark.parametrize("name", list(PROFILES))
def test_every_published_cell_has_a_status(counted, name):
    found = overview.all_cells(BOOK, PAPER, StandIn(name))
    assert set(found.status) <= set(STATUSES) and found.why.str.len().gt(0).all()
    assert not found.duplicated(["experiment", "row", "column"]).any()
    sizes = {table: len(published.load(table)) for table in published.names() if table.startswith("pkecho_")}
    assert found.experiment.value_counts().to_dict() == {
        "pkecho_table1": 7 * sizes["pkecho_table1"], "pkecho_table2": 3 * sizes["pkecho_table2_efficiency"],
        "pkecho_table3": 3 * sizes["pkecho_table3_mrp"], "pkecho_table4": 3 * sizes["pkecho_table4_kss"],
        "pkecho_table5": 3 * sizes["pkecho_table5_iterations"]}
    printed = {(r.row, r.column): r.published for r in found[found.experiment == "pkecho_table1"].itertuples()}
    for entry in published.load("pkecho_table1").to_dict("records"):
        for column in ("dsc", "hd95", "asd", "ef_corr", "ef_bias", "ef_std", "p_value"):
            assert printed[table1.row_of(entry), column] == pytest.approx(entry[column], nan_ok=True)
    if name == "desk":
        ours = found[(found.experiment == "pkecho_table1") & found.row.str.startswith(("PKEcho", "SSCF"))]
        assert set(ours.status) == {"awaiting data", "as published"} and (ours.status == "as published").sum() == 2
        assert set(found.status[found.experiment.isin(["pkecho_table3", "pkecho_table4", "pkecho_table5"])]) == {"awaiting data"}
    claims = overview.all_claims(BOOK, PAPER, StandIn(name))
    assert set(claims.status) <= set(STATUSES) and claims.experiment.nunique() == 6


def test_a_profile_that_runs_none_says_so_in_every_cell(counted):
    found = overview.all_cells(BOOK, PAPER, StandIn("desk", pkecho=None))
    own = found[found.row.str.contains("PKEcho") & (found.experiment == "pkecho_table1") & found.published.notna()]
    assert set(own.status) == {"not run"} and own.why.str.contains("'desk'").all()
    assert BOOK.needs("pkecho_table1", StandIn("desk", pkecho=None, further=()).workspace.profile).runs == ()


def test_counts_are_exact_where_the_paper_cut_digits_off(counted):
    found = table2.cells(StandIn("desk"), table2.Table2Options()).set_index(["row", "column"])
    for depth in OURS:
        status = found.status[f"PKEcho-Net ResNet-{depth}"]
        assert status["gflops"] == status["params_m"] == "exact"
    assert found.status["SSCF", "gflops"] == "differs" and "neither printed count" in found.why["SSCF", "params_m"]
    assert set(found.xs("fps", level=1).status) == {"undecided", "as published"}
    claims = table2.claims(StandIn("desk"), table2.Table2Options())
    assert set(claims.status) == {"holds"} and len(claims) == len(table2.CLAIMS)


def test_runs_are_those_of_the_paper_s_text():
    profile = PROFILES["paper"]
    run = pkecho_run(profile, 50, seed=0, data=profile.echonet)
    assert (run.model.name, run.model.imagenet, run.clip.frames) == ("pkecho_r50", True, 10)
    assert (run.train.batch, run.train.epochs) == (8, 50)
    assert run.recipe.network == {"fit": "resize", "inner": 128} and run.recipe.boundary == 1 and run.recipe.stages == "all"
    optimiser, augment = run.train.optimiser, run.train.augment
    assert (optimiser.name, optimiser.lr, optimiser.weight_decay) == ("adam", 1e-3, 0)
    assert (optimiser.schedule, optimiser.power) == ("polynomial", 0.9)
    assert (augment.jitter, augment.clahe_p, augment.rotation, augment.pad, augment.flip_p) == (0.15, 0, 20, 0, 0.5)
    camus = data_of(profile, "CAMUS")
    assert camus.size == 320 and camus.views == ("4CH", "2CH") and fitted(camus, 128) == {} and CLIP.period == 2
    assert fitted(PROFILES["smoke"].echonet, None) == {"fit": "resize"}


def test_rows_of_one_data_set_are_tested_on_the_same_patients():
    for profile in PROFILES.values():
        for seed in profile.seeds:
            runs = table1.groups(profile, seed, Table1Options())
            for dataset in ("CAMUS", "EchoNet-Dynamic"):
                here = {r.subset for n, r in runs.items() if n.endswith(on("", dataset))}
                assert len(here) == 1 and {r.data for n, r in runs.items() if n.endswith(on("", dataset))} <= {
                    data_of(profile, dataset), data_of(profile, dataset).model_copy(update={"channels": 3})}
            assert runs[on(OURS[18], "CAMUS")].subset.parts == (7, 1, 2)
            if RESPLIT in runs:
                assert runs[RESPLIT].subset.parts == (7, 1, 2) and runs[on(OURS[18], "EchoNet-Dynamic")].subset.parts is None
    ran = table1.groups(PROFILES["desk"], 0, Table1Options(datasets=("CAMUS",)))
    assert all(n.endswith("CAMUS") for n in ran) and ran


def test_pages_share_the_runs_that_they_have_in_common():
    profile = PROFILES["desk"]
    keys = {e.id: {s.key for g in e.runs(profile).values() for s in g} for e in BOOK.pages[PAPER]}
    assert len(keys["pkecho_table5"] & keys["pkecho_table1"]) == len(profile.seeds), "three iterations are the network of Table 1"
    assert len(keys["pkecho_table3"] & keys["pkecho_table4"]) == len(profile.seeds), "the baseline is the same in both"
    assert len(keys["pkecho_audit"] & keys["pkecho_table1"]) == len(profile.seeds)
    names = {s.model.name for s in BOOK.needs("pkecho_ablations", profile, {"backbone": 34}).runs}
    assert names == {"pkecho_r34"}


def test_each_row_of_the_ablations_has_its_own_network():
    profile = PROFILES["paper"]
    for entry, groups in ((ablations.TABLE3, ablations.PROXY), (ablations.TABLE4, ablations.KERNEL),
                          (ablations.TABLE5, ablations.ITERATION)):
        runs = groups(profile, 0, entry.options)
        asked = [ablations.group_of(entry.published, row)[0] for row in published.load(entry.published).to_dict("records")]
        assert set(asked) <= set(runs) and len(set(asked)) == len(asked) == len({runs[name].key for name in asked})
    baseline = ablations.PROXY(profile, 0, ablations.TABLE3.options)[ablations.BASELINE].recipe.network
    assert baseline == {"iterations": 0, "proxies": "none"}
    options = ablations.KERNEL(profile, 0, ablations.TABLE4.options)
    assert options["KSS, temporal attention"].recipe.network == {"hybrid": "gate", "proxies": "none"}


def test_a_claim_follows_the_scores():
    ledger = StandIn("desk", gain={'"pkecho_r34"': 0.03, '"pkecho_r50"': 0.03, '"nnunet2d"': -0.05})
    found = scorecard.claims(table1.TABLE1, ledger).set_index("claim").status
    assert found["A deeper encoder helps, R34 over R18, CAMUS"] == "holds"
    assert found["A deeper encoder helps, R50 over R34, CAMUS"] == "no difference"
    assert found["PKEcho-Net R50 scores above nnU-Net, EchoNet-Dynamic"] == "holds"


def frames(dice: np.ndarray) -> SimpleNamespace:
    names = [f"p{i}" for i in range(len(dice) // 2) for _ in (0, 1)]
    numbers = [0, 9] * (len(dice) // 2)
    return SimpleNamespace(frames=pd.DataFrame({"study": names, "patient": names, "frame": numbers, "dice": dice}))


def test_the_unpaired_test_misses_what_the_paired_one_finds():
    rng = np.random.default_rng(0)
    patients = np.repeat(rng.uniform(0.6, 0.95, 30), 2)
    found = table1.tests_table({on(OURS[50], "CAMUS"): [frames(patients + 0.01)], on("nnU-Net", "CAMUS"): [
        frames(patients + rng.normal(0, 0.004, 60))]}, "CAMUS").iloc[0]
    assert found.difference == pytest.approx(1, abs=0.2) and found.patients == 30
    assert found.signed_rank < 1e-4 < 0.2 < found.rank_sum
