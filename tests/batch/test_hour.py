"""The profile ``hour`` without computing anything: its cohorts, runs, order and schedule, and its plan in an empty checkout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from echolib.batch import cost
from echolib.cli import app
from echolib.config.profile import load_profile
from echolib.config.specs import RunSpec, chain
from echolib.ledger.workspace import Workspace
from echolib.pages.catalogue import cohorts
from echolib.papers.book import BOOK

ROOT = Path(__file__).parents[2]
HOUR = load_profile(ROOT / "profiles" / "hour.yml")
#: Table 1 in the order in which it is wanted: groups of runs that are made for every seed before the next ones.
FIRST = (("SimLVSeg-3D", "SimLVSeg-3D, no pre-training"), ("SimLVSeg-SI", "nnU-Net", "EchoNet-Dynamic"))


@pytest.fixture(scope="module")
def ordered() -> tuple:
    return BOOK.ordered(HOUR)


def groups(entry: str, seed: int) -> dict[str, RunSpec]:
    one = BOOK.entries[entry]
    return one.groups(HOUR, seed, one.options)


def test_everything_that_the_book_needs_is_there_once_and_after_what_it_builds_on(ordered):
    seen: set[str] = set()
    for one in ordered:
        before = chain(one)[:-1] if isinstance(one, RunSpec) else chain(one.run) if one.run else []
        assert seen.issuperset(run.key for run in before), one.label
        assert one.key not in seen
        seen.add(one.key)
    for notebook in BOOK.notebooks:
        needs = BOOK.needs(notebook, HOUR)
        assert seen.issuperset(one.key for one in (*needs.runs, *needs.evaluations)), notebook


def test_table_1_is_decided_first_then_the_ratios_then_the_grid(ordered):
    found = [one for one in ordered if isinstance(one, RunSpec)]
    table1 = [groups("simlvseg_table1", seed)[name] for names in FIRST for seed in HOUR.seeds for name in names]
    assert len(HOUR.seeds) >= 3 and set(groups("simlvseg_table1", 0)) == {name for names in FIRST for name in names}
    segmenters = [one for one in found if one.key in {run.key for run in table1}]
    assert segmenters == table1, "both ways to train the 3D network, in every seed, before the others"
    last = max(found.index(one) for one in table1)
    assert all(found.index(run) <= last for one in table1 for run in chain(one)) and last < len(table1) + 2 * len(HOUR.seeds)
    ratios, grid = ({groups(f"simlvseg_{figure}", seed)[name] for seed in HOUR.seeds for name in groups(f"simlvseg_{figure}", 0)}
                    for figure in ("figure8", "figure7"))
    assert len(ratios) == 10 * len(HOUR.seeds) and len(grid) == 24 * len(HOUR.seeds)
    assert max(map(found.index, ratios)) < min(found.index(one) for one in grid - ratios - set(table1))
    assert ratios & set(table1) and grid & set(table1), "the same schedule: what Table 1 has trained is not trained again"


def test_a_network_sees_whole_videos_of_every_cohort_right_after_its_training(ordered):
    """Its 18.8 million weights may be too large for results/: on another machine it would be trained again for that."""
    table1 = {groups("simlvseg_table1", seed)[name].key for seed in HOUR.seeds for names in FIRST for name in names}
    looks = [(place, one) for place, one in enumerate(ordered)
             if not isinstance(one, RunSpec) and one.run and one.run.key in table1]
    assert {one.run.key for _, one in looks if one.data == HOUR.echonet} == table1
    assert {one.data.cohort for _, one in looks} == {"echonet", "foreshortening", "poor_quality", "effusion", "arrhythmia"}
    for place, one in looks:
        before = ordered[place - 1]
        assert before == one.run or before.run == one.run, one.label


def test_its_cohort_is_the_one_that_it_says_and_its_networks_have_the_published_width(ordered):
    own, *others = cohorts(HOUR, [BOOK.needs(notebook, HOUR) for notebook in BOOK.notebooks])
    assert own == HOUR.echonet and own.size == 112 and (own.phantom.train, own.phantom.val, own.phantom.test) == (2400, 200, 400)
    assert [(data.phantom.train, data.phantom.test) for data in others if data.phantom] == [(0, HOUR.probe.studies)] * len(others)
    main = [one for one in ordered if isinstance(one, RunSpec) and one.data == own]
    assert {one.model.width for one in main} == {1.0} and {one.precision for one in main} == {"bf16-mixed"}


@pytest.mark.parametrize(("role", "name", "clips"), [("init", "SimLVSeg-3D", 100_800), (None, "SimLVSeg-3D", 153_600),
                                                     ("init", "SimLVSeg-SI", 100_800), (None, "nnU-Net", 120_000)])
def test_the_schedule_has_the_clips_that_the_profile_states(role, name, clips):
    run = groups("simlvseg_table1", 0)[name]
    run = run.parents[role] if role else run
    assert cost.steps(run) * run.train.batch == clips and 100_000 <= clips <= 300_000
    text = (ROOT / "profiles" / "hour.yml").read_text()
    assert f"{clips:,} {'frames' if run.clip.frames == 1 else 'clips'}" in text


def test_its_plan_in_an_empty_checkout_lists_everything_and_writes_nothing(tmp_path, monkeypatch, ordered):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "pyproject.toml").touch()
    shutil.copy(ROOT / "profiles" / "hour.yml", tmp_path / "profiles")
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    said = CliRunner().invoke(app, ["plan", "--profile", "hour", "--rate", "400000", "--share", "0.1", "--json"])
    assert said.exit_code == 0, said.output
    plan = json.loads(said.output)
    assert plan["problems"] == {} and {step["state"] for step in plan["steps"]} == {"to do"}
    steps = {step["id"]: step for step in plan["steps"]}
    wanted = {f"{'run' if isinstance(one, RunSpec) else 'evaluation'}-{one.key}" for one in ordered}
    assert wanted == {name for name, step in steps.items() if step["kind"] in ("run", "evaluation")}
    notebooks = {name for name, step in steps.items() if step["kind"] == "notebook"}
    assert notebooks == {f"notebook-{name}" for name in BOOK.notebooks}
    assert all(need in steps for step in steps.values() for need in step["needs"])
    assert sorted(tmp_path.iterdir()) == before and not Workspace.open("hour").build.exists()
