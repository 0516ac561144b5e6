"""A store in memory whose studies have ejection fractions, and tiny networks: for tests of CSS's recipes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import nn

from echolib.models.framewise import FrameWise
from tests.training.standin import MemoryStore


class EFStore(MemoryStore):
    """Studies with an ejection fraction; ``unlabelled`` training studies have neither it nor a tracing."""

    layout = "echonet"

    def __init__(self, counts: dict[str, int], unlabelled: int = 0, length: int = 24, **options: object) -> None:
        super().__init__(counts, length=length, **options)
        hidden = [f"train{k}" for k in range(counts["train"] - unlabelled, counts["train"])]
        ef = 40 + 3.0 * np.arange(len(self.studies))
        self.studies = self.studies.assign(ef=ef, ed_frame=0, es_frame=4)
        self.studies.loc[hidden, "ef"] = np.nan
        self.studies.loc[hidden, ["ed_frame", "es_frame"]] = -1
        self.labels = self.labels[~self.labels["study"].isin(hidden)].reset_index(drop=True)
        self.hidden, self.asked = hidden, []
        self.report = pd.DataFrame({"study": [], "file": [], "row": [], "action": [], "problem": []}).astype({"problem": str})

    def video(self, study: str) -> np.ndarray:
        return self._videos[study]

    def mask(self, study: str, frame: int) -> np.ndarray:
        assert study not in self.hidden, "the tracing of an unlabelled study was asked for"
        self.asked.append(study)
        return super().mask(study, frame)


class Inner(nn.Module):
    """A 2-D segmenter of two convolutions with an encoder of its own."""

    head, unused = ("last.",), ()

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.first, self.norm, self.last = nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ConvTranspose2d(6, 1, 2, 2)

    def deepest(self, images: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.norm(self.first(images)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(self.deepest(images))


def frame_wise(seed: int = 0) -> FrameWise:
    return FrameWise(Inner(seed))


def store(unlabelled: int = 2, train: int = 5) -> EFStore:
    return EFStore({"train": train, "val": 2, "test": 2}, unlabelled=unlabelled)
