"""kill -9 of the whole batch at ten random moments, then the same command again: the book is complete and nothing was repeated.

The batch is the real one: Snakemake, a process for every job, kernels, trainings, pages. Only the book is small.
Minutes long:  python -m pytest -m slow tests/robustness/test_killed_batch.py -s
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.reproduce.small import write_book

WORDS = [sys.executable, "-m", "echolib", "batch", "--profile", "tiny", "--jobs", "2", "--threads", "1"]
MOMENTS = 10


def start(root: Path) -> subprocess.Popen:
    with open(root / "said.txt", "a", encoding="utf-8") as said:
        return subprocess.Popen(WORDS, cwd=root, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)


def kill_all(running: subprocess.Popen) -> None:
    """SIGKILL to the batch and to every process below it, as a machine that loses its power would."""
    family = [running.pid, *(child.pid for child in psutil.Process(running.pid).children(recursive=True))]
    for pid in family:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:  # it ended between the two lines
            continue
    running.wait()


def records(root: Path) -> dict[str, tuple[int, bytes]]:
    """Finished runs: when each record was written (ns), and what it says."""
    return {path.parent.name: (path.stat().st_mtime_ns, path.read_bytes())
            for path in (root / "build" / "tiny" / "runs").glob("*/record.json")}


def check_whole(root: Path) -> None:
    """What lies there is whole: records, executed notebooks, and pages with their result or with a note that says what lacks."""
    for _, content in records(root).values():
        assert json.loads(content)["provenance"]
    for path in (root / "build" / "tiny" / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        assert [cell["outputs"] for cell in cells if cell["cell_type"] == "code"][-1], f"{path.name} is half executed"
    html = root / "build" / "tiny" / "html"
    assert not html.exists() or (html / "index.html").is_file(), "a book without its home page"
    for name in ("one", "two"):
        page = html / "notebooks" / f"{name}.html"
        if html.exists():
            text = page.read_text(encoding="utf-8")
            assert text.rstrip().endswith("</html>"), f"{name}.html is half written"
            assert f"{name} of tiny" in text or "This page could not be made" in text, f"{name}.html: neither result nor note"


@pytest.mark.slow
def test_killed_at_ten_random_moments(tmp_path):
    whole = write_book(tmp_path / "whole")
    began = time.monotonic()
    assert start(whole).wait() == 0, (whole / "said.txt").read_text(encoding="utf-8")
    took, rng = time.monotonic() - began, random.Random(2026)

    root = write_book(tmp_path / "killed")
    seen: dict[str, tuple[int, bytes]] = {}
    early = 0
    for moment in range(MOMENTS):
        running = start(root)
        try:
            running.wait(timeout=took * rng.uniform(0.05, 0.98))
        except subprocess.TimeoutExpired:
            kill_all(running)
            early += 1
        now = records(root)
        assert {key: now.get(key) for key in seen} == seen, f"a finished run was repeated or lost at moment {moment}"
        seen = now
        check_whole(root)
        print(f"moment {moment}: {len(seen)} runs finished", flush=True)
    assert early >= 3, "hardly a signal came in time: this test looked at nothing"
    assert start(root).wait() == 0, (root / "said.txt").read_text(encoding="utf-8")
    after = records(root)
    assert {key: after[key] for key in seen} == seen
    assert set(after) == set(records(whole))
    check_whole(root)
    for name in ("one", "two"):
        assert f"{name} of tiny" in (root / "build" / "tiny" / "html" / "notebooks" / f"{name}.html").read_text(encoding="utf-8")
    assert not list((root / "build").rglob("*.part"))
