"""Makes a book as many jobs, through Snakemake: on this machine, over its GPUs, or on a cluster.

The ledger says what has to be made (:mod:`echolib.batch.plan`); Snakemake only runs it, in order and in parallel. Each call
makes a new plan and hands Snakemake the jobs that are left, with markers of this call in ``build/<profile>/batch/``; so
neither file times nor Snakemake's own memory can contradict the ledger, and whatever was killed, the same command goes on.
A job is an ``echolib`` command, which ends well only when its record is there.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from echolib.batch import devices
from echolib.batch.plan import Plan, Step
from echolib.batch.report import report
from echolib.errors import ConfigError, EcholibError
from echolib.files import write_json
from echolib.hardware import cores
from echolib.ledger.workspace import Workspace
from echolib.words import counted

#: Calls whose logs are kept.
KEPT_CALLS = 5
#: ``echolib`` verb of each kind of step.
VERBS = {"cohort": "cohort", "store": "store", "run": "run", "evaluation": "run", "notebook": "notebook"}
#: Memory of a job, MB, beside what its network needs.
MEMORY_MB = {"cohort": 3000, "store": 2000, "run": 2500, "evaluation": 3000, "notebook": 4000, "book": 3000}
#: Jobs that use a GPU where there is one.
ON_GPU = ("run", "evaluation", "notebook")
EXECUTORS = ("local", "slurm")
#: What a job's marker says -> what happened.
KILLED = {"137": "was killed (signal 9): for lack of memory, or by the scheduler",
          "143": "was ended (signal 15): by the scheduler, perhaps at its time limit",
          "": "did not begin: the scheduler refused it, or ended it at once",
          "began": "was ended from outside before it could say why: by the scheduler, or with the batch"}


class BatchFailed(EcholibError):
    """Jobs of a batch failed; the message names them, their pages, and what to do."""


@dataclass(frozen=True)
class Job:
    """What Snakemake is told of a step.

    Attributes:
        id, rule, name: of the step; ``rule`` is its kind.
        news: what Snakemake says when it begins: the step in words, and the ledger's reason for it.
        command: for a shell, in the checkout.
        needs: ids of the jobs before it, in this call.
        threads, gpu, mem_mb, runtime: the cores, GPUs, MB and minutes that it asks for.
        partition: SLURM partition, "" for the cluster's default.
    """

    id: str
    rule: str
    name: str
    news: str
    command: str
    needs: tuple[str, ...]
    threads: int
    gpu: int
    mem_mb: int
    runtime: int
    partition: str = ""


@dataclass(frozen=True)
class Options:
    """How a batch is run; None is replaced by :func:`settled`.

    Attributes:
        jobs: jobs at the same time. Here: as many as there are slots on GPUs, or 1; on a cluster 100.
        executor: ``local`` or ``slurm``.
        gpu: GPUs of a run, 0 or 1. Here: 1 where there is one; on a cluster 1.
        threads: cores of a run. Here: the cores, shared among the jobs; on a cluster 4.
        partition: SLURM partition, "" for the cluster's default.
        more: further words for Snakemake.
    """

    jobs: int | None = None
    executor: str = "local"
    gpu: int | None = None
    threads: int | None = None
    partition: str = ""
    more: tuple[str, ...] = ()


def run_batch(profile: str, options: Options) -> Path:
    """Make what is missing of a profile's book. Returns its home page.

    Raises:
        ConfigError: Snakemake is not installed, or an option makes no sense.
        BatchFailed: jobs failed or were killed; every page that could be made has been.
    """
    if importlib.util.find_spec("snakemake") is None:
        raise ConfigError("Snakemake is not installed; expected `pip install -c constraints.txt -e .[batch]`, or `echolib book`, "
                          "which needs none")
    workspace, options = Workspace.open(profile), settled(options)
    with _alone(workspace.build / ".batch.lock") as lock:
        folder = _new_folder(workspace.build / "batch")
        plan, jobs = prepare(workspace, folder, options)
        print(report(plan, every=False), flush=True)
        status = _snakemake(workspace, folder, options, lock)
        if status and not _marks(folder):
            raise BatchFailed(f"Snakemake ended with status {status} before it began a job; what it printed stands above")
        if "book" not in _marks(folder):  # a job before it failed: the other pages are built all the same
            write_json(folder / "jobs.json", [asdict(replace(jobs[-1], needs=()))])
            _snakemake(workspace, folder, options, lock)
        failed = failures(folder, jobs)
        if failed or status:
            raise BatchFailed(describe(plan, folder.relative_to(workspace.root), failed))
    return workspace.build.relative_to(workspace.root) / "html" / "index.html"


def prepare(workspace: Workspace, folder: Path, options: Options) -> tuple[Plan, list[Job]]:
    """Plan, and write ``folder/jobs.json`` for the Snakefile; markers of an earlier call in ``folder`` are removed."""
    plan = _plan(workspace)
    jobs = jobs_of(plan, settled(options))
    shutil.rmtree(folder, ignore_errors=True)
    write_json(folder / "jobs.json", [asdict(job) for job in jobs])
    return plan, jobs


def jobs_of(plan: Plan, options: Options) -> list[Job]:
    """A job for every step that is not finished, in an order that respects their needs; the book comes last.

    Args:
        plan: the plan.
        options: settled ones.
    """
    pending = {step.id for step in plan.pending}
    out = []
    for step in plan.pending:
        memory = MEMORY_MB[step.kind] + (0 if step.cost is None else step.cost.memory // 10**6)
        if options.executor == "local":  # more than the machine has would never be scheduled
            memory = min(memory, _total_mb())
        minutes = 60 if step.cost is None else min(1440, max(60, round(3 * step.cost.seconds / 60)))
        gpu = options.gpu if step.kind in ON_GPU else 0
        threads = options.threads if step.kind in (*ON_GPU, "cohort") else 1
        needs = tuple(need for need in step.needs if need in pending)
        out.append(Job(step.id, step.kind, step.name, f"{step.id}  {step.label}: {step.why}", _command(step, plan.profile, gpu),
                       needs, threads, gpu, memory, minutes, options.partition))
    return out


def settled(options: Options) -> Options:
    """The options with every None replaced by what suits this machine, or a cluster.

    Raises:
        ConfigError: an unknown executor, or a number out of range.
    """
    if options.executor not in EXECUTORS:
        raise ConfigError(f"executor {options.executor!r}; expected one of {', '.join(EXECUTORS)}")
    for name, low in (("jobs", 1), ("gpu", 0), ("threads", 1)):
        value = getattr(options, name)
        if value is not None and value < low:
            raise ConfigError(f"{name} = {value}; expected {low} or more")
    here = options.executor == "local"
    slots = len(devices.visible()) * devices.per_device() if here and options.gpu != 0 else 0
    gpu = options.gpu if options.gpu is not None else int(slots > 0 or not here)
    if here and gpu and not slots:
        raise ConfigError("a GPU was asked for and none is visible here; expected --gpu 0")
    jobs = options.jobs or (max(1, slots) if here else 100)
    return replace(options, jobs=jobs, gpu=min(gpu, 1), threads=options.threads or (max(1, cores() // jobs) if here else 4))


def failures(folder: Path, jobs: list[Job]) -> dict[str, str]:
    """Marker by id, of the jobs that did not end well; "" of one that could have begun and did not."""
    marks = _marks(folder)
    ready = [job.id for job in jobs if all((folder / "done" / need).exists() for need in job.needs)]
    return {job.id: marks.get(job.id, "") for job in jobs if marks.get(job.id, "" if job.id in ready else "0") != "0"}


def describe(plan: Plan, folder: Path, failed: dict[str, str]) -> str:
    """What failed, which pages lack it, and what to do.

    Args:
        plan: the plan that was followed.
        folder: of the call, relative to the checkout; its logs are named.
        failed: marker by job id.
    """
    steps = {step.id: step for step in plan.steps}
    lines = [f"{counted(len(failed), 'job')} of the batch did not end well:"]
    for name, mark in failed.items():
        step = steps[name]
        log = folder / "logs" / f"{name}.log"
        said = _last_words(log)
        what = KILLED.get(mark, f"failed (status {mark})" + (f": {said}" if said else ""))
        pages = f" [pages: {', '.join(step.pages)}]" if step.pages else ""
        lines.append(f"  {name} ({step.label}){pages} {what}; log: {log}")
    lines.append("The pages that do not need them are built. Give the same command again: what is finished is not repeated, "
                 "and a training that was killed goes on from its last checkpoint. For lack of memory: fewer jobs at a time, "
                 "or a smaller batch in the profile.")
    return "\n".join(lines)


def _plan(workspace: Workspace) -> Plan:
    from echolib.batch.planner import make_plan  # seconds: it brings the networks along

    return make_plan(workspace)


def _command(step: Step, profile: str, gpu: int) -> str:
    echolib = [sys.executable, "-m", "echolib"]
    words = [*echolib, "pages"] if step.kind == "book" else [*echolib, VERBS[step.kind], step.name]
    if gpu:
        words = [sys.executable, "-m", "echolib.batch.devices", *words]
    return shlex.join([*words, "--profile", profile])


def _snakemake(workspace: Workspace, folder: Path, options: Options, lock: int) -> int:
    """Run Snakemake on the jobs of a call; its exit status."""
    words = [sys.executable, "-m", "snakemake", "--snakefile", "Snakefile", "--directory", ".", "--config",
             f"profile={workspace.profile.name}", f"folder={folder.relative_to(workspace.root).as_posix()}",
             "--keep-going", "--nolock", "--rerun-triggers", "input", "--scheduler", "greedy", "--quiet", "host", "reason"]
    if options.executor == "local":
        slots = max(1, len(devices.visible()) * devices.per_device()) if options.gpu else 1
        words += ["--cores", str(max(cores(), options.jobs * options.threads)), "--jobs", str(options.jobs),
                  "--resources", f"mem_mb={_total_mb()}", f"gpu={slots}"]
    else:
        words += ["--profile", f"profiles/{options.executor}", "--jobs", str(options.jobs)]
    # The lock passes on: should only this process be killed, a second call waits until Snakemake has ended.
    running = subprocess.Popen([*words, *options.more], cwd=workspace.root, pass_fds=(lock,))
    try:
        return running.wait()
    except KeyboardInterrupt:
        running.wait()  # it got the signal too, and ends its jobs
        raise


@contextmanager
def _alone(path: Path) -> Iterator[int]:
    """Hold the lock of a profile's batch; says so when another one holds it, and waits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    held = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another batch of this profile is running; waiting for its end", flush=True)
            fcntl.flock(held, fcntl.LOCK_EX)
        yield held
    finally:
        os.close(held)


def _new_folder(batches: Path) -> Path:
    """A new folder for this call; only the last few are kept."""
    old = sorted(path for path in batches.glob("[0-9]*") if path.is_dir())
    for path in old[:max(0, len(old) - KEPT_CALLS + 1)]:
        shutil.rmtree(path)
    return batches / datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")


def _marks(folder: Path) -> dict[str, str]:
    """Marker by job id: ``began``, or an exit status."""
    return {path.name: path.read_text(encoding="utf-8").strip() for path in sorted((folder / "status").glob("*"))}


def _last_words(log: Path) -> str:
    """The error with which an echolib command ended, from its log; "" when there is none."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    _, found, said = text.rpartition("echolib: ")
    return said.strip()[:2000] if found else ""


def _total_mb() -> int:
    return psutil.virtual_memory().total // 10**6
