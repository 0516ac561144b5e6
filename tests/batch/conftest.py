"""Checkouts with kept records: with the build folder they were computed in, and without."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from echolib.batch.keeping import keep
from echolib.ledger.ledger import Ledger
from echolib.ledger.workspace import Workspace
from echolib.papers import book as papers
from tests.batch.kept import pages
from tests.small import PROFILE, write_checkout


@pytest.fixture(scope="package")
def computed(tmp_path_factory) -> Path:
    """A checkout of a quotable profile in which everything is computed, and kept."""
    root = write_checkout(tmp_path_factory.mktemp("kept") / "checkout")
    (root / "profiles" / "tiny.yml").write_text(PROFILE.replace("quotable: false", "quotable: true"))
    with pytest.MonkeyPatch.context() as patch:
        pages(patch)
        ledger = Ledger(Workspace.open("tiny", root), say=lambda text: None, progress=False)
        for name in papers.BOOK.notebooks:
            needs = papers.BOOK.needs(name, ledger.workspace.profile)
            ledger.require(needs.runs)
            ledger.evaluate(needs.evaluations)
        keep(ledger.workspace, say=lambda text: None)
    return root


@pytest.fixture
def whole(computed, tmp_path, monkeypatch) -> Workspace:
    """A copy of it, build folder and all."""
    shutil.copytree(computed, tmp_path / "whole")
    pages(monkeypatch)
    monkeypatch.delenv("ECHOLIB_ANEW", raising=False)
    return Workspace.open("tiny", tmp_path / "whole")


@pytest.fixture
def fresh(computed, tmp_path, monkeypatch) -> Workspace:
    """A copy without a build folder: what someone else checks out."""
    shutil.copytree(computed, tmp_path / "fresh", ignore=shutil.ignore_patterns("build"))
    pages(monkeypatch)
    monkeypatch.delenv("ECHOLIB_ANEW", raising=False)
    return Workspace.open("tiny", tmp_path / "fresh")
