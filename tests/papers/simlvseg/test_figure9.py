"""The page of Figure 9: errors of curves by hand, the choice of the clip, tables, figures and verdicts on made-up evaluations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from echolib.config import load_profile
from echolib.errors import ConfigError, DataError
from echolib.evaluation.consistency import high_frequency_energy
from echolib.evaluation.evaluation import Picture
from echolib.evaluation.kinds.video import VideoSpec
from echolib.evaluation.study_measures import curve_errors, valve_contrast
from echolib.ledger.evaluations import Evaluation
from echolib.ledger.examples import Examples
from echolib.pages import scorecard
from echolib.papers.companion import ejection
from echolib.papers.simlvseg import figure9 as temporal
from echolib.papers.simlvseg import figure9_drawing as temporal_figures
from echolib.papers.simlvseg.figure6 import FRAMEWISE
from echolib.papers.simlvseg.figure9 import FIGURE9, Figure9Options
from echolib.papers.simlvseg.runs import segment_run

ROOT = Path(__file__).parents[3]
STUDIES = [f"s{i:02d}" for i in range(12)]


@pytest.mark.parametrize(("hz", "share"), [(4.0, 0.0), (15.0, 1.0)])
def test_a_sine_is_flicker_above_the_cut_and_none_below_it(hz, share):
    """A sine of 5 % of the mean area has a mean square of 0.05² / 2."""
    area = 800 * (1 + 0.05 * np.sin(2 * np.pi * hz * np.arange(100) / 50))
    assert high_frequency_energy(area, 50.0) == pytest.approx(share * 0.05 ** 2 / 2, rel=0.02, abs=1e-8)


def test_errors_of_a_curve_by_hand():
    exact = np.array([200.0, 150.0, 100.0, 150.0])
    assert curve_errors(exact + 20, exact, 50.0) == pytest.approx((10.0, 0.0)), "a constant error has no slope"
    ramp = np.array([0.0, 2.0, 4.0, 6.0])  # 1 % of 200 a frame: 50 % a second at 50 frames a second
    area, slope = curve_errors(exact + ramp, exact, 50.0)
    assert area == pytest.approx(np.sqrt((0 + 1 + 4 + 9) / 4)) and slope == pytest.approx(50.0)
    with pytest.raises(DataError, match="same frames"):
        curve_errors(exact, exact[:2], 50.0)
    with pytest.raises(DataError, match="no area"):
        curve_errors(exact, np.zeros(4), 50.0)


def test_a_bright_valve_stands_out_by_its_grey_levels():
    mask = np.zeros((80, 80), bool)
    mask[10:61, 30:51] = True  # the long axis runs down to row 60 or so
    frame = np.full((80, 80, 1), 40, np.uint8)
    assert valve_contrast(frame, mask) == 0
    frame[54:68, 25:56] = 90
    assert valve_contrast(frame, mask) == pytest.approx(50)
    assert np.isnan(valve_contrast(frame, np.zeros_like(mask)))


def evaluation(flicker: float, rmse: float, seed: int, empty: str = "") -> SimpleNamespace:
    """Energies around ``flicker`` and errors around ``rmse``; the study ``empty`` has no area."""
    rng = np.random.default_rng([seed, int(rmse * 100)])
    studies = pd.DataFrame({"study": STUDIES, "patient": STUDIES, "fps": 50.0, "frames": 100, "jump_frame": 40,
                            "flicker": flicker * 10 ** rng.normal(0, 0.05, 12), "area_rmse": rmse + rng.normal(0, 0.1, 12),
                            "slope_rmse": 10 * rmse, "exact_flicker": 1e-6, "valve_contrast": np.arange(12.0)})
    studies.loc[studies.study == empty, "flicker"] = np.nan
    return SimpleNamespace(studies=studies, record=SimpleNamespace(spec=SimpleNamespace(run=SimpleNamespace(seed=seed))))


@pytest.fixture
def groups() -> temporal.Groups:
    """SimLVSeg-3D flickers 10 dB less than the frame-wise network; pre-training changes nothing on the whole."""
    levels = {"DeepLabV3": (1e-2, 8), FRAMEWISE: (1e-3, 5), "SimLVSeg-3D, no pre-training": (1e-4, 3), "SimLVSeg-3D": (1e-4, 2)}
    return {name: [evaluation(*level, seed, "s11" if name == FRAMEWISE else "") for seed in range(3)]
            for name, level in levels.items()}


def test_the_clip_is_the_worst_of_the_least_clear_quarter(groups):
    for one in groups[FRAMEWISE]:
        one.studies.loc[one.studies.study == "s01", "flicker"] = 1e-2  # unclear, flickers
        one.studies.loc[one.studies.study == "s08", "flicker"] = 1.0   # flickers more, but its valve is clear
    assert temporal.choose(groups) == "s01"
    assert temporal.cases(groups, "s01") == [("s01", f) for f in (38, 39, 40, 41, 42)]
    groups[FRAMEWISE][0].studies.loc[1, "jump_frame"] = 99
    assert temporal.cases(groups, "s01")[-1] == ("s01", 99) and len(temporal.cases(groups, "s01")) == temporal.SHOWN
    for one in groups[FRAMEWISE]:
        one.studies["valve_contrast"] = np.nan
    with pytest.raises(DataError, match="no study has a tracing"):
        temporal.choose(groups)


def test_the_tables_give_means_intervals_and_tests(groups):
    table = temporal.cohort_table(groups, 200)
    assert list(table.columns) == ["network", "measure", "value", "low", "high", "studies", "without"]
    by = table.set_index(["network", "measure"])
    assert by.value["SimLVSeg-3D", "flicker"] == pytest.approx(1.0, rel=0.05), "an energy of 1e-4 is 1 % rms"
    assert by.value["exact masks", "flicker"] == pytest.approx(0.1)
    assert by.without[FRAMEWISE, "flicker"] == 3 and by.studies[FRAMEWISE, "flicker"] == 11
    assert by.value["SimLVSeg-3D", "area_rmse"] == pytest.approx(2, abs=0.1)
    assert (table.low <= table.value).all() and (table.value <= table.high).all()
    paired = temporal.paired_table(groups).set_index(["against", "measure"])
    assert paired.difference[FRAMEWISE, "flicker"] == pytest.approx(-10, abs=0.5) and paired.patients[FRAMEWISE, "flicker"] == 11
    assert paired.p[FRAMEWISE, "area_rmse"] < 0.001 and paired.difference[FRAMEWISE, "area_rmse"] == pytest.approx(-3, abs=0.1)
    assert "<td>11</td><td>3</td>" not in temporal.cohort_html(table, 10.0).data, "a row counts the videos of its fullest measure"
    page = temporal.paired_html(paired.reset_index()).data
    assert " dB <small>(p = " in page and "SimLVSeg-3D less each other network" in page


def test_without_exact_curves_the_errors_are_dashes(groups):
    for group in groups.values():
        for one in group:
            one.studies[["area_rmse", "slope_rmse", "exact_flicker"]] = np.nan
    table = temporal.cohort_table(groups, 200)
    assert "exact masks" not in set(table.network) and table[table.measure != "flicker"].value.isna().all()
    assert temporal.cohort_html(table, 10.0).data.count("<td>–</td>") == 8
    figure = temporal_figures.cohort_figure(groups, table)
    plt.close(figure)
    assert temporal.paired_table(groups).query("measure != 'flicker'").p.isna().all()


def test_dice_on_traced_frames_stands_beside_dice_on_all(groups):
    for place, one in enumerate(groups["SimLVSeg-3D"]):
        one.studies[["traced_dice", "dice"]] = 0.9, 0.9 - 0.2 * place
    for name in groups.keys() - {"SimLVSeg-3D"}:
        for one in groups[name]:
            one.studies[["traced_dice", "dice"]] = 0.8, np.nan
    table = temporal.untraced_table(groups)
    ours = table[table.network == "SimLVSeg-3D"]
    assert ours["all"].tolist() == pytest.approx([90, 70, 50]) and ours.seed.tolist() == [0, 1, 2]
    page = temporal.untraced_html(table).data
    assert "<td>90.0, 90.0, 90.0</td><td>90.0, 70.0, 50.0</td>" in page and "<td>80.0, 80.0, 80.0</td><td>–, –, –</td>" in page
    assert "The widest gap: SimLVSeg-3D, seed 2, 90.0 % on traced frames and 50.0 % on all." in page
    assert "widest" not in temporal.untraced_html(table.assign(all=np.nan)).data


@pytest.mark.parametrize(("profile", "first", "second"), [
    ("desk", "undecided", "holds"), ("smoke", "undecided", "undecided")])
def test_the_verdicts_rest_on_the_evaluations(groups, profile, first, second):
    loaded = load_profile(ROOT / "profiles" / f"{profile}.yml")
    wanted = FIGURE9.evaluations(loaded)
    asked = {id(specs): name for name, specs in wanted.items()}
    entry = replace(FIGURE9, evaluations_of=lambda profile, options: wanted)
    ledger = SimpleNamespace(workspace=SimpleNamespace(profile=loaded),
                             evaluate=lambda specs: groups[asked[id(specs)]][:len(specs)])
    found = scorecard.claims(entry, ledger)
    assert found.status.tolist() == [first, second]
    assert found.why[1].startswith("difference +") and "dB less high-frequency energy" in found.why[1]
    assert found.why[1].endswith("without 1 study that lacks a value") and "without" not in found.why[0]


def test_a_claim_without_any_value_is_undecided(groups):
    loaded = load_profile(ROOT / "profiles" / "desk.yml")
    for one in groups[FRAMEWISE]:
        one.studies["flicker"] = np.nan
    entry = replace(FIGURE9, claims=FIGURE9.claims[1:], evaluations_of=lambda profile, options: {n: n for n in groups})
    ledger = SimpleNamespace(workspace=SimpleNamespace(profile=loaded), evaluate=lambda specs: groups[specs])
    found = scorecard.claims(entry, ledger)
    assert found.status.tolist() == ["undecided"] and found.why[0] == "no study has a value on both sides"


def curves_of(folder: Path, hz: float) -> Evaluation:
    """Twelve studies whose area holds 5 % of one frequency, and the table of their flicker at the usual cut-off."""
    area = 800 * (1 + 0.05 * np.sin(2 * np.pi * hz * np.arange(100) / 50))
    folder.mkdir()
    pd.concat([pd.DataFrame({"study": s, "frame": range(100), "area_px": area * (1 + i / 100), "exact_area_px": np.nan})
               for i, s in enumerate(STUDIES)]).to_parquet(folder / "areas.parquet")
    studies = pd.DataFrame({"study": STUDIES, "patient": STUDIES, "fps": 50.0, "exact_flicker": np.nan,
                            "flicker": high_frequency_energy(area, 50.0)})
    return Evaluation(None, {"studies": studies}, folder)


@pytest.mark.parametrize(("cutoff_hz", "status"), [(None, "does not hold"), (15.0, "holds")])
def test_claims_follow_the_cut_off_that_a_reader_sets(tmp_path, cutoff_hz, status):
    """12 Hz is flicker above 10 Hz and none above 15 Hz; the other side holds less of it, at 20 Hz."""
    loaded = load_profile(ROOT / "profiles" / "desk.yml")
    ours, theirs = curves_of(tmp_path / "ours", 12.0), curves_of(tmp_path / "theirs", 20.0)
    ours.studies["flicker"] *= 4 * (1 + 0.01 * np.arange(12))
    theirs.studies["flicker"] *= 1 + 0.01 * np.arange(12)
    entry = FIGURE9.turned({"cutoff_hz": cutoff_hz})
    entry = replace(entry, claims=FIGURE9.claims[1:], evaluations_of=lambda profile, options: {
        "SimLVSeg-3D": [ours] * 3, FRAMEWISE: [theirs] * 3})
    ledger = SimpleNamespace(workspace=SimpleNamespace(profile=loaded), evaluate=lambda specs: specs)
    assert scorecard.claims(entry, ledger).status.tolist() == [status]
    theirs.studies["valve_contrast"] = 5.0
    shown = temporal.choose({FRAMEWISE: [temporal.adjusted(ledger, replace(theirs, record=SimpleNamespace(
        spec=SimpleNamespace(run=SimpleNamespace(seed=0)))), entry.options)]})
    assert shown == "s02", "the clip is chosen by the recorded flicker, of the quarter that comes first"


def test_an_unknown_study_is_refused_by_what_is_recorded_or_else_by_the_cohort(groups):
    profile = load_profile(ROOT / "profiles" / "desk.yml")
    names = pd.DataFrame({"split": ["test"] * 3}, index=["a", "b", "c"])

    def ledger(record):
        return SimpleNamespace(workspace=SimpleNamespace(profile=profile), store=SimpleNamespace(studies=names),
                               evaluations=SimpleNamespace(find=lambda spec: SimpleNamespace(record=record)),
                               evaluate=lambda specs: groups[FRAMEWISE])

    for record, known in ((True, "s01"), (None, "b")):
        temporal.known_study(ledger(record), Figure9Options(study=known))
        with pytest.raises(ConfigError, match="parameter 'study' takes the name of a test video of profile 'desk'.*not 'z'"):
            temporal.known_study(ledger(record), Figure9Options(study="z"))
    temporal.known_study(None, Figure9Options())


@pytest.mark.parametrize("name", ["smoke", "desk", "paper"])
def test_the_page_shares_its_evaluations_with_that_on_the_ejection_fraction(name):
    profile = load_profile(ROOT / "profiles" / f"{name}.yml")
    ours = {s.key for specs in temporal.needed(profile, Figure9Options()).values() for s in specs}
    theirs = {s.key for specs in ejection.needed(profile)[0].values() for s in specs}
    extra = {VideoSpec(run=segment_run(profile, "unet3d", seed=seed), data=profile.echonet, studies=profile.probe.videos,
                       overlap=True).key for seed in profile.seeds}
    assert ours - theirs == extra, "only the network without pre-training is new"


def test_the_figures_draw_every_network(groups):
    figure = temporal_figures.cohort_figure(groups, temporal.cohort_table(groups, 200))
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == list(groups)
    plt.close(figure)
    mask = np.zeros((32, 32), bool)
    mask[8:20, 8:20] = True
    pictures = {("s01", f): Picture(np.full((32, 32), 50, np.uint8), mask, None) for f in range(3)}
    t = np.arange(100)
    curves = {name: np.stack([100 + 9 * np.sin(t / 6), np.full(100, np.nan)]) for name in temporal.DRAWN}
    figure = temporal_figures.frames_figure({n: Examples(pictures, {"s01": c}) for n, c in curves.items()}, 50.0)
    assert [a.get_title() for a in figure.axes[:3]] == ["0.00 s", "0.02 s", "0.04 s"]
    plt.close(figure)
    figure = temporal_figures.curve_figure(curves, 50.0, 40, 10.0)
    assert len(figure.axes[0].lines) == 3, "no exact curve where none is known"
    plt.close(figure)
    seeds = {f"seed {seed}": np.stack([100 + 9 * np.sin(t / 6), np.full(100, 100.0 + seed)]) for seed in range(5)}
    figure = temporal_figures.lines_figure(seeds, 50.0)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [*(f"seed {seed}" for seed in range(5)), "exact"]
    plt.close(figure)
    assert list(temporal_figures.curve_data(seeds, 50.0)) == ["time_s", "exact", *(f"seed {seed}" for seed in range(5))]
    assert list(temporal_figures.curve_data(curves, 50.0)) == ["time_s", "exact", *temporal.DRAWN]
