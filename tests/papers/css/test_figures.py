"""CSS's figures and the audit: numbers by hand, every group drawn, each switch changes what it says."""

from __future__ import annotations

import re
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from echolib.config.profile import FurtherSeeds
from echolib.data.subsets import labelled_studies
from echolib.evaluation.agreement import agreement
from echolib.pages import scorecard
from echolib.pages.html import true_minus
from echolib.papers.book import BOOK
from echolib.papers.css import (
    attention,
    attention_drawing,
    audit,
    audit_drawing,
    drawing,
    external,
    measuring,
    parameters,
    parameters_drawing,
    phases,
    phases_drawing,
    segmenters,
    segmenters_drawing,
    table1,
    table1_drawing,
    table4,
)
from tests.papers.css.standin import EF, STUDIES, Chain
from tests.papers.standin import PROFILES

PAPER = next(p for p in BOOK.papers if p.id == "css")


@pytest.fixture(autouse=True)
def closed():
    """No figure stays open."""
    yield
    plt.close("all")


def lines_of(axis) -> int:
    return len([line for line in axis.lines if len(line.get_xdata()) > 1])


# -- Tables I, IV and their kin ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("entry", [e for e in BOOK.pages[PAPER] if e.published and not e.draws], ids=lambda e: e.id)
def test_every_column_has_a_heading_and_every_cell_is_on_the_page(entry):
    ledger = Chain()
    cells = scorecard.cells(entry, ledger)
    assert set(entry.headings) == set(cells.column)
    text = drawing.scorecard_of(entry, ledger, cells).data
    for heading, places in entry.headings.values():
        assert f"{heading}<" in text and places == (2 if "MAE" in heading else 1)
    assert text.count("echo-published") == 1 + len(cells) and "nan" not in text
    assert text.count("echo-ours") == 1 + cells.ours.notna().sum() > 1
    assert "mean ± sd of “five runs” as printed" in text and "seeds and patients resampled" in text


def test_a_heading_says_metric_and_share():
    assert measuring.headings(["mae 3/32", "r2 1", "f_m mae", "dice unlabeled", "mae 3/32"]) == {
        "mae 3/32": ("MAE, 3/32", 2), "r2 1": ("R², 1", 1), "f_m mae": ("f_m, MAE", 2), "dice unlabeled": ("Dice, others", 1)}


def test_the_figure_of_shares_draws_every_row_left_and_what_was_run_right():
    entry = BOOK.entries["css_table1"]
    cells = scorecard.cells(entry, Chain())
    figure = drawing.shares_figure(cells, "phantoms")
    assert lines_of(figure.axes[0]) == cells.row.nunique() == 5 and lines_of(figure.axes[1]) == 4, "Dai et al. is not run"
    drawn = {line.get_label(): line for line in figure.axes[0].lines}
    assert list(drawn["CSS"].get_ydata()) == list(cells[(cells.row == "CSS") & cells.column.str.startswith("mae")].published)
    assert "4.90 <small>(4.86–4.94)</small>" in drawing.scorecard_of(entry, Chain(), cells).data


def test_every_training_has_its_error_in_the_column_of_its_seed():
    further = (FurtherSeeds(entry="css_table4", groups=("Video Only, 1/8 labels", "Video+Seg., 1/8 labels"), seeds=(7,)),)
    ledger = Chain("desk", lambda run: float(run.seed == 2), further=further)
    page = drawing.seeds_html(table4.TABLE4, ledger).data
    rows = {row.split("</th>")[0]: re.findall(r"<td>([^<]*)</td>", row) for row in page.split('<th scope="row">')[1:]}
    assert re.findall(r"Seed \d", page) == ["Seed 0", "Seed 1", "Seed 2", "Seed 7"]
    for name, specs in table4.TABLE4.runs(ledger.workspace.profile).items():
        found = [(t.predicted_ef - t.ef).abs().mean() for t in map(ledger.scores, specs)]
        assert rows[name][:3] == [f"{v:.2f}" for v in found], name
        assert (rows[name][3] == "–") == (name not in further[0].groups), name
    assert f"{abs(EF - EF.mean()).mean():.2f}</span></caption>" in page


