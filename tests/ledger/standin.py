"""Trainings that take no time but leave real weights, for tests of what the ledger does around them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from echolib import models
from echolib.ledger import runs
from echolib.ledger.committed import Found
from echolib.training.recipe import skeleton


@dataclass
class Outcome:
    """What a training gives."""

    steps: int = 7
    seconds: float = 0.5
    best_epoch: int = 2
    best_score: float | None = 0.8


def frame_scores(seed: int) -> pd.DataFrame:
    """Made-up scores of 24 frames of 12 patients."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(12):
        for frame, phase in ((4, "ED"), (9, "ES")):
            both = int(rng.integers(600, 900))
            rows.append({"study": f"s{i}", "patient": f"s{i}", "frame": frame, "phase": phase, "dice": 2 * both / 2000,
                         "intersection": both, "predicted_px": 1000, "traced_px": 1000})
    return pd.DataFrame(rows)


def trained_at_once(patch, note: Callable[[object], None] = lambda spec: None) -> None:
    """From now on a training writes the weights that its network begins with; ``note`` is told of each specification.

    Args:
        patch: a monkeypatch, or what ``MonkeyPatch.context`` gives.
        note: called with the run's specification.
    """
    def fit(recipe, folder, **_):
        note(recipe.spec)
        models.save_weights(skeleton(recipe.spec), folder / "weights.safetensors", {"spec": recipe.spec.key})
        (folder / "log.csv").write_text("epoch,step,loss\n1,1,0.5\n")
        return Outcome()

    patch.setattr(runs, "fit", fit)


def scored_at_once(patch) -> None:
    """From now on every segmenter has the scores of :func:`frame_scores`."""
    def table(network, store, spec, **_):
        return None if spec.recipe.gives == "clip" else frame_scores(spec.seed)

    patch.setattr(runs, "score_table", table)


def untrained_runs(patch) -> None:
    """Every run counts as finished, with the weights that its network begins with: for tests of what comes after a run."""
    def ensure(self, spec):
        folder = self.folder(spec)
        if not (folder / "weights.safetensors").is_file():
            folder.mkdir(parents=True)
            net = models.build(spec.model.name, width=spec.model.width, frames=spec.clip.frames, seed=0)
            models.save_weights(net, folder / "weights.safetensors", {})
        return Found(None, "untrained")

    patch.setattr(runs.Runs, "ensure", ensure)
