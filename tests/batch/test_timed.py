"""`echolib run all --minutes`: the order of what is wanted, an end in time, and going on from there, here and elsewhere.

Where a test needs a training to be stopped at a certain step it sends the alarm that the command's own clock would send; one test
leaves that to the clock.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from echolib.batch import timed
from echolib.batch.clock import Clock, TimeUp
from echolib.batch.timed import Outcome, run_timed
from echolib.cli import app
from echolib.config.specs import RunSpec
from echolib.errors import ConfigError, RecordError, TrainingError
from echolib.evaluation.kinds.video import VideoSpec
from echolib.files import write_json
from echolib.ledger import runs
from echolib.ledger.workspace import Workspace
from echolib.pages.experiment import Needs
from echolib.pages.speed import TARGETS
from echolib.papers import book
from echolib.papers.simlvseg.runs import segment_run
from echolib.training.recipes.reconstruct import MaskedReconstruction
from tests.ledger.standin import scored_at_once, trained_at_once
from tests.small import PROFILE, catalogue, entry, write_checkout

ORDER = "order:\n  - {entry: two}\n  - {entry: one, groups: [unet3d]}\n"
QUIET = dict(say=lambda text: None, progress=False)


def watched(profile, options) -> Needs:
    """Page one shows each seed's network on a whole video."""
    networks = [segment_run(profile, "unet3d", seed=seed, pretrained=True) for seed in profile.seeds]
    return Needs(evaluations=tuple(VideoSpec(run=run, data=profile.echonet, studies=1) for run in networks))


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> Path:
    """A checkout whose cohort is simulated and packed; its profile wants page two first."""
    root = write_checkout(tmp_path_factory.mktemp("timed") / "checkout")
    (root / "profiles" / "tiny.yml").write_text(PROFILE.replace("quotable: false", "quotable: true") + ORDER)
    Workspace.open("tiny", root).store("echonet", workers=1, progress=False)
    return root