def test_the_ejection_fraction_in_several_ways():
    ledger = Chain(better=lambda run: 5.0 if run is None else 0.0)
    found = table1_drawing.load(ledger)
    assert list(found) == ["disks on exact masks", "disks on masks, Supervised", "disks on masks, CSS", "frames alone",
                           "f_m: frames and masks", "f_e: taught by f_m"]
    assert [len(group) for group in found.values()] == [1, 3, 3, 3, 3, 3]
    text = table1_drawing.ways_html(found, 200).data
    rows = text.split("<tr")[2:]
    assert len(rows) == 1 + len(found) and "nan" not in text
    floor = f"{abs(EF - EF.mean()).mean():.2f}"
    assert "always the mean EF" in rows[0] and floor in rows[0]
    assert re.sub("<[^>]*>", " ", rows[1]).split()[-2:] == [str(len(STUDIES)), "1"], "a study without a beat is counted"
    pairs = table1_drawing.as_pairs(found["frames alone"])
    assert pairs[0]["studies"].exact.tolist() == EF.tolist()
    pairs = table1_drawing.as_pairs(found["disks on masks, CSS"])[0]["studies"]
    assert np.isnan(pairs.found[0]) and pairs.exact.tolist() == EF.tolist()
    figure = table1_drawing.agreement_figure(found)
    assert [a.get_title(loc="left") for a in figure.axes if a.get_title(loc="left")] == list(found)
    every = pd.concat([t["studies"] for t in table1_drawing.as_pairs(found["frames alone"])])
    assert true_minus(f"{agreement(every, 'found', 'exact', 100).limits[0]:+.1f} to") in text


def test_the_curve_of_a_perfect_network_has_all_of_its_area():
    perfect = Chain(better=lambda run: 10.0 if run is not None and run.recipe.kind == "regress" else 0.0)
    every = table1_drawing.load(perfect)
    found = {name: every[name] for name in ("frames alone", "f_e: taught by f_m")}
    table = table1_drawing.auc_table(found, 50).set_index(["way", "threshold"])
    assert (table.auc.loc["frames alone"] == 1).all() and (table.auc.loc["f_e: taught by f_m"] <= 1).all()
    assert table.below["frames alone", 50] == (EF < 50).sum() and table.below["frames alone", 35] == (EF < 35).sum()
    text = table1_drawing.auc_html(table.reset_index()).data
    assert f"EF &lt; 50 % <small>({(EF < 50).sum()} studies)</small>" in text and text.count("<tr") == 3


def test_the_list_of_labelled_studies_is_that_of_the_runs():
    ledger = Chain("smoke")
    profile = ledger.workspace.profile
    table = table1_drawing.list_table(ledger, profile)
    assert set(table.labelled_from) == {"1/4", "1"} and len(table) == 8
    studies = pd.DataFrame({"split": "train"}, index=pd.Index(table.study, name="study"))
    run = table1.css_student(profile, "1/4", 0)
    assert set(table.study[table.labelled_from == "1/4"]) == set(labelled_studies(studies, run.subset.labelled, run.subset.seed))
    text = table1_drawing.lists_html(ledger, profile).data
    rows = [re.sub("<[^>]*>", " ", row).split() for row in text.split("<tr")[2:]]
    assert [row[-3:] for row in rows][0] == ["1/4", "2", "6"] and 'download="labelled_studies.csv"' in text


# -- segmenters -------------------------------------------------------------------------------------------------------

def of_videos(**dice) -> dict[str, list]:
    out = {}
    for name, (traced, untraced) in dice.items():
        studies = pd.DataFrame({"study": ["b", "a", "c"], "traced_dice": traced, "untraced_dice": untraced,
                                "worst_dice": [0.5, 0.5, 0.9], "worst_frame": [7, 8, 9]})
        out[name] = [SimpleNamespace(studies=studies, record=SimpleNamespace(spec=SimpleNamespace(run=SimpleNamespace(seed=4))))]
    return out


