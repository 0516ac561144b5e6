"""The page on frames between the tracings: what it counts, by hand, and that its two trainings differ in the bound alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from echolib.config import ClipSpec, load_profile
from echolib.papers.book import BOOK
from echolib.papers.companion import between
from echolib.papers.companion.between import BETWEEN, BOUNDED, FRAMES, FRAMEWISE, LONGER, PLACED, PLAIN, PRETRAINED
from tests.training.standin import MemoryStore, run_spec

ROOT = Path(__file__).parents[3]
PROFILES = {name: load_profile(ROOT / "profiles" / f"{name}.yml") for name in ("smoke", "desk", "hour", "phantom", "paper")}


def frames_of(dice: float, ratio: float) -> pd.DataFrame:
    """Two beats of 20 frames, end-diastole first; frames 0 and 10 are traced, and right; the others have this Dice and area."""
    at = np.arange(40)
    traced = np.isin(at, (0, 10))
    exact = 100 - 50 * np.sin(np.pi * at / 20) ** 2
    return pd.DataFrame({"study": "s0", "frame": at, "phase": np.where(at == 0, "ED", np.where(at == 10, "ES", "")),
                         "dice": np.where(traced, 1.0, dice), "area_px": np.where(traced, exact, ratio * exact),
                         "exact_area_px": exact, "exact_phase": (at % 20) / 20})


def evaluation(untraced: float, ratio: float) -> SimpleNamespace:
    studies = pd.DataFrame({"study": ["s0", "s1"], "patient": ["s0", "s1"], "traced_dice": 0.9, "untraced_dice": untraced,
                            "worst_dice": 0.5, "area_rmse": 12.0})
    return SimpleNamespace(studies=studies, frames=frames_of(untraced, ratio))


@pytest.fixture
def results() -> dict:
    return {PLAIN: [evaluation(0.6, 1.6), evaluation(0.7, 1.0)], PRETRAINED: [evaluation(0.8, 1.2)],
            BOUNDED: [evaluation(0.8, 1.0)], LONGER: [evaluation(0.7, 1.0)], FRAMEWISE: [evaluation(0.3, 0.4)]}


def test_a_frame_is_filled_above_one_and_a_half_times_the_exact_area_and_lost_below_half_of_it():
    found = pd.DataFrame({"phase": ["", "", "", "", "ED"], "area_px": [151, 150, 50, 49, 1000], "exact_area_px": [100.0] * 5})
    assert between.wrong_frames(found) == (0.25, 0.25), "a traced frame does not count, nor one on the line"
    assert np.isnan(between.wrong_frames(found[found.phase == "ED"])).all()
    assert np.isnan(between.wrong_frames(found.assign(exact_area_px=np.nan))).all(), "real data has no exact mask"


def test_frames_are_averaged_by_part_of_the_beat():
    table = between.over_the_beat(frames_of(0.6, 1.5))
    assert table.phase.tolist() == pytest.approx([0.05 + 0.1 * k for k in range(10)]) and table.frames.tolist() == [4] * 10
    # frames 0, 1, 20 and 21 lie in the first part, of which one is traced: (1 + 3 x 0.6) / 4 and (1 + 3 x 1.5) / 4
    assert table.dice[0] == pytest.approx(0.7) and table.area[0] == pytest.approx(1.375)
    assert table.dice[3] == pytest.approx(0.6) and table.area[3] == pytest.approx(1.5)
    some = between.over_the_beat(frames_of(0.6, 1.5).query("exact_phase < 0.5"))
    assert some.frames.tolist() == [4] * 5 + [0] * 5 and some.dice[7:].isna().all()


def test_the_table_has_means_over_seeds_and_the_shares_of_the_first(results):
    page = between.table_html(results, 100).data
    rows = {name: next(part for part in page.split("<tr>") if f'<th scope="row">{name}</th>' in part) for name in results}
    assert "90.00 <small>" in rows[PLAIN] and "65.00 <small>(60.00–70.00)" in rows[PLAIN] and "12.00 <small>" in rows[PLAIN]
    assert rows[PLAIN].count("<td>100.0 %</td><td>0.0 %</td>") == 1, "1.6 times the area in every untraced frame"
    assert "<td>0.0 %</td><td>100.0 %</td>" in rows[FRAMEWISE] and "<td>0.0 %</td><td>0.0 %</td>" in rows[BOUNDED]


def test_the_figures_draw_the_four_networks_and_every_place(results):
    drawn = between.figure(results)
    assert [line.get_label() for line in drawn.axes[0].get_lines()] == [PLAIN, PRETRAINED, BOUNDED, FRAMEWISE]
    assert drawn.axes[0].get_lines()[0].get_ydata()[3] == pytest.approx(60)
    bars = between.places_figure(np.array([0.5, 1.5]), ClipSpec(frames=2)).axes[0].patches
    assert [bar.get_height() for bar in bars] == [0.5, 1.5]
    plt.close("all")


def test_without_exact_masks_only_traced_frames_have_numbers():
    frames = frames_of(0.6, 1.0).assign(dice=np.nan, exact_area_px=np.nan, exact_phase=np.nan)
    one = evaluation(np.nan, 1.0)
    one.frames, one.studies = frames, one.studies.assign(worst_dice=np.nan, area_rmse=np.nan)
    page = between.table_html({PLAIN: [one]}, 100).data
    assert "90.00 <small>" in page and page.count("<td>–</td>") == 5
    plt.close(between.figure({PLAIN: [one]}))


def test_places_are_those_of_training_clips_in_parts_of_their_mean():
    # videos of 12 to 14 frames, clips of 4, every other frame: 7 long. Frame 0 can only be first; frame 4 is place 0 to 2
    store, spec = MemoryStore({"train": 3, "val": 1}), run_spec()
    assert between.places(store, spec) == pytest.approx([4 * (1 + 1 / 3) / 2, 4 / 6, 4 / 6, 0])


@pytest.mark.parametrize("name", PROFILES)
def test_each_training_of_this_page_differs_from_the_plain_one_in_one_thing(name):
    profile = PROFILES[name]
    found = {n: [s.run for s in group] for n, group in BETWEEN.evaluations(profile).items()}
    assert list(found) == [PLAIN, PRETRAINED, BOUNDED, LONGER, PLACED, FRAMES, FRAMEWISE]
    changed = {BOUNDED: "recipe", LONGER: "train", PLACED: "recipe", FRAMES: "model"}
    for other, part in changed.items():
        for plain, run in zip(found[PLAIN], found[other], strict=True):
            assert run.model_copy(update={part: getattr(plain, part)}) == plain and run.key != plain.key, other
            assert type(run).model_validate(run.model_dump(mode="json")) == run
    plain, bounded, longer, placed, frames = (found[n][0] for n in (PLAIN, BOUNDED, LONGER, PLACED, FRAMES))
    assert bounded.recipe.weight == 1 and bounded.recipe.loss == placed.recipe.loss == plain.recipe.loss
    assert longer.train.epochs == 2 * plain.train.epochs
    assert frames.model.width == plain.model.width
    table1 = {run.key for group in BOOK.entries["simlvseg_table1"].runs(profile).values() for run in group}
    for group in (PLAIN, PRETRAINED, FRAMEWISE):
        assert {run.key for run in found[group]} <= table1, "these are shared with Table 1"
    assert {claim.better for claim in BETWEEN.claims} | {claim.worse for claim in BETWEEN.claims} == set(found)


def test_a_readers_weight_is_another_run():
    turned = BETWEEN.turned({"weight": 3.0})
    first, other = (page.evaluations(PROFILES["smoke"]) for page in (BETWEEN, turned))
    assert other[BOUNDED][0].run.recipe.weight == 3 and other[BOUNDED][0].key != first[BOUNDED][0].key
    assert other[PLAIN] == first[PLAIN]
