"""The plan: what it says of every state of a run, that it writes nothing, and what its estimates rest on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from echolib.batch import cost, planner
from echolib.batch.plan import Cost
from echolib.batch.planner import make_plan
from echolib.batch.report import hours, report, size, stale
from echolib.cli import app
from echolib.config import ClipSpec, DataSpec, ModelSpec, PhantomSpec, RunSpec, SubsetSpec, TrainSpec, chain
from echolib.errors import ConfigError
from echolib.ledger import runs
from echolib.ledger.ledger import Ledger
from echolib.ledger.workspace import Workspace
from echolib.pages.catalogue import Catalogue
from echolib.papers import book
from echolib.papers.book import BOOK
from echolib.papers.simlvseg.runs import segment_run
from echolib.training.recipe import recipe_class
from echolib.training.recipes.clip_dense import ClipDense
from tests.small import PROFILE, catalogue, entry, two_pages, write_checkout


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Path:
    """A checkout whose cohort is simulated and packed."""
    root = write_checkout(tmp_path_factory.mktemp("small") / "checkout")
    Workspace.open("tiny", root).store("echonet", workers=1, progress=False)
    return root


@pytest.fixture
def workspace(simulated, tmp_path, monkeypatch) -> Workspace:
    """A copy of it with two pages."""
    root = tmp_path / "checkout"
    shutil.copytree(simulated, root)
    two_pages(monkeypatch)
    return Workspace.open("tiny", root)


def run_all(workspace: Workspace) -> None:
    ledger = Ledger(workspace, say=lambda text: None, progress=False)
    for name in book.BOOK.notebooks:
        ledger.require(book.BOOK.needs(name, workspace.profile).runs)


def states(plan) -> dict[str, str]:
    return {(s.kind if s.kind in ("cohort", "store", "book") else s.label): s.state for s in plan.steps}


def files(root: Path) -> dict[str, tuple[int, int]]:
    return {p.relative_to(root).as_posix(): (p.stat().st_mtime_ns, p.stat().st_size) for p in root.rglob("*")}


def test_a_fresh_plan_lists_every_step_in_order_and_writes_nothing(workspace):
    shutil.rmtree(workspace.build)
    before = files(workspace.root)
    plan = make_plan(workspace)
    assert files(workspace.root) == before
    assert [s.kind for s in plan.steps] == ["cohort", "store", "run", "run", "run", "notebook", "notebook", "book"]
    assert [s.label for s in plan.steps if s.kind == "run"] == [
        "unet3d 16x1 pretrain seed0", "unet3d 16x1 ssl0.6 seed0", "nnunet2d 1x1 seed0"], "stage 1 before stage 2"
    seen = set()
    for step in plan.steps:
        assert seen.issuperset(step.needs) and step.state == "to do"
        seen.add(step.id)
    assert plan.seconds() > 0 and plan.disk() > 0
    assert {s.cost.source for s in plan.steps if s.kind == "run"} == {"arithmetic"} and "GFLOP/s here" in plan.arithmetic
    text = report(plan)
    assert "not simulated yet" in text and "Taken from records: 0 of this machine" in text and "3 estimates arithmetic" in text


def test_what_is_recorded_is_taken_and_the_rest_is_not(workspace):
    run_all(workspace)
    before = files(workspace.root)
    plan = make_plan(workspace)
    assert files(workspace.root) == before
    found = states(plan)
    assert {found[k] for k in found if "seed0" in k} == {"done"} and found["cohort"] == found["store"] == "done"
    assert found["Page one"] == "to do", "its records are there, it was never executed"
    assert plan.seconds() == 0 and not stale(plan) and "Taken from records: 3 of this machine" in report(plan, every=False)
    assert "nnunet2d" not in report(plan, every=False)


def test_changed_code_is_named_as_the_reason(workspace, monkeypatch):
    run_all(workspace)
    monkeypatch.setattr(runs, "run_code", lambda spec: "0" * 16)
    plan = make_plan(workspace)
    assert {s.why for s in plan.steps if s.kind == "run"} == {"the code changed"} and len(stale(plan)) == 3
    assert states(plan)["Page two"] == "to do"


def test_changed_data_is_named_as_the_reason(workspace):
    run_all(workspace)
    video = next((workspace.cohort_dir(workspace.profile.echonet) / "Videos").glob("*.avi"))
    video.write_bytes(video.read_bytes() + b"\0")
    plan = make_plan(workspace)
    assert {s.why for s in plan.steps if s.kind == "run"} == {"the data changed"}
    assert [(s.state, s.why) for s in plan.steps if s.kind == "store"] == [("to do", "not packed yet")]


def test_a_changed_specification_is_named_as_the_reason(workspace):
    run_all(workspace)
    path = workspace.root / "profiles" / "tiny.yml"
    path.write_text(PROFILE.replace("lr: 0.001", "lr: 0.004"))
    plan = make_plan(Workspace.open("tiny", workspace.root))
    run = next(s for s in plan.steps if s.label == "unet3d 16x1 ssl0.6 seed0")
    assert run.state == "to do" and run.why.endswith("train.optimiser.lr 0.001 -> 0.004"), run.why
    assert states(plan)["unet3d 16x1 pretrain seed0"] == "done"


def test_a_damaged_record_stops_its_page_and_says_what_to_do(workspace):
    run_all(workspace)
    spec = book.BOOK.needs("two", workspace.profile).runs[0]
    path = workspace.run_dir(spec) / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"key": "f" * 16}))
    plan = make_plan(workspace)
    broken = next(s for s in plan.steps if s.state == "broken")
    assert broken.pages == ("two",) and "delete the record and run again" in broken.why
    assert states(plan)["unet3d 16x1 ssl0.6 seed0"] == "done"


def test_records_wait_for_data_that_are_not_here(workspace):
    run_all(workspace)
    shutil.rmtree(workspace.cohort_dir(workspace.profile.echonet))
    plan = make_plan(workspace)
    assert {s.state for s in plan.steps if s.kind == "run"} == {"check"}
    assert "To be checked once their data are here: 3" in report(plan)


def test_a_first_stage_is_not_made_for_a_second_stage_that_is_there(workspace):
    run_all(workspace)
    spec = book.BOOK.needs("one", workspace.profile).runs[0]
    (workspace.run_dir(spec.parents["init"]) / "record.json").unlink()
    plan = make_plan(workspace)
    assert "unet3d 16x1 pretrain seed0" not in states(plan) and states(plan)["unet3d 16x1 ssl0.6 seed0"] == "done"
    assert all(need in {s.id for s in plan.steps} for s in plan.steps for need in s.needs)


@pytest.mark.parametrize(("breaks", "words"), [
    (lambda root, patch: patch.setattr(book, "BOOK", catalogue(entry("one", unet3d=True),
                                                               entry("two", "simlvseg_table99", nnunet2d=False))),
     "echolib/published/simlvseg_table99.csv is missing"),
    (lambda root, patch: (root / "notebooks" / "two.ipynb").unlink(), "no notebook two.ipynb"),
    (lambda root, patch: patch.setattr(Catalogue, "parameters",
                                       lambda self, name, profile: {"profile": 3 if name == "two" else "tiny"}),
     "parameter 'profile' takes str, not 3"),
    (lambda root, patch: patch.setattr(Catalogue, "parameters",
                                       lambda self, name, profile: {"cohort" if name == "two" else "profile": "tiny"}),
     "has no parameter 'cohort'"),
])
def test_a_page_that_cannot_be_made_is_named_and_the_others_are_planned(workspace, monkeypatch, breaks, words):
    breaks(workspace.root, monkeypatch)
    plan = make_plan(workspace)
    assert list(plan.problems) == ["two"] and words in plan.problems["two"]
    assert "notebook-one" in {s.id for s in plan.steps} and "notebook-two" not in {s.id for s in plan.steps}
    assert f"Page two cannot be made: {plan.problems['two']}" in report(plan)


def test_a_record_of_the_same_network_is_what_an_estimate_rests_on(workspace):
    run_all(workspace)
    spec = book.BOOK.needs("two", workspace.profile).runs[0]
    longer = spec.model_copy(update={"seed": 1, "train": spec.train.model_copy(update={"epochs": 5})})
    estimator = cost.Estimator(cost.known_records(workspace.root))
    found = estimator.run(longer)
    # 3 + 3 steps of 2 frames trained, 2 frames validated at a third: 6 + 2/3 took 10 s; five epochs, and 2 test frames at a third
    assert found.source == "measured on this machine"
    assert found.seconds == pytest.approx(10 / (6 + 2 / 3) * (5 * (6 + 2 / 3) + 2 / 3))
    assert found.disk == 4 * estimator._count(spec)[1]


def test_arithmetic_follows_the_rate_that_is_given(workspace):
    spec = book.BOOK.needs("two", workspace.profile).runs[0]
    slow, fast = (cost.Estimator([], rate=rate).run(spec) for rate in (1e9, 2e9))
    assert slow.seconds == pytest.approx(2 * fast.seconds) and slow.source == "arithmetic"
    assert cost.Estimator([], rate=1e9, share=0.1).run(spec).seconds == pytest.approx(4 * slow.seconds)
    per_frame = cost.Estimator([], rate=1e9)._count(spec)[0]
    assert slow.seconds == pytest.approx(3 * per_frame / (0.4 * 1e9) * (6 + 2 / 3 + 2 / 3))


@pytest.mark.parametrize(("model", "frames", "published"), [("unet3d", 32, 1.126), ("deeplabv3_r50", 1, 7.84)])
def test_operations_are_those_that_the_paper_prints(model, frames, published):
    from echolib.config import load_profile

    profile = load_profile(Path(__file__).parents[2] / "profiles" / "paper.yml")
    operations, parameters = cost.Estimator([], rate=1e9)._count(segment_run(profile, model, seed=0))
    assert operations / 2e9 == pytest.approx(published, rel=0.02)  # the paper's unit is a multiplication with its addition
    assert parameters > 1e7


@pytest.mark.parametrize("name", ["smoke", "desk", "hour", "paper"])
def test_the_operations_of_every_run_can_be_counted(name):
    profile = Workspace.open(name).profile
    found = {run.key: run for page in BOOK.notebooks for need in BOOK.needs(page, profile).runs for run in chain(need)}
    estimator = cost.Estimator([], rate=1e9)
    assert all(min(estimator._count(run)) > 0 for run in found.values())
    masked = [run for run in found.values() if run.recipe.kind == "regress" and "masks" in run.parents]
    plain = [run for run in found.values() if run.recipe.kind == "regress" and not run.parents]
    if profile.css:  # a fourth channel costs operations
        assert estimator._count(masked[0])[0] > estimator._count(plain[0])[0]


def test_steps_are_those_that_training_takes(workspace):
    ledger = Ledger(workspace, progress=False)
    for name in book.BOOK.notebooks:
        for spec in [s for run in book.BOOK.needs(name, workspace.profile).runs for s in chain(run)]:
            parents = {role: None for role in spec.parents}
            assert cost.steps(spec) == spec.train.epochs * recipe_class(spec.recipe)(spec, ledger.store, parents).batches().steps


def test_a_run_counts_the_studies_that_its_subset_gives_it():
    data = DataSpec(layout="camus", size=48, channels=1, views=("4CH", "2CH"),
                    phantom=PhantomSpec(preset="camus", train=20, val=5, test=15))
    spec = RunSpec(recipe=ClipDense(network={"fit": "resize", "inner": 96}), data=data, clip=ClipSpec(frames=10),
                   model=ModelSpec(name="pkecho_r18", width=0.25), train=TrainSpec(epochs=2, batch=8))
    assert cost.split_studies(spec) == {"train": 40, "val": 10, "test": 30} and cost.steps(spec) == 10
    one_view = spec.model_copy(update={"data": data.model_copy(update={"views": ("2CH",)})})
    assert cost.split_studies(one_view) == {"train": 20, "val": 5, "test": 15} and cost.packed_studies(one_view.data) == 40
    for subset, counts in ((SubsetSpec(parts=(7, 1, 2)), (56, 8, 16)), (SubsetSpec(folds=5, fold=3), (48, 16, 16))):
        assert tuple(cost.split_studies(spec.model_copy(update={"subset": subset})).values()) == counts
    estimator = cost.Estimator([], rate=1e9)
    wide, plain = estimator._count(spec), estimator._count(spec.model_copy(update={"recipe": ClipDense(
        network={"fit": "resize", "inner": 64, "iterations": 0})}))
    assert wide[0] > 2 * plain[0] and wide[1] - plain[1] == 3 * 26_689 + 320, "the recipe's options reach the network"


def test_a_cohort_is_found_by_its_name(workspace):
    name = planner.cohort_name(workspace.profile.echonet)
    assert name.startswith("echonet-echonet-") and planner.cohort_named(workspace, name) == workspace.profile.echonet
    with pytest.raises(ConfigError, match=name):
        planner.cohort_named(workspace, "echonet-real-00000000")
    assert planner.cohort_name(DataSpec(layout="camus")) != planner.cohort_name(
        DataSpec(layout="camus", phantom=PhantomSpec(train=1, val=1, test=1)))


def test_one_run_is_found_by_its_key(workspace):
    spec = book.BOOK.needs("one", workspace.profile).runs[0]
    assert book.BOOK.select(spec.parents["init"].key, workspace.profile).runs == (spec.parents["init"],)
    assert book.BOOK.select("one", workspace.profile).runs == (spec,)
    assert len(book.BOOK.select(None, workspace.profile).runs) == 3
    with pytest.raises(ConfigError, match="entries: one, two"):
        book.BOOK.select("0" * 16, workspace.profile)


def test_the_command_prints_text_and_json(workspace, monkeypatch):
    monkeypatch.chdir(workspace.root)
    said = CliRunner().invoke(app, ["plan", "--profile", "tiny", "--rate", "100"])
    assert said.exit_code == 0 and said.output.startswith("Plan of profile tiny") and "100 GFLOP/s, as given" in said.output
    said = CliRunner().invoke(app, ["plan", "--profile", "tiny", "--json"])
    parsed = json.loads(said.output)
    assert parsed["profile"] == "tiny" and {s["state"] for s in parsed["steps"] if s["kind"] == "run"} == {"to do"}
    assert parsed["seconds"] == pytest.approx(sum(s["cost"]["seconds"] for s in parsed["steps"] if s["cost"]))


def test_times_and_sizes_are_readable():
    assert [hours(s) for s in (12.3, 600, 7200)] == ["12 s", "10 min", "2.0 h"]
    assert [size(n) for n in (2_500_000, 3_400_000_000)] == ["2 MB", "3.4 GB"]
    assert Cost(1.0, 2, "arithmetic").memory == 0
