"""The page on the ejection fraction: its tables and figures from evaluations with known errors, and what it asks for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from echolib.config import load_profile
from echolib.papers.companion import ejection
from echolib.papers.companion import ejection_drawing as ejection_figures
from echolib.papers.companion.ejection import CEILING, Results

ROOT = Path(__file__).parents[3]
STUDIES = [f"s{i}" for i in range(6)]


def evaluation(error: float, lost: int = 0, seed: int | None = 0) -> SimpleNamespace:
    """Every EF is too high by ``error`` points and every volume by 3 mL; the last ``lost`` studies have no beat."""
    exact = np.array([30.0, 40, 50, 60, 65, 70])
    found = np.where(np.arange(6) < 6 - lost, exact + error, np.nan)
    studies = pd.DataFrame({
        "study": STUDIES, "patient": STUDIES, "fps": 50.0, "ef": found, "exact_ef": exact, "edv": 103.0, "exact_edv": 100.0,
        "esv": 103 - exact, "exact_esv": 100 - exact, "beats": np.where(np.isnan(found), 0, 2), "ef_sd": 5.0,
        "exact_ef_sd": exact / 10})
    beats = pd.DataFrame({"study": STUDIES, "patient": STUDIES, "exact_ef": exact, "found_ef": found,
                          "kind": np.where(np.isnan(found), "missed", "matched")})
    run = None if seed is None else SimpleNamespace(seed=seed)
    phase = np.tile(np.arange(40) / 40, 3)
    curve = 100 - 50 * np.sin(np.pi * phase) ** 2
    frames = pd.DataFrame({"study": "s5", "area_px": curve, "volume": curve + 3, "exact_volume": curve, "exact_phase": phase})
    return SimpleNamespace(studies=studies, beats=beats, frames=frames,
                           record=SimpleNamespace(unit="mL", spec=SimpleNamespace(run=run)))


@pytest.fixture
def results() -> Results:
    groups = {CEILING: [evaluation(0, seed=None)], "SimLVSeg-3D": [evaluation(2), evaluation(4, seed=1)],
              "nnU-Net": [evaluation(-6, lost=2)]}
    return Results(groups, groups)


def row(page: str, name: str) -> str:
    return next(part for part in page.split("<tr>") if f'<th scope="row">{name}</th>' in part)


def test_the_table_counts_errors_and_videos_without_a_beat(results):
    page = ejection.ef_table(results, 200).data
    assert "0.00 <small>(0.00–0.00)</small>" in row(page, CEILING)
    ours = row(page, "SimLVSeg-3D")
    assert "3.00 <small>(3.00–3.00)</small>" in ours and "+3.0 ± 2.0" in ours and "+3.0 <small>(MAE 3.0)</small>" in ours
    assert ours.rstrip().endswith("<td>12</td><td>0</td></tr>")
    assert "−6.0 ± 0.0" in row(page, "nnU-Net") and "<td>6</td><td>2</td>" in row(page, "nnU-Net")
    assert "<td>12.50</td><td>0.00</td>" in row(page, "always the mean EF")


def test_the_table_of_beats_counts_what_was_missed(results):
    page = ejection.beat_html(results, 200).data
    assert "12 of 12" in row(page, "SimLVSeg-3D") and "4 of 6" in row(page, "nnU-Net")
    assert "5.0 <small>(exact 5.2)</small>" in row(page, "nnU-Net")


def test_every_figure_draws_every_network(results):
    makers = (ejection_figures.ef_figure, ejection_figures.bland_altman_figure, ejection_figures.volume_figure,
              ejection_figures.beat_figure)
    for make in makers:
        figure = make(results)
        titles = [axis.get_title(loc="left") for axis in figure.axes]
        assert [t for t in titles if t] == list(results.main), make.__name__
        plt.close(figure)
    words = [text.get_text() for text in ejection_figures.ef_figure(results).axes[2].texts]
    assert words == ["no beat: 2", "MAE 6.0"]


def test_the_curve_is_that_of_the_study_whose_beats_differ_most(results):
    figure, words = ejection_figures.curve_figure(results, "SimLVSeg-3D")
    assert words.startswith("Two volume curves over 2.4 s. Exact EF of its beats: 50 %; 50 %; 50 %.")
    plt.close(figure)


@pytest.mark.parametrize("name", ["smoke", "paper"])
def test_what_the_page_asks_for(name):
    profile = load_profile(ROOT / "profiles" / f"{name}.yml")
    main, arrhythmia = ejection.needed(profile)
    assert (CEILING in main) == (name == "smoke"), "real data has no exact masks"
    assert CEILING in arrhythmia and "SimLVSeg-3D" in main and "DeepLabV3" in main
    specs = [s for part in (main, arrhythmia) for group in part.values() for s in group]
    assert len({s.key for s in specs}) == len(specs)
    assert {s.data.phantom.preset for group in arrhythmia.values() for s in group} == {"arrhythmia"}
    assert all(s.data.phantom.train == 0 for group in arrhythmia.values() for s in group)
