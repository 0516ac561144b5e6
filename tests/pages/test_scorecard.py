"""What the scorecard and the footers say around the numbers, and which cohort the atlas shows."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from echolib import published
from echolib.config import load_profile
from echolib.errors import RecordError
from echolib.ledger.workspace import Workspace
from echolib.pages import overview, scorecard
from echolib.pages.verdict import STATUSES
from echolib.papers.book import BOOK
from echolib.papers.simlvseg import table3
from echolib.papers.simlvseg.figure7 import FIGURE7
from echolib.papers.simlvseg.figure8 import FIGURE8
from echolib.papers.simlvseg.table1 import TABLE1
from tests.papers.simlvseg.camus_results import results

ROOT = Path(__file__).parents[2]


def workspace(name: str) -> Workspace:
    return Workspace(root=ROOT, profile=load_profile(ROOT / "profiles" / f"{name}.yml"), build=ROOT / "build" / name)


@pytest.fixture
def one_row(monkeypatch):
    columns = (*scorecard.DICE_COLUMNS, *scorecard.COUNT_COLUMNS)
    rows = [scorecard.Cell("SimLVSeg-3D", c, 93.0, 92.0, 94.0, 80.0, 79.0, 81.0, "undecided", "why") for c in columns]
    monkeypatch.setattr(scorecard, "cells", lambda *_: pd.DataFrame(rows))


@pytest.mark.parametrize(("name", "seeds", "apart"), [("smoke", False, True), ("desk", True, True), ("paper", True, False)])
def test_the_legend_says_what_each_line_is(one_row, name, seeds, apart):
    text = scorecard.scorecard_html(TABLE1, SimpleNamespace(workspace=workspace(name)))
    assert '<span class="echo-published">First line, bold:</span>' in text and "Second line, blue:" in text
    assert ("mean over 3 seeds" in text) == seeds and ("not to be subtracted" in text) == apart
    assert text.index("93.00") < text.index("80.00")


def test_the_style_makes_only_the_first_line_bold():
    style = (ROOT / "book" / "_static" / "custom.css").read_text()
    rules = {name: style.split(f".echo-{name} {{")[1].split("}")[0] for name in ("published", "ours")}
    assert "font-weight: 600" in rules["published"] and "font-weight" not in rules["ours"]


@pytest.mark.parametrize(("profile", "notebook", "shown"), [
    ("smoke", "phantom_atlas", "smoke"), ("desk", "phantom_atlas", "desk"), ("paper", "phantom_atlas", "smoke"),
    ("paper", "simlvseg_table1", "paper")])
def test_the_atlas_shows_phantoms_under_a_real_profile_too(profile, notebook, shown):
    assert BOOK.parameters(notebook, load_profile(ROOT / "profiles" / f"{profile}.yml")) == {"profile": shown}


def test_the_readme_says_of_each_profile_what_its_file_says():
    text = (ROOT / "README.md").read_text()
    for path in (ROOT / "profiles").glob("*.yml"):
        profile = load_profile(path)
        row = next(line for line in text.splitlines() if line.startswith(f"| `{profile.name}`"))
        spec = profile.echonet.phantom
        data = "EchoNet-Dynamic" if spec is None else f"{spec.train + spec.val + spec.test:,} phantom videos"
        assert data in row and f"{profile.pretrain.epochs} + {profile.segment.epochs} epochs" in row
        assert ("as published" in row) == (profile.width == 1) and ("three seeds" in row) == (len(profile.seeds) == 3)


class StandIn:
    """A ledger whose runs are all finished, each with scores of its own."""

    def __init__(self, name: str, **changes: object) -> None:
        self.workspace = workspace(name)
        if changes:
            self.workspace = Workspace(ROOT, self.workspace.profile.model_copy(update=changes), self.workspace.build)

    def require(self, specs):
        return [SimpleNamespace(key=s.key, spec=s, scores={p: SimpleNamespace(mean=t.dice.mean(), low=0.7, high=0.9)
                                                          for p in ("overall", "ES", "ED")})
                for s, t in ((s, self.scores(s)) for s in specs)]

    @property
    def runs(self):
        return SimpleNamespace(record_file=lambda spec: self.workspace.build / "runs" / spec.key / "record.json")

    def evaluate(self, specs):
        """Evaluations that are all finished, each with studies of its own."""
        found = []
        for spec in specs:
            rng, names = np.random.default_rng(int(spec.key, 16)), [f"s{i}" for i in range(30)]
            found.append(SimpleNamespace(studies=pd.DataFrame({
                "study": names, "patient": names, "dice": 0.8 + rng.normal(0, .02, 30),
                "flicker": 10 ** rng.normal(-4, .1, 30)})))
        return found

    def scores(self, spec):
        rng = np.random.default_rng(int(spec.key, 16))
        shift = 0.03 if "init" in spec.parents and spec.parents["init"].recipe.ratio == 0.6 else 0.0
        return pd.DataFrame([{"study": f"s{i}", "patient": f"s{i}", "frame": f, "phase": p,
                              "dice": 0.8 + shift + rng.normal(0, .02)}
                             for i in range(30) for f, p in ((3, "ED"), (12, "ES"))])


@pytest.fixture
def counted(monkeypatch):
    monkeypatch.setattr(scorecard, "count", lambda build, name: SimpleNamespace(parameters=18_832_525, gflops=36.03,
                                                                                gflops_per_frame=1.126))


@pytest.fixture
def camus(monkeypatch):
    monkeypatch.setattr(table3, "load", lambda ledger, options: results({"all": 0.02}, len(ledger.workspace.profile.seeds)))


@pytest.mark.parametrize("name", ["smoke", "desk"])
def test_every_published_cell_of_the_paper_is_on_the_page_with_a_status(counted, camus, name):
    ledger = StandIn(name)
    paper = next(p for p in BOOK.papers if p.id == "simlvseg")
    found, claimed = overview.all_cells(BOOK, paper, ledger), overview.all_claims(BOOK, paper, ledger)
    assert set(found.status) <= set(STATUSES) and found.why.str.len().gt(0).all()
    tables = {n for n in published.names() if n.startswith("simlvseg_")}
    assert {BOOK.entries[e].published if e in BOOK.entries else e for e in found.experiment} == tables
    assert sum(found.experiment == "simlvseg_figure7") == 24 and sum(found.experiment == "simlvseg_table3") == 8
    assert sum(claimed.experiment == "simlvseg_table3") == 5 and not found.duplicated(["experiment", "row", "column"]).any()
    seeds = len(ledger.workspace.profile.seeds)
    assert set(found.column[found.experiment == "simlvseg_runtime"]) <= {"ms_per_frame"}
    grid = found[found.experiment == "simlvseg_figure7"]
    assert set(grid.records.map(len)) == ({0, seeds} if name == "smoke" else {seeds})
    assert set(grid.status) == ({"not run", "awaiting data"} if name == "smoke" else {"awaiting data"})
    text = overview.overview_html(BOOK, found, claimed)
    assert text.count("<tr>") == 2 + len(found) + len(claimed) and "93.31" in text
    for status, count in found.status.value_counts().items():
        assert (f"Another {count} can only be compared" if status == "awaiting data" else
                f"{scorecard.chip(status)} {count}</li>") in text
    files = overview.record_files(BOOK, ledger, found)
    assert all(f'href="../{path}"' in text for path in files) and len(files) == len({k for r in found.records for k in r})


def test_a_cell_without_a_status_stops_the_build(monkeypatch):
    broken = pd.DataFrame([{"row": "a", "column": "dsc", "status": ""}])
    entry = SimpleNamespace(id="x", measure=lambda ledger, options: broken, options=None)
    with pytest.raises(RecordError, match="x: the published cell a, dsc has no status"):
        scorecard.cells(entry, StandIn("smoke"))


def test_results_that_are_no_dice_of_a_run_come_from_the_entry_s_own_measure():
    cell = scorecard.Cell("SimLVSeg-3D", "ms_per_frame", 0.79, np.nan, np.nan, 3.1, 3.0, 3.2, "awaiting data", "another machine")
    entry = SimpleNamespace(id="x", measure=lambda ledger, options: pd.DataFrame([cell]), options=None)
    assert scorecard.cells(entry, StandIn("smoke")).ours.tolist() == [3.1]


def test_claims_of_a_grid_need_the_whole_of_it():
    smoke = scorecard.claims(FIGURE7, StandIn("smoke"))
    assert set(smoke.status) == {"not run"} and smoke.why.str.contains("profile 'smoke' does not run .* and 1?\\d more").all()
    desk = scorecard.claims(FIGURE8, StandIn("desk")).set_index("claim")
    assert desk.status["Pre-training with 60 % masked frames helps"] == "holds"
    assert desk.status["60 % is the best ratio"] == "holds" and "all 9 comparisons hold" in desk.why["60 % is the best ratio"]
    assert desk.status["Pre-training helps at every ratio"] == "undecided"


def test_on_the_real_data_values_are_compared_by_intervals(counted):
    real = scorecard.cells(FIGURE8, StandIn("paper"))
    assert set(real.status) == {"does not hold"} and real.why.str.contains("do not meet, 3 seeds").all()


def test_every_published_cell_has_a_status_and_stands_on_the_card(counted):
    ledger = StandIn("smoke")
    table = scorecard.cells(TABLE1, ledger)
    assert len(table) == 7 * 5 and table.status.ne("").all()
    assert set(table.status[table.row.isin(["CSS-SemiVideo", "GraphEcho", "SepXception"])]) == {"as published"}
    ours = table.set_index(["row", "column"])
    assert ours.status["SimLVSeg-3D", "params_m"] == "exact" and ours.status["SimLVSeg-3D", "gflops_per_frame"] == "exact"
    assert ours.status["SimLVSeg-SI", "params_m"] == "differs", "the stand-in count is not SimLVSeg-SI's"
    assert ours.status["SimLVSeg-3D", "dsc_overall"] == "awaiting data", "phantom Dice may not be compared with published Dice"
    page = scorecard.scorecard_html(TABLE1, ledger)
    assert "93.32" in page and "93.21–93.43" in page and page.count("<tr>") == 8
    assert set(scorecard.claims(TABLE1, ledger).status) == {"undecided"}, "a profile that may not be quoted decides nothing"
