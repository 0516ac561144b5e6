"""The batch: what runs, what a failure stops, what a kill costs, and which device a job gets. Jobs here take no time."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from echolib.batch import devices
from echolib.batch import jobs as batch
from echolib.batch.jobs import Options, jobs_of, settled
from echolib.batch.plan import Cost, Plan, Step
from echolib.errors import ConfigError
from tests.batch.standin import NEEDS, REPOSITORY, checkout

EVERYTHING = {f"{verb} {name}" for name in NEEDS if name != "book" for verb in ("begin", "end")} | {"book without 0"}


def start(root: Path, jobs: int = 2, **environment: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "tests.batch.standin", str(root), str(jobs)], cwd=REPOSITORY,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
                            env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | environment)


def finish(root: Path, jobs: int = 2) -> tuple[int, str]:
    running = start(root, jobs)
    said = running.communicate(timeout=600)[0]
    return running.returncode, said


def journal(root: Path) -> list[str]:
    path = root / "journal"
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def outcome(root: Path) -> set[str]:
    return {path.name for path in (root / "out").iterdir()}


def test_jobs_run_in_order_and_only_what_is_left_runs_again(tmp_path):
    root = checkout(tmp_path)
    (root / "out" / "run-b").write_text("whole")  # finished before, by whatever means
    status, said = finish(root)
    assert status == 0, said
    lines = journal(root)
    assert set(lines) == EVERYTHING - {"begin run-b", "end run-b"} and len(lines) == len(set(lines))
    for name in set(NEEDS) - {"run-b", "book"}:
        assert all(lines.index(f"end {need}") < lines.index(f"begin {name}") for need in set(NEEDS[name]) - {"run-b"})
    assert lines[-1] == "book without 0"
    assert "run-a1  label of run-a1: not run yet" in said, "the ledger's reason is printed"
    (root / "out" / "run-b").unlink()  # stale, as the ledger would say
    assert finish(root)[0] == 0
    assert journal(root)[len(lines):] == ["begin run-b", "end run-b", "again notebook-two", "end notebook-two", "book without 0"]


@pytest.mark.parametrize(("fault", "words"), [
    ("memory", "was killed (signal 9): for lack of memory, or by the scheduler"),
    ("scheduler", "was ended from outside before it could say why"),
    pytest.param("the CSV is missing", "failed (status 1): the CSV is missing", marks=pytest.mark.slow),
])
def test_a_job_that_fails_stops_its_page_and_no_other(tmp_path, fault, words):
    root = checkout(tmp_path)
    (root / "fault-run-b").write_text(fault)
    status, said = finish(root)
    assert status != 0
    error = said.partition("of the batch did not end well:")[2]
    line = next(line for line in error.splitlines() if line.startswith("  run-b "))
    assert words in line and "[pages: two]" in line and "logs/run-b.log" in line
    assert "page two: it lacks run-b" in error and "run-a1 (" not in error
    assert outcome(root) == set(NEEDS) - {"run-b", "notebook-two"}, "page one and the book are made all the same"
    before = len(journal(root))
    status, said = finish(root)
    assert status == 0, said
    assert set(journal(root)[before:]) == {"begin run-b", "end run-b", "begin notebook-two", "end notebook-two", "book without 0"}


def killed_and_repeated(root: Path, moments: list[int]) -> None:
    """Kill a batch, with all its processes, once its journal has so many lines; then let it end."""
    for moment in moments:
        running = start(root)
        while len(journal(root)) < moment and running.poll() is None:
            time.sleep(0.02)
        for process in [*children(running.pid), running.pid]:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:  # it ended by itself meanwhile
                continue
        running.communicate(timeout=60)
    status, said = finish(root)
    assert status == 0, said
    lines = journal(root)
    assert not [line for line in lines if line.startswith("again")], "a finished job was asked for again"
    ends = [line for line in lines if line.startswith("end")]
    assert len(ends) == len(set(ends)) and outcome(root) == set(NEEDS), "nothing half remains"
    assert lines[-1] == "book without 0" and (root / "out" / "book").read_text() == ""


def children(pid: int) -> list[int]:
    import psutil

    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def test_killed_twice_then_the_same_command(tmp_path):
    killed_and_repeated(checkout(tmp_path), [1, 6])


@pytest.mark.slow
def test_killed_at_ten_random_moments_then_the_same_command(tmp_path):
    moments = sorted(random.Random(4).choices(range(14), k=10))
    killed_and_repeated(checkout(tmp_path), moments)


def test_only_the_batch_process_is_killed_and_the_next_call_waits(tmp_path):
    root = checkout(tmp_path)
    running = start(root)
    while not journal(root) and running.poll() is None:
        time.sleep(0.02)
    running.kill()  # Snakemake and the jobs live on
    status, said = finish(root)
    assert status == 0, said
    assert not [line for line in journal(root) if line.startswith("again")]


def test_a_job_that_the_scheduler_ends_before_it_begins_is_named(tmp_path):
    jobs = jobs_of(small_plan(), settled(Options(executor="slurm")))
    (tmp_path / "status").mkdir()
    assert batch.failures(tmp_path, jobs) == {"run-k2": ""}, "what waits for it did not fail by itself"
    (tmp_path / "status" / "run-k2").write_text("began\n")
    (tmp_path / "status" / "book").write_text("2\n")
    assert batch.failures(tmp_path, jobs) == {"run-k2": "began", "book": "2"}
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "book.log").write_text("[ 3 s] pages\necholib: 1 pages were not made\n")
    text = batch.describe(small_plan(), tmp_path, {"run-k2": "", "book": "2"})
    assert "run-k2 (two) did not begin" in text and "book (pages) failed (status 2): 1 pages were not made" in text


# -- which jobs ------------------------------------------------------------------------------------------------------

def small_plan() -> Plan:
    cost = Cost(40_000.0, 10**6, "arithmetic", memory=5 * 10**9)
    return Plan("smoke", "p", (
        Step("store-s", "store", "s", "s", "done", "packed"),
        Step("run-k1", "run", "k1", "one", "done", "finished", needs=("store-s",)),
        Step("run-k2", "run", "k2", "two", "to do", "the code changed", needs=("store-s", "run-k1"), cost=cost),
        Step("notebook-n", "notebook", "n", "N", "to do", "waits", needs=("store-s", "run-k2"), pages=("n",)),
        Step("book", "book", "book", "pages", "to do", "w", needs=("notebook-n",))), {})


def test_a_job_asks_for_what_it_needs_and_waits_for_pending_steps_only():
    run, notebook, book = jobs_of(small_plan(), settled(Options(executor="slurm", gpu=1, partition="long")))
    assert (run.needs, notebook.needs, book.needs) == ((), ("run-k2",), ("notebook-n",))
    assert (run.gpu, run.mem_mb, run.runtime, run.threads, run.partition) == (1, 7500, 1440, 4, "long")
    assert book.gpu == 0 and book.command.endswith("-m echolib pages --profile smoke")
    assert "-m echolib.batch.devices" in run.command and run.command.endswith("-m echolib run k2 --profile smoke")
    assert "the code changed" in run.news


def test_options_that_make_no_sense_are_refused(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for options, words in ((Options(executor="pbs"), "local, slurm"), (Options(jobs=0), "jobs = 0"),
                           (Options(gpu=1), "none is visible")):
        with pytest.raises(ConfigError, match=words):
            settled(options)


def test_without_options_there_is_a_job_for_each_slot_of_a_device(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    monkeypatch.setenv(devices.SHARE, "2")
    assert (settled(Options()).jobs, settled(Options()).gpu) == (6, 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert (settled(Options()).jobs, settled(Options()).gpu) == (1, 0)


def test_logs_of_old_calls_go(tmp_path):
    for k in range(8):
        (tmp_path / f"2026010{k}-000000-000000").mkdir()
    batch._new_folder(tmp_path)
    assert len(list(tmp_path.iterdir())) == batch.KEPT_CALLS - 1


# -- devices ---------------------------------------------------------------------------------------------------------

def take(folder: str, share: int, together, said) -> None:
    """Claim a device at the same moment as the others, and hold it until all have one or none is left."""
    together.wait()
    said.put(devices.claim(["0", "1", "GPU-7/3"], share=share, folder=Path(folder), wait_s=0))
    together.wait()


@pytest.mark.parametrize("share", [1, 2])
def test_no_two_jobs_get_the_same_slot(tmp_path, share):
    context = multiprocessing.get_context("fork")
    count = 8
    together, said = context.Barrier(count), context.Queue()
    jobs = [context.Process(target=take, args=(str(tmp_path), share, together, said)) for _ in range(count)]
    for one in jobs:
        one.start()
    found = [said.get(timeout=60) for _ in range(count)]
    for one in jobs:
        one.join(60)
    got = sorted(device for device, _ in filter(None, found))
    assert got == sorted(["0", "1", "GPU-7/3"] * share)


def test_a_killed_job_gives_its_device_back(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "5", "TMPDIR": str(tmp_path)}
    script = "import os, time; print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); time.sleep(600)"
    held = subprocess.Popen([sys.executable, "-m", "echolib.batch.devices", sys.executable, "-c", script], cwd=REPOSITORY,
                            env=environment, stdout=subprocess.PIPE, text=True)
    assert [held.stdout.readline().strip() for _ in range(2)] == ["device 5", "5"]
    folder = tmp_path / f"echolib-devices-{os.getuid()}"
    assert devices.claim(["5"], folder=folder, wait_s=0) is None, "the command itself holds the lock"
    held.kill()
    held.wait(timeout=60)
    device, lock = devices.claim(["5"], folder=folder, wait_s=10)
    os.close(lock)
    assert device == "5"


@pytest.mark.parametrize(("named", "found"), [("0,1", ["0", "1"]), ("", []), ("-1", []), (" GPU-ab , 3", ["GPU-ab", "3"])])
def test_visible_devices_are_those_that_the_scheduler_names(monkeypatch, named, found):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert devices.visible() == found


def test_a_share_that_is_no_number_is_refused(monkeypatch):
    monkeypatch.setenv(devices.SHARE, "two")
    with pytest.raises(ConfigError, match="'two'"):
        devices.per_device()
