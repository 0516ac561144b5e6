"""The page of Figure 6: what it asks for, the choice of the worst cases, its tables and verdicts on made-up evaluations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from echolib.config import load_profile
from echolib.evaluation.evaluation import Picture
from echolib.pages import scorecard
from echolib.papers.book import BOOK
from echolib.papers.companion import ejection
from echolib.papers.simlvseg import figure6 as challenging
from echolib.papers.simlvseg import figure6_drawing as challenging_figures
from echolib.papers.simlvseg.figure6 import CHALLENGES, FIGURE6, FRAMEWISE, Figure6Options

ROOT = Path(__file__).parents[3]
STUDIES = [f"s{i}" for i in range(8)]
NETWORKS = {"DeepLabV3": 0.70, FRAMEWISE: 0.80, "SimLVSeg-SI": 0.85, "SimLVSeg-3D": 0.90}


def evaluation(level: float, seed: int) -> SimpleNamespace:
    """Dice of ``level`` less 0.01 for each later study; the last is the worst."""
    studies = pd.DataFrame({"study": STUDIES, "patient": STUDIES, "dice": level - 0.01 * np.arange(8) + 0.001 * seed,
                            "worst_frame": 10 * np.arange(8)})
    return SimpleNamespace(studies=studies, record=SimpleNamespace(spec=SimpleNamespace(run=SimpleNamespace(seed=seed))))


@pytest.fixture
def presets() -> challenging.Presets:
    return {preset: {name: [evaluation(level, seed) for seed in range(3)] for name, level in NETWORKS.items()}
            for preset in (challenging.ORDINARY, *CHALLENGES)}


def test_the_worst_case_is_the_lowest_dice_of_any_seed_and_nothing_else(presets):
    ours = presets["effusion"]["SimLVSeg-3D"]
    ours[2].studies.loc[3, "dice"] = 0.10
    cases = challenging.worst_cases(presets)
    assert [(c.preset, c.worst) for c in cases] == [(p, n) for p in CHALLENGES for n in ("SimLVSeg-3D", FRAMEWISE)]
    found = {(c.preset, c.worst): c for c in cases}
    one = found["effusion", "SimLVSeg-3D"]
    assert (one.study, one.frame, one.place) == ("s3", 30, 2)
    assert one.dice == pytest.approx({"SimLVSeg-3D": 0.10, FRAMEWISE: 0.80 - 0.03 + 0.002}), "both of the same seed"
    other = found["effusion", FRAMEWISE]
    assert (other.study, other.frame, other.place) == ("s7", 70, 0)
    ours[0].studies.loc[[1, 6], "dice"] = 0.05
    again = {(c.preset, c.worst): c for c in challenging.worst_cases(presets)}["effusion", "SimLVSeg-3D"]
    assert (again.study, again.place) == ("s1", 0), "of equal ones the first by name"
    page = challenging.worst_html(cases, presets).data
    assert "effusion, worst of SimLVSeg-3D" in page and "<td>s3</td><td>30</td><td>2</td><td>10.0</td><td>77.2</td>" in page


def test_each_run_draws_its_frames_once(presets, monkeypatch):
    asked = []
    mask = np.ones((4, 4), bool)

    def require(ledger, one, frames):
        asked.append(frames)
        return SimpleNamespace(pictures={case: Picture(np.zeros((4, 4), np.uint8), mask, mask) for case in frames})

    monkeypatch.setattr(challenging, "require_examples", require)
    cases = challenging.worst_cases(presets)
    found = challenging.pictures(None, presets, cases)
    assert [list(p) for p in found] == [["SimLVSeg-3D", FRAMEWISE]] * len(cases)
    assert len(asked) == 2 * len(CHALLENGES) and {len(frames) for frames in asked} == {2}
    figure = challenging_figures.worst_figure(cases, found)
    assert figure.axes[0].get_title() == "SimLVSeg-3D: 100 %" and len(figure.axes) == 4 * len(CHALLENGES)
    plt.close(figure)


def test_the_tables(presets):
    table = challenging.dice_table(presets, 200)
    assert list(table.columns) == ["preset", "network", "value", "low", "high", "videos", "seeds"] and len(table) == 20
    row = table[(table.preset == "effusion") & (table.network == "SimLVSeg-3D")].iloc[0]
    assert row.value == pytest.approx(100 * (0.90 - 0.035 + 0.001)) and row.low < row.value < row.high
    assert (row.videos, row.seeds) == (8, 3)
    paired = challenging.paired_table(presets)
    assert len(paired) == 5 * 2 * 2 and set(paired.against) == {"DeepLabV3", FRAMEWISE}
    one = paired[(paired.preset == "arrhythmia") & (paired.network == "SimLVSeg-SI") & (paired.against == FRAMEWISE)].iloc[0]
    assert one.difference == pytest.approx(5.0) and one.p == pytest.approx(2 / 2 ** 8) and one.patients == 8
    assert "poor image quality" in challenging.dice_html(table).data and "+5.00 <small>" in challenging.paired_html(paired).data
    figure = challenging_figures.dice_figure(presets, table)
    assert [a.get_title(loc="left") for a in figure.axes] == [challenging.ORDINARY, *CHALLENGES.values()]
    plt.close(figure)


def test_each_claim_rests_on_its_preset(presets):
    profile = load_profile(ROOT / "profiles" / "desk.yml")
    presets["effusion"] = {name: presets["effusion"][name] for name in NETWORKS}
    presets["effusion"]["SimLVSeg-3D"] = [evaluation(0.5, seed) for seed in range(3)]
    wanted = FIGURE6.evaluations(profile)
    names = {id(specs): name for name, specs in wanted.items()}

    def evaluate(specs):
        network, words = names[id(specs)].split(" on ")
        return presets[{v: k for k, v in CHALLENGES.items()}[words]][network]

    entry = replace(FIGURE6, evaluations_of=lambda profile, options: wanted)
    ledger = SimpleNamespace(workspace=SimpleNamespace(profile=profile), evaluate=evaluate)
    found = scorecard.claims(entry, ledger).set_index("claim")
    assert len(found) == 4
    for claim, row in found.iterrows():
        assert row.status == ("does not hold" if claim.endswith("effusion") else "holds"), claim
    assert found.why.iloc[0].startswith("difference +10.00 Dice points over 3 seeds")


@pytest.mark.parametrize("name", ["smoke", "paper"])
def test_what_the_page_asks_for(name):
    profile = load_profile(ROOT / "profiles" / f"{name}.yml")
    needed = challenging.needed(profile, Figure6Options())
    assert (f"SimLVSeg-3D on {challenging.ORDINARY}" in needed) == (name == "smoke"), "real data has no exact masks"
    assert {name for claim in FIGURE6.claims for pair in claim.pairs for name in pair} <= needed.keys()
    keys = {s.key for specs in needed.values() for s in specs}
    shared = {s.key for part in ejection.needed(profile) for group in part.values() for s in group}
    new = [s for specs in needed.values() for s in specs if s.key not in shared]
    assert {s.data.phantom.preset for s in new} == {"foreshortening", "poor_quality", "effusion"}
    assert {s.key for s in BOOK.needs("simlvseg_figure6", profile).evaluations} == keys
    assert {s.key for s in BOOK.select("simlvseg_figure6", profile).evaluations} == keys
