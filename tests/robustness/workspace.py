"""A workspace of a tiny profile whose trainings take no time but leave real weights."""

from __future__ import annotations

import json
from pathlib import Path

from pytest import MonkeyPatch

from echolib.config import Profile
from echolib.files import locked
from echolib.ledger.ledger import Ledger
from echolib.ledger.workspace import Workspace
from echolib.papers.simlvseg.runs import segment_run
from tests.ledger.standin import scored_at_once, trained_at_once

RUNS = 3


def workspace(root: Path) -> Workspace:
    """The workspace in ``root``: four phantom studies, narrow networks."""
    profile = Profile.model_validate({
        "name": "tiny", "purpose": "a test", "quotable": False, "seeds": [0], "width": 0.125, "bootstrap": 200,
        "echonet": {"layout": "echonet", "channels": 1,
                    "phantom": {"train": 2, "val": 1, "test": 1, "seed": 3, "frames": [16, 18]}},
        "clip_3d": {"frames": 16}, "clip_si": {"frames": 4, "period": 2},
        "pretrain": {"epochs": 1, "batch": 1}, "segment": {"epochs": 1, "batch": 1}, "framewise": {"epochs": 1, "batch": 2}})
    return Workspace(root=root, profile=profile, build=root / "build" / "tiny")


def build(root: Path, seen: str) -> None:
    """What ``make book`` does up to the notebooks; writes what it found to ``seen``."""
    def note(spec):
        with locked(root / "trained.lock"), open(root / "trained.txt", "a") as log:
            log.write(spec.key + "\n")

    ledger = Ledger(workspace(root), progress=False)
    profile = ledger.workspace.profile
    with MonkeyPatch.context() as patch:
        trained_at_once(patch, note)
        scored_at_once(patch)
        specs = [segment_run(profile, "unet3d", seed=0, pretrained=True), segment_run(profile, "nnunet2d", seed=0)]
        records = ledger.require([specs[0].parents["init"], *specs])
    (root / seen).write_text(json.dumps({"data": ledger.store.fingerprint,
                                         "records": [record.model_dump(mode="json") for record in records]}))
