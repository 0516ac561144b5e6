"""A checkout whose records are kept in ``results/``, for the tests of keeping and of using what was kept."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from echolib.evaluation.kinds.threshold import ThresholdSpec
from echolib.evaluation.kinds.video import VideoSpec
from echolib.ledger import runs
from echolib.ledger.ledger import Ledger
from echolib.ledger.workspace import Workspace
from echolib.pages.experiment import Needs
from echolib.papers import book as papers
from tests.small import catalogue, entry, two_pages


def pages(patch: pytest.MonkeyPatch) -> None:
    """Two pages (see ``small.two_pages``). ``one`` draws its run's network and log, shows the baseline and an evaluation of
    the network and one of the exact masks; the frames of the latter are drawn."""
    two_pages(patch)
    fit = runs.fit

    def and_log(recipe, folder, **options):
        (folder / "log.csv").write_text("epoch,step,loss\n1,1,0.123456789\n")
        return fit(recipe, folder, **options)

    def more(profile, options):
        run = entry("one", unet3d=True).runs(profile)["unet3d"][0]
        exact, network = (VideoSpec(run=r, data=profile.echonet, studies=1) for r in (None, run))
        shown = (exact, network, ThresholdSpec(data=profile.echonet))
        return Needs(evaluations=shown, weights=(run,), logs=(run,), bulk=(exact,))

    patch.setattr(runs, "fit", and_log)
    patch.setattr(papers, "BOOK", catalogue(entry("one", more=more, unet3d=True), entry("two", nnunet2d=False)))


def ledger_of(workspace: Workspace, **options) -> Ledger:
    return Ledger(workspace, say=lambda text: None, progress=False, **options)


def specs(workspace: Workspace):
    """(pre-trained run of page one, run of page two)."""
    return tuple(papers.BOOK.needs(name, workspace.profile).runs[0] for name in ("one", "two"))


def counted(monkeypatch) -> list[str]:
    """The label of every training from now on."""
    log, fit = [], runs.fit

    def noted(recipe, *args, **options):
        log.append(recipe.spec.label)
        return fit(recipe, *args, **options)

    monkeypatch.setattr(runs, "fit", noted)
    return log


def results(workspace: Workspace, kind: str = "runs") -> Path:
    return workspace.root / "results" / "tiny" / kind


def sums_again(folder: Path, key: str) -> None:
    """Write a key's sums anew, as if the files had been like that when they were kept."""
    parts = {p.name.removeprefix(f"{key}."): p for p in folder.glob(f"{key}.*") if p.suffix != ".sha256"}
    (folder / f"{key}.sha256").write_text("".join(f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {key}.{n}\n" for n, p in
                                                  sorted(parts.items())))
