"""Segmenter, masks of every frame, teacher, student: killed at ten random moments, the chain ends in the same bytes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from echolib.config import (
    AugmentSpec,
    ClipSpec,
    DataSpec,
    ModelSpec,
    OptimiserSpec,
    PhantomSpec,
    Profile,
    RunSpec,
    SubsetSpec,
    TrainSpec,
)
from echolib.data.frame_masks import MASKS
from echolib.ledger.ledger import Ledger
from echolib.ledger.workspace import Workspace
from echolib.training.recipes.cyclic import Cyclic
from echolib.training.recipes.distil import Distil
from echolib.training.recipes.regress import Regress
from tests.robustness.children import DONE, end, start

DATA = DataSpec(layout="echonet", size=32, channels=1, phantom=PhantomSpec(train=6, val=1, test=2, seed=4, frames=(24, 26)))
KILLS = 10


def chain() -> list[RunSpec]:
    """The three runs."""
    common = dict(data=DATA, subset=SubsetSpec(labelled=(1, 2)))
    cycle = Cyclic(frames=12, period=2, template=5, scale="spread", measured=1)
    first = RunSpec(recipe=cycle, model=ModelSpec(name="deeplabv3_r50", width=0.125), clip=ClipSpec(frames=1), **common,
                    train=TrainSpec(epochs=6, batch=3, optimiser=OptimiserSpec(name="sgd", lr=1e-4, momentum=0.9), augment=None))
    regress = dict(model=ModelSpec(name="r2plus1d_18", width=0.125), clip=ClipSpec(frames=4, period=2), **common)
    train = TrainSpec(epochs=8, batch=3, optimiser=OptimiserSpec(lr=1e-3), augment=AugmentSpec(jitter_p=0, clahe_p=0, rotation=0))
    second = RunSpec(recipe=Regress(spread=10), parents={"masks": first}, train=train, **regress)
    third = RunSpec(recipe=Distil(unlabelled=2, spread=10), parents={"teacher": second, "masks": first}, train=train, **regress)
    return [first, second, third]


def ledger(root: Path) -> Ledger:
    size = {"epochs": 1, "batch": 1}
    profile = Profile(name="tiny", purpose="a test", quotable=False, seeds=(0,), echonet=DATA, pretrain=size, segment=size,
                      framewise=size, bootstrap=200)
    return Ledger(Workspace(root, profile, root / "build" / "tiny"), say=lambda text: None, progress=False)


def make(root: Path) -> None:
    ledger(root).require(chain())


def left(root: Path) -> dict[str, object]:
    """Everything that the chain gave and that has no time in it."""
    made, out = ledger(root), {}
    for spec in chain():
        folder = made.runs.folder(spec)
        out[spec.recipe.kind] = (folder / "weights.safetensors").read_bytes()
        log = pd.read_csv(folder / "log.csv").drop(columns="seconds")
        out[f"log of {spec.recipe.kind}"] = log.to_csv(index=False)
        out[f"scores of {spec.recipe.kind}"] = pd.read_parquet(folder / "scores.parquet").to_csv()
        assert not list(folder.glob(".*.part")) and not (folder / "checkpoint.pt").exists()
    product, = (path for path in (made.workspace.build / "products").iterdir() if path.is_dir())
    out["masks"] = np.load(product / MASKS).tobytes()
    return out


def test_a_chain_killed_at_ten_random_moments_ends_in_the_same_bytes(tmp_path):
    data = tmp_path / "data"
    assert ledger(data).store.size == 32  # cohort and store, which every attempt begins with
    whole = tmp_path / "whole"
    shutil.copytree(data, whole)
    began = time.monotonic()
    assert end(start(partial(make, whole)), 120) == DONE
    took, wanted, rng, kills, rounds = time.monotonic() - began, left(whole), random.Random(2), 0, 0
    while kills < KILLS:
        root = tmp_path / f"round{rounds}"
        shutil.copytree(data, root)
        status, rounds = None, rounds + 1
        while status != DONE:
            child = start(partial(make, root))
            if kills < KILLS:
                time.sleep(rng.uniform(0.05, 0.4) * took)
                os.kill(child, signal.SIGKILL)
            status = end(child, 120)
            assert status in (DONE, -signal.SIGKILL)
            kills += status != DONE
        assert left(root) == wanted
    before = {spec.recipe.kind: ledger(root).runs.folder(spec).stat().st_mtime_ns for spec in chain()}
    make(root)
    assert {s.recipe.kind: ledger(root).runs.folder(s).stat().st_mtime_ns for s in chain()} == before, "nothing is repeated"
