"""Results of Table 3 whose Dice is known, without a network: for tests of its page and of the scorecard."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd

from echolib.evaluation.half_cycles import phases_of
from echolib.papers.simlvseg.table3 import WITH, WITHOUT, Results

QUALITY = ("Good", "Medium", "Poor")
WAYS = (("before", "ignored"), ("after", "ignored"), ("before", "kept"))


def evaluation(shift: dict[str, float], seed: int, patients: int = 30, frames: int = 9, key: str = "") -> SimpleNamespace:
    """Half cycles of 1,000 labelled and 1,000 predicted px, so that Dice is the share of them that meet.

    Every third patient is of poor quality. Dice is that of the patient (the same for every network) plus ``shift`` of the
    phase ("all": of every phase) plus a little noise of the seed.
    """
    rng, noise = np.random.default_rng(0), np.random.default_rng([1, seed])
    studies, rows = [], []
    for i in range(patients):
        ed, es = (0, frames - 1) if i % 4 else (frames - 1, 0)
        name = f"patient{i:04d}_4CH"
        studies.append((name, name[:11], "4CH", QUALITY[i % 3], "test", "ED" if ed == 0 else "ES", frames, frames))
        level = 0.8 + rng.normal(0, 0.03)
        for frame, phase in enumerate(phases_of(np.arange(frames), ed, es)):
            share = level + shift.get("all", 0) + shift.get(phase, 0) + noise.normal(0, 0.002)
            rows.append((name, frame, phase, round(1000 * share), 1000, 1000))
    columns = ("study", "patient", "view", "quality", "split", "first", "frames", "scored")
    record = SimpleNamespace(key=key or f"{seed:016x}", frames=len(rows), studies=patients)
    return SimpleNamespace(record=record, studies=pd.DataFrame(studies, columns=columns), frames=pd.DataFrame(
        rows, columns=("study", "frame", "phase", "intersection", "predicted_px", "traced_px")))


def results(shift: dict[str, float], seeds: int = 3, resamples: int = 400, **options: int) -> Results:
    """Two networks, the pre-trained one better by ``shift``; zeros as padding cost every network 0.02, kept aspect 0.03."""
    cost = {("before", "ignored"): 0.0, ("after", "ignored"): -0.02, ("before", "kept"): -0.03}
    found = {}
    for group, more in ((WITHOUT, {}), (WITH, shift)):
        for way in WAYS:
            own = more | {"all": more.get("all", 0) + cost[way]}
            found[(group, *way)] = [evaluation(own, seed, **options) for seed in range(seeds)]
    return Results(found, resamples)
