"""The ablation pages: the bootstrap over seeds and patients, which cell is best, the tables and the figures."""

from __future__ import annotations

import base64
import io
import re
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from echolib import plots
from echolib.pages.estimates import best_set, cube, estimate, resample
from echolib.papers.simlvseg import figure7_drawing, figure8_drawing, table1_drawing, table2_drawing
from echolib.papers.simlvseg.figure8 import RATIOS, ratio_name
from echolib.papers.simlvseg.table2 import BACKBONES


def scores(values: np.ndarray) -> pd.DataFrame:
    """Two frames a patient, both of the patient's Dice."""
    names = [f"p{i:03d}" for i in range(len(values))]
    return pd.DataFrame({"patient": np.repeat(names, 2), "dice": np.repeat(values, 2)})


def groups(*shifts: float, seeds: int = 3, noise: float = 0.0, patients: int = 60) -> dict[str, list[pd.DataFrame]]:
    rng = np.random.default_rng(0)
    base = rng.normal(0.85, 0.05, patients)
    return {f"g{i}": [scores(base + shift + noise * rng.normal(size=patients)) for _ in range(seeds)]
            for i, shift in enumerate(shifts)}


def test_a_resample_is_the_mean_of_the_drawn_seeds_and_patients():
    data = cube({"a": [scores(np.array([0.2, 0.6])), scores(np.array([0.4, 0.8]))]})
    assert data.sums.tolist() == [[[0.4, 1.2], [0.8, 1.6]]] and data.frames.tolist() == [2, 2]
    drawn = set(np.round(resample(data, 4000), 6)[0])
    dice = ((0.2, 0.6), (0.4, 0.8))
    by_hand = {round(25 * sum(dice[s][p] for s in seeds for p in patients), 6)
               for seeds in product((0, 1), repeat=2) for patients in product((0, 1), repeat=2)}
    assert drawn == by_hand


def test_patients_with_more_frames_weigh_more():
    table = pd.DataFrame({"patient": ["a", "a", "a", "b"], "dice": [0.9, 0.9, 0.9, 0.5]})
    assert estimate(cube({"g": [table]}), 200).value["g"] == pytest.approx(80.0)


def test_seeds_widen_the_interval_and_pairing_narrows_what_is_best():
    still, moving = groups(0.0, seeds=3), groups(0.0, seeds=3)
    for table, shift in zip(moving["g0"], (-0.05, 0.0, 0.05), strict=True):
        table["dice"] += shift
    one, other = (estimate(cube(t), 4000).iloc[0] for t in (still, moving))
    assert other.high - other.low > 1.5 * (one.high - one.low) and other.sd == pytest.approx(5.0, abs=1e-9)
    # a constant lead of a tenth of a point, far less than an interval is wide, wins in every resample
    lead = estimate(cube(groups(0.0, 0.001)), 1000)
    assert lead.high["g0"] - lead.low["g0"] > 1 and lead.best.tolist() == [0.0, 1.0]


def test_ties_are_shared_and_shares_add_up():
    table = estimate(cube(groups(0.0, 0.0, -0.01)), 500)
    assert table.best.tolist() == pytest.approx([0.5, 0.5, 0.0]) and table.best.sum() == pytest.approx(1)
    assert best_set(table) == ["g0", "g1"]


def test_the_best_set_is_the_smallest():
    table = pd.DataFrame({"best": [0.02, 0.6, 0.36, 0.02]}, index=list("abcd"))
    assert best_set(table) == ["b", "c"] and best_set(table, 0.5) == ["b"] and len(best_set(table, 1.0)) == 4


def test_groups_that_do_not_match_are_named():
    good = groups(0.0)["g0"]
    with pytest.raises(ValueError, match="other: 2 seeds; one has 3"):
        cube({"one": good, "other": good[:2]})
    with pytest.raises(ValueError, match="other: not scored on the same frames of the same patients as one"):
        cube({"one": good, "other": [t.assign(patient=t.patient + "x") for t in good]})


def fake(names) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    value = rng.normal(85, 0.3, len(names))
    return pd.DataFrame({"value": value, "low": value - 1, "high": value + 1, "sd": 0.2, "best": 1 / max(len(names), 1)},
                        index=list(names))


