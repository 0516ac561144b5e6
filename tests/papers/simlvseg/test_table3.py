"""Table 3: which frames a reading takes, the intervals, the cells, the verdicts and the page's tables and figures."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from echolib import published
from echolib.batch.cost import Estimator
from echolib.config import ClipSpec, load_profile
from echolib.errors import DataError
from echolib.evaluation.bootstrap import patient_interval
from echolib.evaluation.half_cycles import scores
from echolib.ledger.ledger import Ledger
from echolib.ledger.workspace import Workspace
from echolib.pages.catalogue import cohorts
from echolib.pages.scorecard import Cell
from echolib.pages.verdict import STATUSES
from echolib.papers.book import BOOK
from echolib.papers.simlvseg import table3
from echolib.papers.simlvseg import table3_drawing as table3_figures
from echolib.papers.simlvseg.table1 import TABLE1
from echolib.papers.simlvseg.table3 import (
    READINGS,
    TABLE3,
    TEXT,
    WITH,
    WITHOUT,
    Reading,
    Results,
    Table3Options,
    chosen,
    estimates,
)
from tests.papers.simlvseg.camus_results import evaluation, results

ROOT = Path(__file__).parents[3]
PROFILES = {name: load_profile(ROOT / "profiles" / f"{name}.yml") for name in ("smoke", "desk", "phantom", "paper")}


@pytest.fixture(scope="module")
def found() -> Results:
    """Pre-training adds 2 points on every frame, 3 more in the middle, and costs 4 net at ED."""
    return results({"all": 0.02, "middle": 0.03, "ED": -0.06})


def reading(name: str) -> Reading:
    return next(r for r in READINGS if r.name.startswith(name))


def test_both_readings_of_overall_and_the_choice_of_quality():
    one = evaluation({}, 0, patients=6)
    table = scores(one.studies, one.frames)  # 6 half cycles of 9 frames, 2 of them of poor quality
    counts = {name: len(chosen(table, r)) for name, r in {"text": TEXT, "ends": Reading("", ends=True),
                                                          "poor": Reading("", quality=("Good", "Medium", "Poor")),
                                                          "twice": Reading("", twice=True)}.items()}
    assert counts == {"text": 4 * 9, "ends": 4 * 2, "poor": 6 * 9, "twice": 2 * 4 * 9}
    ends = chosen(table, Reading("", ends=True))
    assert set(ends.phase) == {"ED", "ES"} and "Poor" not in set(ends.quality)
    assert [len(chosen(table, TEXT, phase)) for phase in ("ED", "ES", "middle")] == [4, 4, 4]
    ed = table[table.phase == "ED"].set_index("study").frame
    assert set(ed[one.studies.study[one.studies["first"] == "ES"]]) == {8}
    assert set(ed[one.studies.study[one.studies["first"] == "ED"]]) == {0}
    with pytest.raises(DataError, match="no frame is left to score.*quality Fine"):
        chosen(table, Reading("", quality=("Fine",)))


def test_listing_each_patient_twice_narrows_the_interval_by_the_root_of_two():
    found = results({}, seeds=1, resamples=4000, patients=60)
    once, twice = (estimates(found, reading(name))[WITH] for name in ("pooled", "the same, each"))
    assert (once.high - once.low) / (twice.high - twice.low) == pytest.approx(2 ** 0.5, rel=0.06)
    assert once.value == pytest.approx(twice.value) and twice.frames == 2 * once.frames and twice.patients == once.patients == 40


def test_the_text_s_interval_is_the_one_over_patients():
    found = results({}, seeds=1, resamples=4000)
    ours = estimates(found)[WITHOUT]
    plain = patient_interval(found.tables(WITHOUT)[0], resamples=4000, seed=5)
    assert ours.value == pytest.approx(100 * plain.mean)
    assert ours.low == pytest.approx(100 * plain.low, abs=0.15) and ours.high == pytest.approx(100 * plain.high, abs=0.15)
    frames = estimates(found, reading("pooled"))[WITHOUT]  # nine frames of a patient are alike, and it is a 90 % interval
    assert ours.high - ours.low > 2 * (frames.high - frames.low)


def test_a_reading_changes_what_it_says(found):
    value = {r.name: estimates(found, r)[WITHOUT].value for r in READINGS}
    assert value["zeros after normalisation"] == pytest.approx(value[TEXT.name] - 2, abs=0.1)
    assert value["aspect of the frames kept"] == pytest.approx(value[TEXT.name] - 3, abs=0.1)
    assert value["as the program, all frames"] == pytest.approx(value["poor image quality included"] - 2, abs=0.1)
    gain = estimates(found)["gain"]
    by_hand = 2 + (3 - 6) / 9
    assert gain.value == pytest.approx(by_hand, abs=0.05) and gain.low < by_hand < gain.high and gain.high - gain.low < 0.2
    assert np.isnan(estimates(found, reading("as the program"))["gain"].low)


@pytest.mark.parametrize("name", PROFILES)
def test_every_published_cell_has_a_status_and_is_as_printed(found, name):
    table = table3.cells(found, PROFILES[name])
    assert list(table.columns) == list(Cell.__dataclass_fields__) and set(table.status) <= set(STATUSES)
    assert not table.duplicated(["row", "column"]).any() and table.why.str.len().gt(0).all()
    printed = published.load("simlvseg_table3_camus")
    assert len(table) == len(printed) == 8 and (table.published / 100).tolist() == pytest.approx(printed.dsc.tolist())
    assert set(table.status) == ({"does not hold"} if name == "paper" else {"awaiting data"}) and table.ours.notna().all()
    row = table[(table.row == WITH) & (table.column == "dsc_middle")].iloc[0]
    assert row.published == pytest.approx(90.13) and row.ours == pytest.approx(estimates(found, TEXT, "middle")[WITH].value)


def test_a_profile_without_camus_says_so():
    profile = PROFILES["smoke"].model_copy(update={"camus": None})
    ledger = Ledger(Workspace(root=ROOT, profile=profile, build=ROOT / "build" / "none"))
    table, claimed = table3.measured_cells(ledger, Table3Options()), table3.judged_claims(ledger, Table3Options())
    assert set(table.status) == {"not run"} and table.why.str.contains("'smoke' has no CAMUS cohort").all()
    assert set(claimed.status) == {"not run"} and len(claimed) == 5 and claimed.why.equals(table.why[:5])
    assert table3.runs_of(profile, Table3Options()) == [] and TABLE3.runs(profile) == {}
    assert TABLE3.needs(profile).evaluations == ()


def test_who_holds_only_echonet_is_told_how_to_name_camus(monkeypatch):
    monkeypatch.delenv("ECHOLIB_CAMUS", raising=False)
    ledger = Ledger(Workspace(root=ROOT, profile=PROFILES["paper"], build=ROOT / "build" / "none"))
    table = table3.measured_cells(ledger, Table3Options())
    assert set(table.status) == {"not run"} and table.why.str.contains("reads the real camus data.*CAMUS=").all()


def test_nothing_is_trained_for_it_and_every_way_is_evaluated():
    for profile in PROFILES.values():
        first = {s.key for specs in TABLE1.runs(profile).values() for s in specs}
        wanted = BOOK.needs("simlvseg_table3", profile)
        assert {r.key for r in wanted.runs} <= first and len(wanted.runs) == 2 * len(profile.seeds)
        kinds = [e.kind for e in wanted.evaluations]
        assert kinds.count("half_cycle") == 3 * len(wanted.runs) and profile.camus in cohorts(profile, [wanted])
        assert kinds.count("video") == 1, "of which one clip is shown; the page of Figure 9 needs it as well"
        assert set(table3.shifted(profile, Table3Options())) <= set(wanted.evaluations)
        assert BOOK.select("simlvseg_table3", profile).evaluations == wanted.evaluations


def test_claims_need_seeds_that_agree(found):
    verdicts = table3.claims(found, PROFILES["desk"]).set_index("claim").status
    assert verdicts["Pre-training helps in the middle frame"] == verdicts["Pre-training helps in the ES frame"] == "holds"
    assert verdicts["In the ED frame pre-training costs Dice"] == "holds"
    assert verdicts[table3.APART] == "does not hold", "2 points lie within intervals over 20 patients"
    reverse = table3.claims(results({"all": -0.02}), PROFILES["desk"]).set_index("claim").status
    assert reverse["Pre-training helps out of distribution, over all frames"] == "does not hold"
    assert set(table3.claims(found, PROFILES["smoke"]).status) == {"undecided"}
    far = table3.claims(results({"all": 0.1}), PROFILES["desk"]).set_index("claim").status
    assert far[table3.APART] == "holds"


def test_what_the_printed_widths_say():
    text = table3_figures.printed_widths()
    table = published.load("simlvseg_table3_camus")
    width = {f: np.mean((table.hi - table.lo)[table.frame == f]) for f in set(table.frame)}
    assert f"some {(width['middle'] / width['overall']) ** 2:.0f} times as many frames" in text
    assert 10 < (width["middle"] / width["overall"]) ** 2 < 42, "between the shortest and the longest half cycle"


def test_the_page_s_tables_and_figures(found):
    table = table3_figures.readings(found)
    assert len(table) == 3 * len(READINGS) and table.groupby("reading").ngroups == len(READINGS)
    page = table3_figures.readings_html(table)
    assert page.count("<tr>") == 1 + len(READINGS) and f"{table.value[0]:.2f}" in page and "nan" not in page
    for figure in (table3_figures.phase_figure(table3.cells(found, PROFILES["desk"]), "phantoms (desk)"),
                   table3_figures.readings_figure(table)):
        assert all(axis.get_xlabel() or axis.get_ylabel() for axis in figure.axes)
        plt.close(figure)
    nothing = table3.cells(Results({}), PROFILES["smoke"].model_copy(update={"camus": None}))
    plt.close(table3_figures.phase_figure(nothing, "nothing"))
    numbers = table3_figures.numbers(table3.cells(found, PROFILES["desk"]))
    assert set(numbers.frames) == {"overall", "middle", "ES", "ED"} and len(numbers) == 8


def test_an_evaluation_s_cost_grows_with_the_cohort_and_the_clip():
    estimator, spec = Estimator([], rate=1e12), TABLE3.needs(PROFILES["desk"]).evaluations[0]
    more = spec.data.model_copy(update={"phantom": spec.data.phantom.model_copy(update={"train": 40})})
    longer = spec.run.model_copy(update={"clip": ClipSpec(frames=64)})
    small, large, wide = (estimator.evaluation(spec.model_copy(update=u)) for u in ({}, {"data": more}, {"run": longer}))
    assert 0 < small.seconds and large.seconds == pytest.approx(2 * small.seconds) == wide.seconds
    assert (small.disk, large.disk, wide.disk) == (40 * 20 * 45, 80 * 20 * 45, 40 * 20 * 45)
    desk = PROFILES["desk"].camus
    assert estimator.store(desk).disk == 40 * 20 * desk.size ** 2, "the four-chamber view alone is packed"
    assert estimator.cohort(desk).seconds > estimator.cohort(PROFILES["desk"].echonet).seconds / 20
