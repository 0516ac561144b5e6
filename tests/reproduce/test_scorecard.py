"""What the scorecard and the footers say around the numbers, and which cohort the atlas shows."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from echolib.config import load_profile
from echolib.reproduce import make, scorecard
from echolib.reproduce.experiments import TABLE1
from echolib.reproduce.workspace import Workspace

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
def test_the_atlas_shows_phantoms_under_a_real_profile_too(monkeypatch, profile, notebook, shown):
    ran = []
    monkeypatch.setattr(make, "is_current", lambda *_: (False, "not yet"))
    monkeypatch.setattr(make, "execute", lambda source, out, parameters, **_: ran.append((source.name, parameters)))
    make._notebook(workspace(profile), notebook, [], lambda text: None)
    assert ran == [(f"{notebook}.ipynb", {"profile": shown})]


def test_the_readme_says_of_each_profile_what_its_file_says():
    text = (ROOT / "README.md").read_text()
    for path in (ROOT / "profiles").glob("*.yml"):
        profile = load_profile(path)
        row = next(line for line in text.splitlines() if line.startswith(f"| `{profile.name}`"))
        spec = profile.echonet.phantom
        data = "EchoNet-Dynamic" if spec is None else f"{spec.train + spec.val + spec.test:,} phantom videos"
        assert data in row and f"{profile.pretrain.epochs} + {profile.segment.epochs} epochs" in row
        assert ("as published" in row) == (profile.width == 1) and ("three seeds" in row) == (len(profile.seeds) == 3)
