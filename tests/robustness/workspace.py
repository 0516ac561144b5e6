"""A workspace of a tiny profile whose trainings take no time but leave real weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from echolib import models
from echolib.config import Profile
from echolib.files import locked
from echolib.ledger import ledger as module
from echolib.ledger.ledger import Ledger
from echolib.ledger.workspace import Workspace
from tests.ledger.test_ledger import frame_scores

RUNS = 3


@dataclass
class Outcome:
    """What a training gives."""

    steps: int = 7
    seconds: float = 0.5
    best_epoch: int = 2
    best_score: float | None = 0.8


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
    def train(spec, store, folder, **_):
        with locked(root / "trained.lock"), open(root / "trained.txt", "a") as log:
            log.write(spec.key + "\n")
        out = 3 if spec.masking and spec.masking.target == "clip" else 1
        network = models.build(spec.model.name, width=spec.model.width, frames=spec.clip.frames, out_channels=out, seed=0)
        models.save_weights(network, folder / "weights.safetensors", {})
        return Outcome()

    ledger = Ledger(workspace(root), progress=False)
    profile = ledger.workspace.profile
    with (patch.object(module, "train_segment", train), patch.object(module, "train_reconstruct", train),
          patch.object(module, "score_split", lambda model, store, spec, split: frame_scores(spec.seed))):
        specs = [profile.segment_run("unet3d", seed=0, pretrained=True), profile.segment_run("nnunet2d", seed=0)]
        records = ledger.require([specs[0].init, *specs])
    (root / seen).write_text(json.dumps({"data": ledger.store.fingerprint,
                                         "records": [record.model_dump(mode="json") for record in records]}))