def test_gains_and_worst_frames_by_hand():
    found = of_videos(Supervised=(0.8, [0.6, 0.7, 0.8]), CSS=(0.85, [0.7, 0.8, 0.9]), CPS=(0.8, np.nan))
    table = segmenters.gain_table(found).set_index("method")
    assert table.loc["CSS", ["traced", "untraced", "gain_traced", "gain_untraced"]].tolist() == pytest.approx([85, 80, 5, 10])
    assert table.loc["Supervised", ["gain_traced", "gain_untraced"]].tolist() == [0, 0] and np.isnan(table.untraced["CPS"])
    text = segmenters_drawing.gain_html(found).data
    assert "+10.00" in text and "nan" not in text
    assert segmenters.worst_cases(found, 2) == [("a", 8), ("b", 7)], "of equals the first by name"


def test_table_6_takes_untraced_frames_from_whole_videos():
    ledger = Chain(better=lambda run: 2.0 * (run.recipe.kind == "cross_pseudo"))
    cells = segmenters.dice_cells(ledger, segmenters.SegmenterOptions()).set_index(["row", "column"])
    runs = segmenters.TABLE6.runs(ledger.workspace.profile)
    scores = [ledger.scores(spec) for spec in runs["CSS"]]
    assert cells.ours["CSS", "dice ed"] == pytest.approx(100 * np.mean([t.dice[t.phase == "ED"].mean() for t in scores]))
    assert cells.ours["CSS", "dice unlabeled"] == pytest.approx(100 * np.mean([t.dice.mean() for t in scores]) - 5)
    assert cells.ours["CPS", "dice unlabeled"] == pytest.approx(cells.ours["CSS", "dice unlabeled"] + 2)
    assert np.isnan(cells.ours["CLAS", "dice unlabeled"]) and "motion fields" in cells.why["CLAS", "dice ed"]
    assert len(segmenters_drawing.dice_figure(cells.reset_index(), "phantoms").axes) == 6


def test_videos_that_are_too_short_for_the_cycle_are_counted_on_the_page():
    ledger = Chain()
    spec, text = segmenters.lengths_spec(ledger.workspace.profile), segmenters_drawing.lengths_html(ledger).data
    assert (spec.frames, spec.period) == (40, 3) and "118 frames of the video" in text
    assert "Of 30 training videos 7 are shorter" in text


# -- parameters, attention, phases ------------------------------------------------------------------------------------

def test_figure_7_has_every_value_and_fills_the_chosen_one():
    table = parameters_drawing.grid_table(Chain())
    assert table.groupby("parameter").size().to_dict() == {"s": 4, "c": 5, "tau": 5}
    chosen = table[[r.number == parameters.CHOSEN[r.parameter] for r in table.itertuples()]]
    assert len(chosen) == 3 and chosen.value.nunique() == 1, "one run stands in every panel"
    figure = parameters_drawing.grid_figure(table)
    assert len(figure.axes) == 3 and [t.get_text() for t in figure.axes[2].get_xticklabels()] == ["1", "5", "10", "50", "100"]


def test_the_share_of_attention_over_the_share_of_pixels():
    ledger = Chain()
    found = {n: ledger.evaluate(s) for n, s in attention.at_home(ledger.workspace.profile, attention.AttentionOptions()).items()}
    text = attention_drawing.share_html(found, 200).data
    assert text.count("<tr") == 1 + len(found) and text.count("<td>3.00</td>") == len(found), "30 % of it in 10 % of the frame"
    cases = attention.cases(found, 3)
    first = found["Ouyang et al."][0].frames
    order = first[first.phase == "ED"].sort_values(["dice", "study"]).study.tolist()
    assert [study for study, _ in cases] == order[9:12] and {frame for _, frame in cases} == {3}
    assert len(attention.cases(found, 8)) == 8 and len(attention.of_phase(found["CSS"], "ES")[0]["frames"]) == len(STUDIES)


