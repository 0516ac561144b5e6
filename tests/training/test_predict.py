"""Centred predictions and the score that chooses the best epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from echolib.data.augment import denormalise
from echolib.errors import TrainingError
from echolib.training.predict import centred_predictions, mean_dice, resolve_device
from tests.training.standin import MemoryStore, TinyNet, run_spec, small_store


class Dark(nn.Module):
    """Calls a pixel ventricle where its own frame is darker than a quarter."""

    def __init__(self, level: float = 0.42) -> None:
        super().__init__()
        self.level, self.centres = level, []

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        pixels = denormalise(clip)[:, :1]
        self.centres += (pixels[:, 0, clip.shape[2] // 2, 0, 0] * 255).round().int().tolist()
        return self.level - pixels


def test_every_traced_frame_once_from_the_clip_centred_on_it():
    store, model = small_store(), Dark()
    found = list(centred_predictions(model, store, run_spec(), "train", 4, "cpu"))
    wanted = [(f"train{k}", frame, phase) for k in range(3) for frame, phase in ((0, "ED"), (4, "ES"))]
    assert [(one.study, one.frame, one.phase) for one in found] == wanted
    assert model.centres == [4, 4, 4, 4, 4, 4]  # frame 0 shifts to the clip's start: frames 0, 2, 4, 6; 4 sits at F/2
    for one in found:
        darker = store.clip(one.study, np.array([one.frame]))[0, ..., 0] < 0.42 * 255
        assert one.predicted.dtype == one.traced.dtype == bool
        assert (one.predicted == darker).all()
        assert (one.traced == store.mask(one.study, one.frame)).all()


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_the_batch_does_not_change_the_predictions(batch):
    model, store = TinyNet(norm=True), small_store()
    reference = list(centred_predictions(model, store, run_spec(), "train", 6, "cpu"))
    for one, other in zip(reference, centred_predictions(model, store, run_spec(), "train", batch, "cpu"), strict=True):
        assert (one.predicted == other.predicted).all()
    assert model.training  # as it was found, although drop-out and batch norm were off meanwhile


def test_mean_dice_by_hand():
    """Everything is called ventricle: Dice 2A / (A + all) for each area A; the released program pools them."""
    store, everything = small_store(), Dark(level=2.0)
    area = np.array([store.mask(f"val{k}", f).sum() for k in range(2) for f in (0, 4)])
    per_frame = np.mean(2 * area / (area + 32 * 32))
    pooled = 2 * area.sum() / (area.sum() + 4 * 32 * 32)
    assert mean_dice(everything, store, run_spec(), "val", device="cpu") == pytest.approx(per_frame)
    assert mean_dice(everything, store, run_spec(), "val", device="cpu", pooled=True) == pytest.approx(pooled)
    assert per_frame != pytest.approx(pooled)


def test_an_empty_split_is_named():
    with pytest.raises(TrainingError, match="'val' split"):
        mean_dice(Dark(), MemoryStore({"train": 1}), run_spec(), "val", device="cpu")


def test_a_missing_gpu_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto").type == "cpu"
    with pytest.raises(TrainingError, match="no CUDA device"):
        resolve_device("cuda")
