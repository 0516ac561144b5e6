"""The batch through a real SLURM of one node: everything is made; a job that the scheduler kills is named, and made next time.

Run as root on a machine with the packages slurm-wlm and munge:  python -m pytest -m slurm tests/slurm -s
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.small import write_book

pytestmark = pytest.mark.slurm
SCRIPT = Path(__file__).with_name("one_node.sh")
@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A running SLURM; stopped at the end, whatever happened."""
    folder = tmp_path_factory.mktemp("slurm")
    for parent in (folder, *folder.parents[:2]):  # pytest's folders are closed to others, and munged runs as one
        parent.chmod(0o755)
    try:
        print(subprocess.run([SCRIPT, "start", folder], check=True, capture_output=True, text=True).stdout)
        yield
    finally:
        subprocess.run([SCRIPT, "stop", folder], check=True)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """The package as it is, with a tiny book."""
    return write_book(tmp_path_factory.mktemp("small") / "checkout")


def start(root: Path) -> subprocess.Popen:
    words = [sys.executable, "-m", "echolib", "batch", "--profile", "tiny", "--executor", "slurm", "--gpu", "0", "--threads", "1",
             "--partition", "test", "--", "--slurm-no-account", "--slurm-status-command", "squeue",
             "--slurm-init-seconds-before-status-checks", "5", "--latency-wait", "10", "--seconds-between-status-checks", "5"]
    return subprocess.Popen(words, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def said(running: subprocess.Popen) -> str:
    text = running.communicate(timeout=1800)[0]
    print(text)
    return text


def jobs(root: Path) -> dict[str, dict]:
    """What the last call handed to Snakemake, by id."""
    folder = sorted((root / "build" / "tiny" / "batch").iterdir())[-1]
    return {job["id"]: job for job in json.loads((folder / "jobs.json").read_text())}


def records(root: Path) -> dict[str, int]:
    """When each record was written, by key, ns."""
    return {path.parent.name: path.stat().st_mtime_ns for path in (root / "build" / "tiny" / "runs").glob("*/record.json")}


def kill_first_run(root: Path, running: subprocess.Popen) -> str:
    """Cancel the job of the page ``two`` once SLURM runs it; its key."""
    while running.poll() is None:
        queue = subprocess.run(["squeue", "-h", "-t", "RUNNING", "-o", "%i %k"], check=True, capture_output=True, text=True)
        for line in queue.stdout.splitlines():
            number, _, comment = line.partition(" ")
            for job in jobs(root).values():
                if job["rule"] == "run" and job["name"] in comment and "nnunet2d" in job["news"]:
                    subprocess.run(["scancel", number], check=True)
                    return job["name"]
        time.sleep(0.2)
    raise AssertionError("the job never ran:\n" + said(running))


def test_one_job_killed_on_purpose_then_the_same_command(slurm, checkout):
    running = start(checkout)
    killed = kill_first_run(checkout, running)
    text = said(running)
    assert running.returncode != 0
    assert re.search(rf"run-{killed} \(nnunet2d 1x1 seed0\) \[pages: two\] (was ended|did not begin)", text)
    assert "page two: run" in text and "not run yet" in text
    html = checkout / "build" / "tiny" / "html"
    assert "one of tiny" in (html / "notebooks" / "one.html").read_text(encoding="utf-8")
    assert "This page could not be made" in (html / "notebooks" / "two.html").read_text(encoding="utf-8")
    before = records(checkout)
    assert len(before) == 2 and killed not in before

    running = start(checkout)
    text = said(running)
    assert running.returncode == 0, text
    assert set(jobs(checkout)) == {f"run-{killed}", "notebook-two", "book"}, "nothing that had finished was sent again"
    assert "two of tiny" in (html / "notebooks" / "two.html").read_text(encoding="utf-8")
    after = records(checkout)
    assert set(after) == {*before, killed} and all(after[key] == before[key] for key in before)
    asked = {job["rule"]: (job["threads"], job["gpu"], job["mem_mb"] > 0, job["runtime"]) for job in jobs(checkout).values()}
    assert asked["run"] == (1, 0, True, 60)
    assert os.environ.get("SLURM_JOB_ID") is None