def test_heat_maps_show_every_cell_with_its_number_or_that_it_is_not_run():
    names = list(figure7_drawing.figure7_table().name)
    figure = figure7_drawing.heat_figure(fake(names[:10]), "phantoms")
    texts = [t.get_text() for axis in figure.axes for t in axis.texts]
    assert len(texts) == 48 and texts.count("not run") == 14 and "93.31" in texts and "93.21" in texts
    assert sum(t.get_fontweight() == "bold" for axis in figure.axes[:2] for t in axis.texts) == 2
    empty = figure7_drawing.heat_figure(fake([]), "phantoms")
    assert [t.get_text() for axis in empty.axes for t in axis.texts].count("not run") == 24
    plt.close("all")


def test_lines_and_ratios_keep_published_and_ours_apart():
    names = list(figure7_drawing.figure7_table().name)
    figure = figure7_drawing.period_figure(fake(names), "phantoms")
    assert [len(axis.lines) for axis in figure.axes] == [4, 4, 2, 2]
    assert {t.get_text() for t in figure.axes[0].texts} == {"4 frames", "9 frames", "16 frames", "25 frames"}
    for column, inside in ((0, (92, 94)), (1, (83, 87))):
        for axis in figure.axes[column::2]:
            assert all(inside[0] < y < inside[1] for line in axis.lines for y in line.get_ydata())
    ratio = figure8_drawing.ratio_figure(fake([ratio_name(r) for r in RATIOS]), "phantoms")
    left, right, below = ratio.axes
    assert sorted(left.lines[0].get_ydata()) == [93.19, 93.31] and list(left.lines[0].get_xdata()) == [0, 6]
    assert len(right.lines[0].get_ydata()) == len(below.patches) == 10
    plt.close("all")


def test_backbones_stand_in_one_order_on_both_sides():
    printed = pd.Series({name: 93.0 + i / 10 for i, name in enumerate(BACKBONES)})
    figure = table2_drawing.backbone_figure(printed, fake([*BACKBONES, "UniFormer-S"]), "phantoms")
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == [*BACKBONES, "UniFormer-S"]
    plt.close("all")


def test_the_cost_figure_draws_the_rows_that_have_all_three_numbers():
    rows = [{"row": r, "column": c, "published": v, "ours": np.nan if r == "b" else v} for r, *values in (
        ("a", 92.0, 2.0, 10.0), ("b", 93.0, 4.0, 50.0), ("c", np.nan, 1.0, 5.0))
        for c, v in zip(("dsc_overall", "gflops_per_frame", "params_m"), values, strict=True)]
    figure = table1_drawing.cost_figure(pd.DataFrame(rows), "phantoms")
    left, right = (axis.collections[0] for axis in figure.axes)
    assert left.get_offsets().tolist() == [[2.0, 92.0], [4.0, 93.0]] and right.get_offsets().tolist() == [[2.0, 92.0]]
    assert left.get_sizes()[1] / left.get_sizes()[0] == pytest.approx(5)
    plt.close("all")


def test_a_figure_brings_its_numbers_and_itself_for_download():
    table = pd.DataFrame({"a": [1, 2], "b": ["x", "y, z"]})
    with plt.rc_context({"savefig.dpi": "figure"}):  # whatever style an earlier test has set
        figure, axis = plt.subplots()
        axis.plot([0, 1], [0, 1])
        page = plots.show(figure, "Caption", "Alt", table, "numbers").data
    found = dict(re.findall(r'download="([\w.]+)" href="data:[\w/]+;base64,([^"]+)"', page))
    assert base64.b64decode(found["numbers.csv"]).decode() == table.to_csv(index=False)
    assert base64.b64decode(found["numbers.pdf"]).startswith(b"%PDF")
    picture = base64.b64decode(re.search(r"data:image/png;base64,([^\"]+)", page)[1])
    inches = Image.open(io.BytesIO(picture)).width / figure.dpi
    assert int(re.search(r"--natural: (\d+)px", page)[1]) == round(96 * inches), "the size at which its type can be read"
    bare, _ = plt.subplots()
    assert "download" not in plots.show(bare, "Caption", "Alt").data
