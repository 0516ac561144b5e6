"""Where a number came from: the commit, and whether what computes differs from it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from echolib.ledger.provenance import git_state


def git(root: Path, *words: str) -> str:
    identity = ("-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *identity, *words], cwd=root, capture_output=True, text=True, check=True).stdout.strip()


def test_kept_records_are_no_change_of_the_code(tmp_path):
    assert git_state(tmp_path) == ("not a git checkout", False)
    for name in ("echolib/a.py", "results/desk/runs/x.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert git_state(tmp_path) == (commit, False)
    (tmp_path / "results/desk/runs/x.json").write_text("2\n")
    (tmp_path / "results/desk/runs/y.json").write_text("2\n")
    git(tmp_path, "add", "-A")
    assert git_state(tmp_path) == (commit, False)
    (tmp_path / "echolib/a.py").write_text("2\n")
    assert git_state(tmp_path) == (commit, True)
    git(tmp_path, "checkout", "-q", "echolib/a.py")
    (tmp_path / "echolib/a.py").unlink()
    assert git_state(tmp_path) == (commit, True), "deleted"
