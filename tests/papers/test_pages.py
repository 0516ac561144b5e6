"""The catalogue: every entry has its CSV, its notebook and runnable specifications; the published numbers are untouched."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from echolib import published
from echolib.config import AblationSize, load_profile
from echolib.errors import ConfigError
from echolib.pages import findings, overview
from echolib.pages.experiment import Claim
from echolib.papers.book import BOOK
from echolib.papers.simlvseg.figure7 import FIGURE7, FIGURE7_FRAMES, FIGURE7_PERIODS
from echolib.papers.simlvseg.figure8 import FIGURE8, ratio_name
from echolib.papers.simlvseg.runs import segment_run
from echolib.papers.simlvseg.table1 import TABLE1
from echolib.papers.simlvseg.table2 import BACKBONES, TABLE2

ROOT = Path(__file__).parents[2]
PROFILES = {name: load_profile(ROOT / "profiles" / f"{name}.yml") for name in ("smoke", "desk", "phantom", "paper")}


@pytest.mark.parametrize("entry", BOOK.entries.values(), ids=lambda e: e.id)
def test_an_entry_is_complete(entry):
    assert (ROOT / "notebooks" / f"{entry.notebook}.ipynb").is_file()
    if not entry.published:  # the paper prints no number: claims on evaluations, or runs that the page compares itself
        assert all(claim.measure for claim in entry.claims) and not entry.draws and entry.measure is None
    for profile in PROFILES.values():
        runs = entry.runs(profile)
        keys = [spec.key for specs in runs.values() for spec in specs]
        assert len(keys) == len(set(keys)) == len(runs) * len(profile.seeds)
        if entry.measure is None:
            assert {c.group for c in entry.printed(profile)} - {""} <= set(runs)
            assert all(c.group or c.network or c.other or c.absent for c in entry.printed(profile)), "a cell that nothing answers"
        for group in entry.evaluations(profile).values():
            assert [spec.run.seed for spec in group] == list(profile.seeds)
        if not entry.published:
            assert not entry.printed(profile)
        elif not entry.draws:
            assert entry.measure is not None or {c.row for c in entry.printed(profile)} and len(published.load(entry.published))
    for claim in entry.claims:
        full = (entry.evaluations if claim.measure else entry.runs)(PROFILES["paper"])
        assert {name for pair in claim.pairs for name in pair} <= set(full), claim.text


@pytest.mark.parametrize(("entry", "columns"), [(TABLE1, 5), (FIGURE7, 1), (FIGURE8, 1), (TABLE2, 4)])
def test_every_published_cell_is_listed_as_printed(entry, columns):
    cells, table = entry.printed(PROFILES["smoke"]), published.load(entry.published)
    assert len(cells) == len({(c.row, c.column) for c in cells}) == columns * len(table)
    dice = [c.value for c in cells if c.column == "dsc_overall"]
    assert dice == pytest.approx(list(table.dsc_overall), nan_ok=True)


def test_the_paper_s_grid_is_run_in_full_and_smoke_says_what_it_leaves_out():
    for name in ("desk", "phantom", "paper"):
        profile = PROFILES[name]
        assert all(c.group for c in FIGURE7.printed(profile)) and all(c.group for c in FIGURE8.printed(profile))
        assert len(FIGURE7.runs(profile)) == 24 and len(FIGURE8.runs(profile)) == 10
    left_out = [c for c in FIGURE7.printed(PROFILES["smoke"]) if not c.group]
    assert len(left_out) == 24 - len(FIGURE7.runs(PROFILES["smoke"])) and all("'smoke'" in c.absent for c in left_out)


def test_a_profile_without_ablations_runs_none_and_says_so():
    profile = PROFILES["smoke"].model_copy(update={"ablation": None})
    for entry in (FIGURE7, FIGURE8, TABLE2):
        assert entry.runs(profile) == {}
        assert all("runs no ablations" in c.absent for c in entry.printed(profile) if c.column == "dsc_overall")
    with pytest.raises(ConfigError, match="no option 'ablation'"):
        segment_run(profile, "unet3d", seed=0, ablation=True)


def test_pages_share_runs_of_the_same_specification():
    paper = PROFILES["paper"]
    runs = {e.id: e.runs(paper) for e in BOOK.entries.values()}
    grid, ratios, backbones = runs["simlvseg_figure7"], runs["simlvseg_figure8"], runs["simlvseg_table2"]
    assert grid["SI UniFormer-S 16x5"] == ratios["no pre-training"] == backbones["UniFormer-S"]
    assert grid["3D U-Net 32x1"] == backbones["3D U-Net"] == runs["simlvseg_table1"]["SimLVSeg-3D, no pre-training"]
    assert ratios[ratio_name(0.6)] == runs["simlvseg_table1"]["SimLVSeg-SI"]
    assert all(not spec.parents for specs in grid.values() for spec in specs), "Figure 7 is without pre-training"
    assert {name: specs[0].model.name for name, specs in backbones.items() if name in BACKBONES} == {
        name: model for name, (model, _) in BACKBONES.items()}


def test_a_claim_s_pairs():
    assert Claim("", "a", "b").pairs == (("a", "b"),)
    assert Claim("", "a", ("b", "c")).pairs == (("a", "b"), ("a", "c"))
    assert Claim("", "none", ("b", "c"), every=True).pairs == (("b", "none"), ("c", "none"))
    best = next(c for c in FIGURE7.claims if c.better == "SI UniFormer-S 16x5")
    assert len(best.pairs) == 15 and all(b == "SI UniFormer-S 16x5" != w for b, w in best.pairs)


@pytest.mark.parametrize(("option", "value", "word"), [("frames_si", (8,), "square"), ("frames_3d", (24,), "multiples of 16"),
                                                       ("ratios", (1.0,), "between 0 and 1"), ("ratios", ("some",), "ratios")])
def test_an_impossible_ablation_is_refused(option, value, word):
    stage = {"epochs": 1, "batch": 1}
    with pytest.raises(ValueError, match=word):
        AblationSize.model_validate({"pretrain": stage, "segment": stage, option: value})


def test_published_values_that_the_text_also_states():
    table = published.load("simlvseg_table1").set_index("method")
    assert table.dsc_overall["SimLVSeg-3D"] == 93.32 and table.dsc_overall_lo["SimLVSeg-3D"] == 93.21
    assert table.gflops_per_frame["SimLVSeg-3D"] == 1.13 and table.params_m["SimLVSeg-3D"] == 18.83
    assert len(table) == 7
    grid = {c.row: c.value for c in FIGURE7.printed(PROFILES["paper"])}
    best = {kind: max((n for n in grid if n.startswith(kind)), key=grid.get) for kind in ("SI", "3D")}
    assert best == {"SI": "SI UniFormer-S 16x5", "3D": "3D U-Net 32x1"}
    assert (grid[best["SI"]], grid[best["3D"]]) == (93.21, 93.31)


def test_an_unknown_published_table_is_named():
    with pytest.raises(ConfigError, match="simlvseg_table9"):
        published.load("simlvseg_table9")


def test_the_axes_of_figure_7_are_those_of_its_table():
    table = published.load("simlvseg_figure7_frames_period")
    grid = {(approach, f, t) for approach, frames in FIGURE7_FRAMES.items() for f in frames for t in FIGURE7_PERIODS}
    assert grid == set(table[["approach", "frames", "period"]].itertuples(index=False, name=None)) and len(table) == len(grid)


def test_a_page_of_several_tables_is_chosen_by_its_name():
    """`echolib plan` lists pages by name, so `echolib run` takes them."""
    desk = PROFILES["desk"]
    assert "pkecho_ablations" not in BOOK.entries
    chosen = BOOK.select("pkecho_ablations", desk)
    assert chosen == BOOK.needs("pkecho_ablations", desk) and len(chosen.runs) > 30
    single = BOOK.select("pkecho_table3", desk)
    assert set(single.runs) < set(chosen.runs)
    with pytest.raises(ConfigError, match=r"no entry, page, run or evaluation 'table9'.*; pages: .*pkecho_ablations.*; keys: "):
        BOOK.select("table9", desk)


def test_pages_that_lack_records_leave_the_front_page_and_the_scorecard_standing():
    """Every page stopped, and no record anywhere: each cell and each question of the front page is there, and not run."""
    stopped = {name: "its page lacks a record" for name in BOOK.entries}
    ledger = SimpleNamespace(workspace=SimpleNamespace(profile=PROFILES["desk"]))
    claimed = pd.concat([overview.all_claims(BOOK, paper, ledger, stopped) for paper in BOOK.papers], ignore_index=True)
    cells = pd.concat([overview.all_cells(BOOK, paper, ledger, stopped) for paper in BOOK.papers], ignore_index=True)
    assert set(claimed.status) == set(cells.status) == {"not run"} and not claimed.duplicated(["experiment", "claim"]).any()
    answered = {entry.published for entry in BOOK.entries.values() if entry.published and not entry.draws}
    shown = sum(len(overview.unanswered(name)) for name in answered)
    assert shown == cells.experiment.isin(BOOK.entries).sum() > 500
    text = findings.findings_html(BOOK, claimed)
    assert text.count("its page lacks a record") == text.count("Not asked") == sum(len(paper.questions) for paper in BOOK.papers)
