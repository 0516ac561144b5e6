"""Whole videos in windows: which runs get overlapping ones, and the comparison with windows side by side."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from echolib.config import load_profile
from echolib.papers.book import BOOK
from echolib.papers.companion import ejection
from echolib.papers.simlvseg import figure6 as challenging
from echolib.papers.simlvseg import figure9 as temporal
from echolib.papers.simlvseg import figure9_drawing as temporal_figures
from echolib.papers.simlvseg import windows
from echolib.papers.simlvseg.figure6 import Figure6Options
from echolib.papers.simlvseg.figure9 import Figure9Options

PROFILES = Path(__file__).parents[3] / "profiles"


@pytest.mark.parametrize("name", ["smoke", "desk", "paper"])
def test_networks_of_several_frames_get_overlapping_windows_on_every_page(name):
    profile = load_profile(PROFILES / f"{name}.yml")
    pages = [*ejection.needed(profile), challenging.needed(profile, Figure6Options()),
             temporal.needed(profile, Figure9Options())]
    specs = [spec for page in pages for group in page.values() for spec in group if spec.run is not None]
    assert {(spec.run.clip.frames > 1, spec.overlap) for spec in specs} == {(True, True), (False, False)}


def test_figure_9_asks_for_both_ways_and_compares_the_same_runs_on_the_same_videos():
    profile = load_profile(PROFILES / "desk.yml")
    both = windows.needed(profile)
    listed = {spec.key for spec in BOOK.needs("simlvseg_figure9", profile).evaluations}
    assert {spec.key for group in both.values() for spec in group} <= listed
    for one, other in zip(both[windows.OVERLAPPING], both[windows.SIDE_BY_SIDE], strict=True):
        assert one.overlap and not other.overlap and one.model_copy(update={"overlap": False}) == other


def way(dice: float, worst: float, rmse: float, seeds: int = 3) -> list[SimpleNamespace]:
    names = [f"s{i:02d}" for i in range(12)]
    return [SimpleNamespace(studies=pd.DataFrame({
        "study": names, "patient": names, "dice": dice + np.linspace(-0.01, 0.01, 12) + 0.001 * (seed - 1), "worst_dice": worst,
        "area_rmse": rmse})) for seed in range(seeds)]


def test_the_table_compares_study_by_study():
    groups = {windows.OVERLAPPING: way(0.93, 0.8, 4.0), windows.SIDE_BY_SIDE: way(0.87, 0.1, 60.0)}
    table = windows.window_table(groups).set_index("measure")
    assert table.loc["dice", windows.OVERLAPPING] == pytest.approx(93)
    assert table.difference.to_dict() == pytest.approx({"dice": 6, "worst_dice": 70, "area_rmse": -56})
    assert (table.patients == 12).all() and (table.p < 0.001).all()
    page = windows.window_html(table.reset_index(), 3).data
    assert "each the mean of 3 seeds" in page and "<td>93.00</td><td>87.00</td>" in page and "+70.00" in page


def test_on_real_data_what_needs_exact_masks_is_left_out():
    groups = {windows.OVERLAPPING: way(np.nan, 0.8, np.nan, 1), windows.SIDE_BY_SIDE: way(np.nan, 0.1, np.nan, 1)}
    table = windows.window_table(groups)
    assert table.measure.tolist() == ["worst_dice"]
    assert "the mean of 1 seed;" in windows.window_html(table, 1).data


@pytest.mark.parametrize("known", [True, False])
def test_the_figure_marks_where_windows_meet(known):
    t = np.arange(100)
    exact = 100 + 9 * np.sin(t / 6) if known else np.full(100, np.nan)
    curves = {w: np.stack([100 + 8 * np.sin(t / 6), exact]) for w in (windows.OVERLAPPING, windows.SIDE_BY_SIDE)}
    figure = temporal_figures.lines_figure(curves, 50.0, range(32, 100, 32))
    joins = [line.get_xdata()[0] for line in figure.axes[0].lines if len(line.get_xdata()) == 2]
    assert joins == pytest.approx([31.5 / 50, 63.5 / 50, 95.5 / 50])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["overlapping by half", "side by side",
                                                                        *(["exact"] if known else [])]
    plt.close(figure)
    assert list(temporal_figures.curve_data(curves, 50.0)) == ["time_s", "exact", windows.OVERLAPPING, windows.SIDE_BY_SIDE]
