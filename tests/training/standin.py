"""A store in memory, a tiny network and a run of both, small enough to train in a second.

Run as a program it trains in another process, to be killed: ``python -m tests.training.standin RUN_DIR``.
"""

from __future__ import annotations

import itertools
import sys
import time

import numpy as np
import pandas as pd
import torch
from torch import nn

from echolib.config import AugmentSpec, ClipSpec, DataSpec, ModelSpec, OptimiserSpec, RunSpec, TrainSpec
from echolib.losses import SEGMENTATION, reconstruction_mse, select_traced
from echolib.training.batches import ClipBatches
from echolib.training.engine import fit
from echolib.training.recipe import recipe_class
from echolib.training.recipes.reconstruct import MaskedBatches, Reconstruct
from echolib.training.recipes.segment import Segment, TracedBatches

SIZE = 32
_NUMBER = itertools.count()


class MemoryStore:
    """The face of a ClipStore over a few videos of a bright disk that beats; frame k of a video carries its number."""

    size, channels, fingerprint = SIZE, 1, "0" * 64

    def __init__(self, counts: dict[str, int], seed: int = 0, length: int = 12) -> None:
        rng = np.random.default_rng(seed)
        rows, labels, self._videos, self._masks = [], [], {}, {}
        y, x = np.mgrid[:SIZE, :SIZE]
        for split, count in counts.items():
            for k in range(count):
                name, frames = f"{split}{k}", length + k
                radius = 9 + 3 * np.cos(2 * np.pi * np.arange(frames) / 8)
                disk = np.hypot(y - 15, x - rng.integers(13, 19)) < radius[:, None, None]
                noise = rng.integers(0, 60, (frames, SIZE, SIZE))
                self._videos[name] = np.where(disk, 40, 160)[..., None].astype(np.uint8) + noise[..., None].astype(np.uint8)
                self._videos[name][:, 0, 0, 0] = np.arange(frames)
                for phase, frame in (("ED", 0), ("ES", 4)):
                    self._masks[name, frame] = disk[frame]
                    labels.append((name, frame, phase, int(disk[frame].sum())))
                rows.append((name, split, f"P{k}", frames))
        self.studies = pd.DataFrame(rows, columns=["study", "split", "patient", "frames"]).set_index("study")
        self.labels = pd.DataFrame(labels, columns=["study", "frame", "phase", "area_px"])
        self.frames = np.concatenate([self._videos[name] for name in self.studies.index])
        first = self.studies["frames"].cumsum() - self.studies["frames"]
        self._first, self.path = dict(first.items()), f"memory-{next(_NUMBER)}"

    def rows(self, study: str, indices: np.ndarray) -> np.ndarray:
        return np.where(np.asarray(indices) >= 0, self._first[study] + np.asarray(indices), -1)

    def clip(self, study: str, indices: np.ndarray) -> np.ndarray:
        frames = self._videos[study][indices]
        frames[np.asarray(indices) < 0] = 0
        return frames

    def mask(self, study: str, frame: int) -> np.ndarray:
        return self._masks[study, frame]


class TinyNet(nn.Module):
    """Two convolutions with drop-out between them: every way in which randomness can enter a step."""

    head = ("last.",)

    def __init__(self, out_channels: int = 1, seed: int = 0, norm: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.first = nn.Conv3d(3, 4, 3, padding=1)
            self.norm = nn.BatchNorm3d(4) if norm else nn.Identity()
            self.drop = nn.Dropout3d(0.25)
            self.last = nn.Conv3d(4, out_channels, 3, padding=1)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        return self.last(self.drop(torch.tanh(self.norm(self.first(clip)))))


def run_spec(**changes: object) -> RunSpec:
    """A stage-2 run of 3 epochs of 3 steps; ``changes`` go to the specification, ``train_*`` to its TrainSpec, ``loss`` to its
    recipe, ``init`` to its parents."""
    train = dict(epochs=3, batch=2, optimiser=OptimiserSpec(lr=1e-2, milestones=(2,)), augment=AugmentSpec(pad=2))
    train |= {name.removeprefix("train_"): changes.pop(name) for name in list(changes) if name.startswith("train_")}
    if "init" in changes:
        changes["parents"] = {"init": changes.pop("init")}
    fields = dict(recipe=Segment(loss=changes.pop("loss", "dice_frame")), data=DataSpec(layout="echonet", size=SIZE, channels=1),
                  model=ModelSpec(name="unet3d"), clip=ClipSpec(frames=4, period=2), train=TrainSpec(**train))
    return RunSpec(**{**fields, **changes})


def pretrain_spec(target: str = "clip", **changes: object) -> RunSpec:
    """The stage-1 counterpart of :func:`run_spec`."""
    return run_spec(recipe=Reconstruct(ratio=0.5, target=target), **changes)


def batches(store: MemoryStore, split: str, spec: RunSpec) -> ClipBatches:
    """The batches of a run's recipe on a split."""
    return {"segment": TracedBatches, "reconstruct": MaskedBatches}[spec.recipe.kind](store, split, spec)


def small_store() -> MemoryStore:
    return MemoryStore({"train": 3, "val": 2, "test": 1})


def segment_loss(output: torch.Tensor, batch) -> torch.Tensor:
    return SEGMENTATION["dice_frame"](select_traced(output, batch.position), batch.mask)


def reconstruct_loss(output: torch.Tensor, batch) -> torch.Tensor:
    return reconstruction_mse(output, batch.target)


def train(run_dir, spec: RunSpec | None = None, *, model: nn.Module | None = None, store: MemoryStore | None = None,
          loss=None, validate=None, **options):
    """Train the tiny network by the run's own recipe; ``loss (output, batch)`` and ``validate (network)`` take its place."""
    spec = spec or run_spec()
    recipe = recipe_class(spec.recipe)(spec, store or small_store())
    network = model or TinyNet(recipe.channels(spec))
    recipe.network = lambda run_dir: (network, None)
    if loss is not None:
        recipe.loss = lambda network, batch: loss(network(batch.clip), batch)
    if validate is not None:
        recipe.validate = lambda network, device: validate(network)
    return fit(recipe, run_dir, **{"progress": False, "device": "cpu", "checkpoint_seconds": 1e9, **options})


def killed_spec() -> RunSpec:
    """Long enough to be killed somewhere inside."""
    return run_spec(train_epochs=20)


def slow_loss(output: torch.Tensor, batch) -> torch.Tensor:
    """The loss after a while: the killer must not come too late."""
    time.sleep(0.05)
    return segment_loss(output, batch)


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(sys.argv[1], killed_spec(), loss=slow_loss, checkpoint_seconds=0.1)