def test_figures_of_matched_phases_have_a_column_for_each_method():
    ledger = Chain(better=lambda run: 5.0 if run is None else 0.0)
    options = phases.PhaseOptions(drawn=3)
    found = phases.load(ledger, options)
    methods = [phases.PIXELS, "Supervised", "CSS", "CPS", "TCCL", phases.WORKING]
    assert sorted(phases_drawing.methods_of(found)) == sorted(methods) and phases_drawing.methods_of(found)[0] == phases.PIXELS
    assert len(found[phases.of(phases.PIXELS, "sinus")]) == 1 and len(found[phases.of("CSS", "arrhythmia")]) == 3
    text = phases_drawing.errors_html(found, 200).data
    assert text.count("<tr") == 1 + 2 * len(methods) and "0.15" in text, "pixels are better by 0.05 beats"
    assert [lines_of(axis) for axis in phases_drawing.error_figure(found).axes] == [len(methods) + 1] * 2
    assert len(phases_drawing.embedding_figure(found).axes) == 2 * len(methods) + 1
    assert len(phases_drawing.distance_figure(found).axes) == 2 * len(methods) + 1


def test_studies_of_one_quality_and_all_of_them():
    ledger = Chain()
    specs = external.evaluations(ledger.workspace.profile, external.Table9Options())
    group = ledger.evaluate(next(iter(specs.values())))
    sizes = {quality: len(external.by_quality(group, quality)[0]["studies"]) for quality in (*external.QUALITIES, "Overall")}
    assert sizes == {"Good": 12, "Medium": 6, "Poor": 2, "Overall": 20}


# -- the audit --------------------------------------------------------------------------------------------------------

def test_each_switch_changes_what_it_says_and_nothing_else():
    profile = PROFILES["phantom"]
    runs = audit.groups(profile, 0, audit.SeedOptions())
    assert len(audit.switches(profile)) == len(audit.SWITCHES) and audit.switches(Chain("desk", css=None).workspace.profile) == ()
    for one in audit.SWITCHES:
        base, turned = (runs[n].model_dump() for n in (audit.STUDENT if one.student else audit.SEGMENTER, one.text))
        differ = {k for k in base if base[k] != turned[k]}
        assert differ == ({"recipe", "subset"} if one.positions else {"recipe"}), one.text
        assert {k for k in base["recipe"] if base["recipe"][k] != turned["recipe"][k]} == set(one.options), one.text
    working = runs[phases.WORKING].recipe
    assert (working.scale, working.weight) == ("spread", phases.WORKING_WEIGHT)
    assert audit.of_segmenter(profile)[:2] == (audit.SEGMENTER, "supervised")


def test_what_the_logs_say_of_each_cyclical_term():
    ledger = Chain()
    table = audit.training(ledger).set_index("group")
    assert set(table.index) == set(audit.of_segmenter(ledger.workspace.profile)) - {"supervised"}
    base, working = table.loc[audit.SEGMENTER], table.loc[phases.WORKING]
    assert base.share == pytest.approx(0.01 * 3000 / 1000) and working.share == pytest.approx(100 * 2 / 1000)
    assert (base.entropy, base.came_round, base.gradient_ratio) == (0, 0.5, 0.003), "steps without a ratio do not enter"
    assert "nan" not in audit_drawing.training_html(table.reset_index()).data
    figure = audit_drawing.training_figure(ledger)
    assert [len(axis.lines) for axis in figure.axes] == [len(table)] * 3


def test_effects_are_better_worse_or_not_to_be_told():
    def lift(run):
        if run.recipe.kind == "cyclic":
            return -3.0 * (run.recipe.scale == 1.0)
        return 3.0 * (run.recipe.kind == "distil" and run.recipe.halved)
    found = audit.effects(Chain(better=lift)).set_index(["switch", "of"])
    status = found.status
    assert status["features are means, not sums", "Dice of traced frames, %"] == "worse"
    assert status["features are means, not sums", "Dice of other frames, %"] == "worse"
    assert status["unlabelled term halved (released)", "MAE of the EF, points"] == "better"
    assert status["student from random weights", "MAE of the EF, points"] == "no difference"
    one = found.loc[("unlabelled term halved (released)", "MAE of the EF, points")]
    assert one.switched == pytest.approx(0.7 * one.base) and one.base > 0
    assert set(audit.effects(Chain("smoke")).status) == {"undecided"} and audit.effects(Chain("desk", css=None)).empty
    assert "nan" not in audit_drawing.effects_html(found.reset_index()).data