@pytest.fixture
def here(packed, tmp_path, monkeypatch) -> Path:
    """A copy of it, as the working directory. Page ``one`` needs a pre-trained 3D U-Net, ``two`` a frame-wise network."""
    shutil.copytree(packed, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(book, "BOOK", catalogue(entry("one", more=watched, unet3d=True), entry("two", nnunet2d=False)))
    return tmp_path / "here"


@pytest.fixture
def at_once(monkeypatch) -> list[str]:
    """Trainings take no time; the labels of those that are made."""
    made: list[str] = []
    trained_at_once(monkeypatch, lambda spec: made.append(spec.label))
    scored_at_once(monkeypatch)
    return made


def elsewhere(here: Path, monkeypatch) -> Path:
    """Another machine with the same sources, the same cohort and ``results/``; the working directory from now on."""
    other = here.with_name("elsewhere")
    shutil.copytree(here, other, ignore=lambda folder, names: {"runs", "evaluations"} if Path(folder).name == "tiny"
                    and Path(folder).parent.name == "build" else ())
    monkeypatch.chdir(other)
    return other


def open_here() -> Workspace:
    return Workspace.open("tiny", Path.cwd())


def specs() -> list:
    """Pre-training and segmentation of page one, page two's network."""
    profile = open_here().profile
    second = segment_run(profile, "unet3d", seed=0, pretrained=True)
    return [second.parents["init"], second, segment_run(profile, "nnunet2d", seed=0)]


def results(folder: str = "runs") -> set[str]:
    """Names of the files in a folder of ``results/tiny``."""
    return {path.name for path in (Path("results") / "tiny" / folder).glob("*")}


def alarm_after(steps: int, monkeypatch) -> None:
    """The clock's alarm rings once, in the so-manieth step of pre-training."""
    loss, seen = MaskedReconstruction.loss, []

    def rung(self, network, batch):
        seen.append(None)
        if len(seen) == steps:
            signal.raise_signal(signal.SIGALRM)
        return loss(self, network, batch)

    monkeypatch.setattr(MaskedReconstruction, "loss", rung)


def longer(epochs: int) -> None:
    """Pre-training takes so many epochs of one step."""
    path = Path("profiles") / "tiny.yml"
    path.write_text(path.read_text().replace("pretrain: {epochs: 1", f"pretrain: {{epochs: {epochs}"))


# -- order ----------------------------------------------------------------------------------------------------------------

def test_the_most_wanted_comes_first_a_seed_after_the_other(here):
    profile = open_here().profile.model_copy(update={"seeds": (0, 1)})
    ordered = book.BOOK.ordered(profile)
    assert [one.label for one in ordered if isinstance(one, RunSpec)] == [
        "nnunet2d 1x1 seed0", "nnunet2d 1x1 seed1", "unet3d 16x1 pretrain seed0", "unet3d 16x1 ssl0.6 seed0",
        "unet3d 16x1 pretrain seed1", "unet3d 16x1 ssl0.6 seed1"], "as 'order' says, what a run builds on before it"
    for place, one in enumerate(ordered):
        if isinstance(one, VideoSpec):
            assert ordered[place - 1] == one.run, "an evaluation comes right after its run, whose weights are there then"
    everything = book.BOOK.select(None, profile)
    assert sorted(one.key for one in ordered) == sorted(one.key for one in (*everything.runs, *everything.evaluations))


def test_without_an_order_it_is_that_of_the_book(here):
    profile = open_here().profile.model_copy(update={"order": ()})
    everything = book.BOOK.select(None, profile)
    assert book.BOOK.ordered(profile) == (*everything.runs, *everything.evaluations)


@pytest.mark.parametrize(("line", "words"), [("{entry: three}", "no entry 'three'; entries: one, two"),
                                             ("{entry: one, groups: [unet9d]}", "no group 'unet9d' of one; its groups: unet3d")])
def test_an_order_of_what_there_is_not_is_an_error_before_anything_is_computed(here, line, words):
    path = here / "profiles" / "tiny.yml"
    path.write_text(path.read_text().replace("{entry: two}", line))
    with pytest.raises(ConfigError, match=words):
        run_timed("tiny", 60, **QUIET)
    assert not results()


def test_everything_is_computed_in_that_order_and_copied_at_once(here, at_once):
    done = run_timed("tiny", 60, **QUIET)
    first, second, alone = specs()
    assert at_once == [alone.label, first.label, second.label]
    assert [one.split()[1] for one in done.finished] == [one.key for one in book.BOOK.ordered(open_here().profile)]
    assert (done.stopped, done.left, done.failed) == ("", 0, {})
    assert {f"{spec.key}.json" for spec in specs()} <= results() and len(results("evaluations")) > 0
    assert not any(name.endswith("safetensors") for name in results()), "nothing waits for any weights any more"
    assert run_timed("tiny", 60, **QUIET) == Outcome(), "a second time there is nothing to do"


def test_what_fails_stops_what_builds_on_it_and_nothing_else(here, at_once, monkeypatch):
    fit, (first, _, alone) = runs.fit, specs()

    def failing(recipe, folder, **options):
        if recipe.spec.key == first.key:
            raise TrainingError("the loss is nan")
        return fit(recipe, folder, **options)

    monkeypatch.setattr(runs, "fit", failing)
    done = run_timed("tiny", 60, **QUIET)
    assert [one.split()[1] for one in done.finished] == [alone.key]
    assert set(done.failed.values()) == {"the loss is nan"} and any(first.key in name for name in done.failed)
    assert done.left == 3, "pre-training, segmentation and its evaluation"
    assert CliRunner().invoke(app, ["run", "all", "--profile", "tiny", "--minutes", "60"]).exit_code == 1


# -- an end in time -------------------------------------------------------------------------------------------------------

def test_a_training_that_the_clock_stops_goes_on_to_the_same_bytes_on_another_machine(here, monkeypatch):
    longer(4)
    (first, second, _), news = specs(), []
    run_timed("tiny", 60, specs=[first], **QUIET)
    whole = (open_here().run_dir(first) / "weights.safetensors").read_bytes()
    shutil.rmtree(open_here().build / "runs")
    shutil.rmtree(Path("results"))

    with monkeypatch.context() as patch:
        alarm_after(2, patch)
        done = run_timed("tiny", 60, specs=[first, second], say=news.append, progress=False)
    assert first.key in done.stopped and done.finished == [] and done.left == 2 and not done.failed
    assert results("unfinished") == {f"{first.key}.{part}" for part in (
        "checkpoint.pt", "log.csv", "origin.json", "spec.json", "sha256")} and not results("runs")
    assert any("stops: the time is over" in line for line in news)
    log = Path("results", "tiny", "unfinished", f"{first.key}.log.csv").read_text().splitlines()
    assert len(log) == 3, "a head and the two steps that were made: the step at work was ended"

    elsewhere(here, monkeypatch)
    done = run_timed("tiny", 60, specs=[first], say=news.append, progress=False)
    assert any("goes on from results/tiny/unfinished, where 2 steps are logged" in line for line in news)
    assert (open_here().run_dir(first) / "weights.safetensors").read_bytes() == whole
    assert done.left == 0 and not results("unfinished") and f"{first.key}.json" in results()


def test_it_ends_by_its_own_clock(here):
    longer(1_000_000)
    first, began = specs()[0], time.monotonic()
    done = run_timed("tiny", 0.1, specs=[first], **QUIET)
    assert first.key in done.stopped and done.left == 1
    assert (open_here().run_dir(first) / "checkpoint.pt").is_file() and f"{first.key}.checkpoint.pt" in results("unfinished")
    assert 5 < time.monotonic() - began < 30, "6 s, and a step, a checkpoint and its copy on a machine that others use"
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL and signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_a_checkpoint_that_is_too_large_stays_on_its_machine(here, monkeypatch):
    longer(3)
    first, news = specs()[0], []
    with monkeypatch.context() as patch:
        alarm_after(2, patch)
        run_timed("tiny", 60, specs=[first], most=1000, say=news.append, progress=False)
    assert not results("unfinished") and any("on this machine alone" in line for line in news)
    log = open_here().run_dir(first) / "log.csv"
    assert len(log.read_text().splitlines()) == 3
    alarm_after(2, monkeypatch)  # one step is left: the alarm of the second never rings
    assert run_timed("tiny", 60, specs=[first], most=1000, **QUIET).left == 0 and len(log.read_text().splitlines()) == 4


def test_a_checkpoint_of_other_code_is_not_used(here, monkeypatch):
    longer(3)
    first, news = specs()[0], []
    with monkeypatch.context() as patch:
        alarm_after(2, patch)
        run_timed("tiny", 60, specs=[first], **QUIET)
    elsewhere(here, monkeypatch)
    for module in (timed, runs):
        monkeypatch.setattr(module, "run_code", lambda spec: "0" * 16)
    run_timed("tiny", 60, specs=[first], say=news.append, progress=False)
    assert any("is of other code" in line and "it is not used" in line for line in news)
    assert len((open_here().run_dir(first) / "log.csv").read_text().splitlines()) == 4, "it began again"
    assert not results("unfinished")


def test_a_damaged_checkpoint_is_named_and_the_rest_is_computed(here, monkeypatch):
    longer(3)
    first, _, alone = specs()
    with monkeypatch.context() as patch:
        alarm_after(2, patch)
        run_timed("tiny", 60, specs=[first], **QUIET)
    elsewhere(here, monkeypatch)
    path = Path("results", "tiny", "unfinished", f"{first.key}.checkpoint.pt")
    path.write_bytes(path.read_bytes()[:-1])
    done = run_timed("tiny", 60, specs=[first, alone], **QUIET)
    assert [one.split()[1] for one in done.finished] == [alone.key]
    assert "is damaged or missing; bring it back, or delete" in done.failed[f"run {first.key}  {first.label}"]


# -- weights that others build on -----------------------------------------------------------------------------------------

@pytest.mark.parametrize(("most", "again"), [(10**9, False), (1000, True)])
def test_what_a_run_builds_on_comes_along_or_is_trained_again(here, at_once, monkeypatch, most, again):
    first, second, _ = specs()
    with monkeypatch.context() as patch:  # the time is over when the second training begins
        trained_at_once(patch, lambda spec: spec == second and signal.raise_signal(signal.SIGALRM))
        done = run_timed("tiny", 60, specs=[first, second], most=most, **QUIET)
    assert [one.split()[1] for one in done.finished] == [first.key] and second.key in done.stopped
    assert (f"{first.key}.weights.safetensors" in results()) == (not again), "the second stage waits for them"

    elsewhere(here, monkeypatch)
    done = run_timed("tiny", 60, specs=[first, second], most=most, **QUIET)
    assert at_once == ([first.label] if again else []) + [second.label] and done.left == 0
    assert f"{first.key}.weights.safetensors" not in results(), "nothing waits for them any more"


def test_records_of_other_data_are_refused(here, at_once, monkeypatch):
    alone = specs()[2]
    run_timed("tiny", 60, specs=[alone], **QUIET)
    other = elsewhere(here, monkeypatch)
    path = other / "results" / "tiny" / "runs" / f"{alone.key}.json"
    path.write_text(path.read_text().replace(open_here().store("echonet", workers=1, progress=False).fingerprint, "f" * 64))
    with pytest.raises(RecordError, match="that of the records in results/tiny is ffffffff"):
        run_timed("tiny", 60, **QUIET)


# -- before that: tests and benchmarks ------------------------------------------------------------------------------------

@pytest.fixture
def processes(monkeypatch) -> list[list[str]]:
    """Words of the processes that would be started; none is."""
    started = []

    def noted(words, **options):
        started.append(words[1:])
        if "benchmarks/store_read.py" in words:
            raise subprocess.TimeoutExpired(words, options["timeout"])
        return subprocess.CompletedProcess(words, 1 if "pytest" in words else 0)

    monkeypatch.setattr(timed.subprocess, "run", noted)
    monkeypatch.setattr(timed.torch.cuda, "is_available", lambda: False)
    return started


def test_on_a_processor_nothing_is_measured_unless_it_is_asked_for(here, processes):
    run_timed("tiny", 60, specs=[], **QUIET)
    assert processes == []


def test_tests_and_benchmarks_come_first_and_a_failure_is_told(here, processes):
    news = []
    done = run_timed("tiny", 60, specs=[], tests=True, benchmarks=True, say=news.append, progress=False)
    names = dict.fromkeys(target.name for target in TARGETS if target.device == "cpu")
    assert processes == [["-m", "pytest", "-q", "-m", "gpu", "tests"], *([f"benchmarks/{name}.py", "--record"] for name in names)]
    assert done.failed == {"tests that need a GPU": "exit status 1"}
    assert any(line.startswith("benchmark store_read: ended after") for line in news)


def test_a_benchmark_with_a_record_of_this_device_is_not_repeated(here, processes, monkeypatch):
    monkeypatch.setattr(timed.torch.cuda, "is_available", lambda: True)
    names = list(dict.fromkeys(target.name for target in TARGETS if target.device == "cuda"))
    write_json(here / timed.BENCHMARKS / f"{names[0]}-cuda.json", {})
    run_timed("tiny", 60, specs=[], **QUIET)
    assert processes == [[f"benchmarks/{name}.py", "--device", "cuda", "--record"] for name in names[1:]]


# -- the clock ------------------------------------------------------------------------------------------------------------

def test_work_is_left_when_the_time_is_over_and_signals_mean_what_they_meant():
    before = [signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGTERM)]
    clock, began = Clock(0.3, 0.1), time.monotonic()
    with pytest.raises(TimeUp):
        with clock.limit():
            time.sleep(20)
    assert 0.15 < time.monotonic() - began < 10 and clock.left() == 0
    with pytest.raises(TimeUp):
        with clock.limit():
            raise AssertionError("no work begins without time")
    assert [signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGTERM)] == before


def test_a_request_to_end_is_obeyed_and_another_exit_passes():
    with pytest.raises(TimeUp):
        with Clock(60, 1).limit():
            signal.raise_signal(signal.SIGTERM)
    with pytest.raises(SystemExit, match="3"):
        with Clock(60, 1).limit():
            raise SystemExit(3)


def test_the_reserve_is_kept_for_the_end():
    now = [10.0]
    clock = Clock(100, 20, now=lambda: now[0])
    now[0] = 40.0
    assert (clock.passed(), clock.left()) == (30.0, 50.0)
    now[0] = 95.0
    assert (clock.passed(), clock.left()) == (85.0, 0.0)


def test_a_clock_needs_more_than_its_reserve_and_the_main_thread():
    with pytest.raises(ConfigError, match="expected more minutes"):
        Clock(20, 20)
    found = []

    def work():
        try:
            Clock(60, 1)
        except ConfigError as error:
            found.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == ["only a program's main thread can be given a time limit"]
