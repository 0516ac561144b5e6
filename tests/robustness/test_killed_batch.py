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

from tests.small import write_book

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


def check_complete(root: Path, whole: Path) -> None:
    """The book that lies there is the one that was never interrupted."""
    check_whole(root)
    assert set(records(root)) == set(records(whole))
    for name in ("one", "two"):
        assert f"{name} of tiny" in (root / "build" / "tiny" / "html" / "notebooks" / f"{name}.html").read_text(encoding="utf-8")
    assert not list((root / "build").rglob("*.part"))


@pytest.mark.slow
def test_killed_at_ten_random_moments(tmp_path):
    """A batch that ends before its signal has a complete book, and the next one begins with nothing."""
    whole = write_book(tmp_path / "whole")
    began = time.monotonic()
    assert start(whole).wait() == 0, (whole / "said.txt").read_text(encoding="utf-8")
    took, rng = time.monotonic() - began, random.Random(2026)

    books, kills, repeats = 0, 0, 0
    while kills < MOMENTS:
        books += 1
        root, seen, ended = write_book(tmp_path / f"killed{books}"), {}, False
        while not ended:
            running, moment = start(root), took * rng.uniform(0.05, 0.95)
            try:
                assert running.wait(timeout=moment if kills < MOMENTS else None) == 0, (root / "said.txt").read_text("utf-8")
                ended = True
            except subprocess.TimeoutExpired:
                kill_all(running)
                kills += 1
            now = records(root)
            assert {key: now.get(key) for key in seen} == seen, f"a finished run was repeated or lost after {kills} kills"
            repeats += len(seen)
            seen = now
            check_whole(root)
            print(f"book {books}, {kills} kills: {len(seen)} runs finished, {'complete' if ended else 'killed'}", flush=True)
        check_complete(root, whole)
    assert repeats, "no run was finished before a kill: nothing could have been repeated"