def test_the_spread_over_clips_and_over_trainings():
    ledger = Chain()
    found = ledger.evaluate(audit.clips(ledger.workspace.profile))
    table = audit.five_runs(found, 200)
    assert len(table) == 3 + 2 and table.reading.iloc[0] == "5 clips of one training, seed 0"
    whole = [np.abs(e.studies.predicted_ef - e.studies.ef).mean() for e in found]
    assert table["mean"].iloc[-1] == pytest.approx(np.mean(whole)) and table.sd.iloc[-1] == pytest.approx(np.std(whole, ddof=1))
    assert "nan" not in audit_drawing.five_html(table).data
    for inside, across, wanted in (([0.1, 0.2, 0.1], 0.5, "holds"), ([0.1, 0.6, 0.1], 0.5, "does not hold"),
                                   ([0.1, 0.2], 0.5, "undecided"), ([0.1], np.nan, "undecided")):
        rows = [(f"5 clips of one training, seed {k}", sd) for k, sd in enumerate(inside)] + [(
            f"one clip of {len(inside)} trainings", across), ("all clips averaged", across)]
        made = pd.DataFrame(rows, columns=["reading", "sd"])
        assert audit.narrower(made, PROFILES["phantom"]).status.tolist() == [wanted]
        assert audit.narrower(made, PROFILES["smoke"]).status.tolist() == ["undecided"]


#: What the notebooks draw beside cells and claims.
DRAWN = {"css_table1": (table1_drawing.load,), "css_segmenters": (segmenters_drawing.lengths_html,),
         "css_parameters": (parameters_drawing.grid_table,),
         "css_phases": (lambda ledger: phases.load(ledger, phases.PhaseOptions()),),
         "css_audit": (audit.training, audit.effects, audit_drawing.training_figure)}


@pytest.mark.parametrize("notebook", dict.fromkeys(e.notebook for e in BOOK.pages[PAPER]))
def test_a_page_asks_for_nothing_that_it_does_not_declare(notebook):
    """Else it is not planned, not committed, and computed while the page is made."""
    ledger, asked = Chain("smoke"), {"evaluations": set(), "runs": set(), "logs": set()}
    for name, method in (("evaluations", "evaluate"), ("runs", "scores"), ("logs", "log")):
        def note(specs, name=name, plain=getattr(ledger, method)):
            asked[name] |= {s.key for s in (specs if isinstance(specs, list) else [specs])}
            return plain(specs)
        setattr(ledger, method, note)
    for entry in BOOK.of_notebook(notebook):
        if entry.published and not entry.draws:
            scorecard.cells(entry, ledger)
        scorecard.claims(entry, ledger)
    for draw in DRAWN.get(notebook, ()):
        draw(ledger)
    needs = BOOK.needs(notebook, ledger.workspace.profile)
    for name, keys in asked.items():
        assert keys <= {s.key for s in getattr(needs, name)}, name
    assert asked["evaluations"] | asked["runs"]


# -- what is shared ---------------------------------------------------------------------------------------------------

def test_studies_without_a_value_leave_both_sides_and_are_counted():
    ledger = Chain(better=lambda run: 3.0 * (run.recipe.kind == "cyclic" and run.recipe.weight > 0))
    plain, profile = ledger.evaluate, ledger.workspace.profile

    def lacking(specs):
        found = plain(specs)
        for one in found:
            one.studies.loc[one.studies.study == "s03", "untraced_dice"] = np.nan
        return found
    ledger.evaluate = lacking
    order = measuring.Order("a claim", "CSS", ("Supervised",), of="untraced_dice", unit="Dice points", factor=100.0)
    groups = segmenters.TABLE6.evaluations(profile)
    one = measuring.judged([order], ledger, {}, groups).iloc[0]
    assert one.status == "holds" and one.why.endswith("without 1 studies that lack a value") and "+3.00 Dice points" in one.why
    ledger.evaluate = lambda specs: [SimpleNamespace(studies=e.studies.assign(untraced_dice=np.nan)) for e in plain(specs)]
    one = measuring.judged([order], ledger, {}, groups).iloc[0]
    assert (one.status, one.why) == ("undecided", "no study has a value on both sides")
