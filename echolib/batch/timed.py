"""As much of a profile as a number of minutes allows, most wanted first: the command ``echolib run all --minutes``.

Tests that need a GPU (where they are asked for), benchmarks that this device has no record of, the cohort, then runs and
evaluations in the profile's order. What is finished is copied to ``results/<profile>`` at once. When the time is over the
training at work writes a checkpoint, which is copied too if it is small enough (:mod:`echolib.ledger.unfinished`), and the
command ends; the next one goes on there, on this machine or, with ``results/``, on another.

A run that others build on leaves its weights in ``results/`` until those are finished, if they are small enough; where they are
not there, it is trained again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import torch

from echolib.batch.clock import Clock, TimeUp
from echolib.batch.keeping import Keeper
from echolib.batch.report import hours
from echolib.config.specs import RunSpec, chain
from echolib.errors import EcholibError, RecordError
from echolib.evaluation.evaluation import EvaluationSpec
from echolib.ledger import unfinished
from echolib.ledger.code import run_code
from echolib.ledger.committed import WEIGHTS, fingerprint_of
from echolib.ledger.ledger import Ledger
from echolib.ledger.records import Record
from echolib.ledger.workspace import Workspace
from echolib.pages.speed import FOLDER as BENCHMARKS
from echolib.pages.speed import TARGETS
from echolib.papers import book

#: Share of the time that tests and benchmarks together may take, whatever is left of them is for runs.
BEFORE = 0.6
#: Seconds kept for ending: as a share of the time, and at most.
RESERVE, MOST_RESERVE = 0.1, 30.0
#: On a GPU no training begins with less time than this, s: compiling its network alone takes about as long.
LEAST = 60.0
Spec = RunSpec | EvaluationSpec
Say = Callable[[str], None]


@dataclass
class Outcome:
    """What a call did.

    Attributes:
        finished: labels of what it computed.
        stopped: label of what was at work when the time was over, "" where nothing was.
        left: how many runs and evaluations are still to be computed.
        failed: reason by label; tests that failed are among them.
    """

    finished: list[str] = field(default_factory=list)
    stopped: str = ""
    left: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def run_timed(profile: str, minutes: float, *, specs: Iterable[Spec] | None = None, tests: bool = False,
              benchmarks: bool | None = None, most: int = unfinished.MOST, say: Say | None = None,
              progress: bool = True) -> Outcome:
    """Compute what there is time for.

    Args:
        profile: a file of ``profiles/``.
        minutes: for everything, from this call on.
        specs: what to compute, in order; None: all that the book needs, in the profile's order.
        tests: run the tests that need a GPU first.
        benchmarks: measure first; None: on a GPU, those benchmarks that have no record of this kind of device.
        most: bytes of a checkpoint, or of weights that others build on, above which they stay on this machine.
        say: takes a line of news; None: print it with the seconds that have passed.
        progress: show bars.

    Raises:
        ConfigError: too few minutes, or the profile's order names something that there is not.
        DataError: the cohort is damaged.
    """
    seconds = 60 * minutes
    clock = Clock(seconds, min(RESERVE * seconds, MOST_RESERVE))
    say = say or (lambda text: print(f"[{clock.passed():5.0f} s] {text}", flush=True))
    timed = _Timed(Workspace.open(profile), clock, most, say, progress)
    timed.specs = book.BOOK.ordered(timed.workspace.profile) if specs is None else tuple(specs)
    try:
        timed.before(tests, benchmarks)
        timed.data()
        timed.compute()
    except TimeUp:
        say("stops: the time is over, or it was asked to end")
    except KeyboardInterrupt:
        timed.end()
        raise
    timed.end()
    return timed.outcome


class _Timed:
    """One call."""

    def __init__(self, workspace: Workspace, clock: Clock, most: int, say: Say, progress: bool) -> None:
        self.workspace, self.clock, self.most, self.say = workspace, clock, most, say
        self.ledger = Ledger(workspace, say=say, progress=progress)
        self.keeper = Keeper.of(self.ledger) if workspace.profile.quotable else None
        self.outcome, self.at_work = Outcome(), ""
        self.specs: tuple[Spec, ...] = ()

    # -- what comes first ----------------------------------------------------------------------------------------------

    def before(self, tests: bool, benchmarks: bool | None) -> None:
        """Tests and benchmarks, each a process that is ended when its share of the time is over."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        if tests:
            self._process("tests that need a GPU", "-m", "pytest", "-q", "-m", "gpu", "tests")
        names = dict.fromkeys(target.name for target in TARGETS if target.device == device)
        for name in names if benchmarks or (benchmarks is None and device == "cuda") else ():
            record = self.workspace.root / BENCHMARKS / f"{name}-{device}.json"
            if benchmarks or not record.is_file():
                self._process(f"benchmark {name}", f"benchmarks/{name}.py", *(["--device", device] if device == "cuda" else []),
                              "--record")

    def _process(self, what: str, *words: str) -> None:
        seconds = min(self.clock.left(), BEFORE * self.clock.seconds - self.clock.passed())
        if seconds <= 0:
            self.say(f"{what}: no time")
            return
        self.say(what)
        try:
            with self.clock.limit():
                done = subprocess.run([sys.executable, *words], cwd=self.workspace.root, timeout=seconds, check=False,
                                      env=os.environ | {"PYTHONUNBUFFERED": "1"})
        except subprocess.TimeoutExpired:
            self.say(f"{what}: ended after {seconds:.0f} s, which was its share of the time")
            return
        if done.returncode:
            self.outcome.failed[what] = f"exit status {done.returncode}"
            self.say(f"{what}: FAILED, exit status {done.returncode}")

    def data(self) -> None:
        """Simulate and pack the profile's own cohort, unless nothing is left to compute.

        Raises:
            RecordError: records in ``results/`` were made on other data; records on both could not stand beside each other.
        """
        if not any(map(self._is_left, self.specs)):
            return
        self.at_work, began = "the cohort", time.perf_counter()
        with self.clock.limit():
            store = self.ledger.store
        self.at_work = ""
        self.say(f"{len(store.studies)} studies, {len(store.frames)} frames, data fingerprint {store.fingerprint[:16]}: "
                 f"{time.perf_counter() - began:.1f} s")
        known = None if self.keeper is None else fingerprint_of(self.keeper.results, self.workspace.profile.echonet)
        if known not in (None, store.fingerprint):
            raise RecordError(f"the cohort made here has the data fingerprint {store.fingerprint[:16]}, that of the records in "
                              f"results/{self.workspace.profile.name} is {known[:16]}; expected a machine that makes the same "
                              "bytes (the same kind of device), or a results folder without those records")

    # -- runs and evaluations ------------------------------------------------------------------------------------------

    def compute(self) -> None:
        """Whatever has no record, in order; what fails stops what builds on it and nothing else."""
        for spec in self.specs:
            try:
                if self._results(spec).find(spec).record is None:
                    self._one(spec)
            except EcholibError as error:
                self.at_work, self.outcome.failed[self._name(spec)] = "", str(error)
                self.say(f"{self._name(spec)}: {error}")

    def _one(self, spec: Spec) -> None:
        """Compute one result after those that it builds on, and copy it to ``results/``."""
        run = spec if isinstance(spec, RunSpec) else spec.run
        for parent in [] if run is None else chain(run)[:-1] if run is spec else chain(run):
            self._weights(parent)
        self._ensure(self.ledger, spec)

    def _weights(self, run: RunSpec) -> None:
        """Make sure that a run's weights are here, if need be by training it again."""
        if self.ledger.runs.find(run).record is None:
            self._one(run)
            return
        try:
            self.ledger.runs.weights_of(run)
        except RecordError:
            self.say(f"{self._name(run)}: its weights are on another machine, so it is trained again")
            self._ensure(replace(self.ledger, anew=True), run)

    def _ensure(self, ledger: Ledger, spec: Spec) -> None:
        """Compute one result, going on from a stored checkpoint where there is one."""
        if isinstance(spec, RunSpec) and torch.cuda.is_available() and self.clock.left() < LEAST:
            raise TimeUp
        self.at_work = self._name(spec)
        with self.clock.limit():
            if isinstance(spec, RunSpec) and self.keeper is not None:
                stamp = {"code": run_code(spec), "data": ledger.fingerprint_of(spec.data)}
                said = unfinished.restore(self.keeper.results, ledger.runs.folder(spec), stamp)
                if said:
                    self.say(f"{self.at_work}: {said}")
            record = (ledger.runs if isinstance(spec, RunSpec) else ledger.evaluations).ensure(spec).record
        self.at_work = ""
        self.outcome.finished.append(self._name(spec))
        self.say(f"{self._name(spec)}: {_found(record)}")
        if self.keeper is not None:
            self._keep(spec)

    def _keep(self, spec: Spec) -> None:
        """Copy a finished result to ``results/``; weights that nothing waits for any more need not lie there."""
        if not isinstance(spec, RunSpec):
            self.keeper.evaluation(spec)
            done = [spec.run] if spec.run is not None else []
        else:
            self.keeper.run(spec, weights=self._is_awaited(spec), most=self.most)
            unfinished.drop(self.keeper.results, spec.key)
            done = spec.parents.values()
        for run in done:
            if not self._is_awaited(run) and run.key not in self.keeper.asked["weights"]:
                (self.keeper.results / "runs" / f"{run.key}.{WEIGHTS}").unlink(missing_ok=True)

    def _is_awaited(self, run: RunSpec) -> bool:
        """Does another run that is wanted and not finished build on this one, or an evaluation?"""
        for spec in self.specs:
            users = spec.parents.values() if isinstance(spec, RunSpec) else (spec.run,)
            if any(one is not None and one.key == run.key for one in users) and self._results(spec).find(spec).record is None:
                return True
        return False

    def _results(self, spec: Spec):
        return self.ledger.runs if isinstance(spec, RunSpec) else self.ledger.evaluations

    @staticmethod
    def _name(spec: Spec) -> str:
        return f"{'run' if isinstance(spec, RunSpec) else 'evaluation'} {spec.key}  {spec.label}"

    # -- the end -------------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Copy what was stopped, and say what was done and what is left."""
        self.outcome.stopped = self.at_work
        for spec in self.specs if self.keeper is not None else ():
            folder = self.ledger.runs.folder(spec)
            if isinstance(spec, RunSpec) and unfinished.stopped(folder):
                size, there = unfinished.store(self.keeper.results, folder, self.most)
                where = f"in results/{self.workspace.profile.name}/{unfinished.FOLDER}" if there else \
                    f"on this machine alone: {size / 1e6:.0f} MB are more than {self.most / 1e6:.0f}; elsewhere it begins again"
                self.say(f"{self._name(spec)}: stopped; its checkpoint is {where}")
        self.outcome.left = sum(self._is_left(spec) for spec in self.specs)
        self.say(f"{len(self.outcome.finished)} finished, {len(self.outcome.failed)} failed, {self.outcome.left} of "
                 f"{len(self.specs)} left; {hours(self.clock.passed())}. The same command goes on from here")

    def _is_left(self, spec: Spec) -> bool:
        try:
            return self._results(spec).find(spec).record is None
        except EcholibError:
            return True


def _found(record: object) -> str:
    """What is said of a finished result."""
    if not isinstance(record, Record):
        return f"{record.studies} studies, {record.frames} frames"
    speed = ""
    if record.train_seconds > 0:
        speed = f", {record.steps * record.spec.train.batch / record.train_seconds:,.0f} clips/s"
    if "overall" not in record.scores:
        return f"{record.steps} steps{speed}"
    return f"Dice {100 * record.dice.mean:.2f} ({100 * record.dice.low:.2f}–{100 * record.dice.high:.2f}){speed}"
