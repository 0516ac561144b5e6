"""Inference with networks whose answer is known: every frame once, black thrown away, memory bounded."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from echolib.config import ClipSpec, DataSpec, ModelSpec, RunSpec, TrainSpec
from echolib.data.augment import denormalise
from echolib.errors import DataError, TrainingError
from echolib.evaluation.inference import SCORE_COLUMNS, score_split, segment_video
from echolib.evaluation.metrics import surface_distances

SIZE = 32


class Bright(nn.Module):
    """Logits from the grey level itself: 10 where it is above one half, else -10; counts the clips that it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []
        self.modes: list[bool] = []

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        self.seen.append(tuple(clip.shape))
        self.modes.append(self.training)
        return torch.where(denormalise(clip)[:, :1] > 0.5, 10.0, -10.0)


class Grey(Bright):
    """Logit of the grey level: sigmoid gives the grey level back."""

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        super().forward(clip)
        return torch.logit(denormalise(clip)[:, :1].clamp(1e-4, 1 - 1e-4))


class Position(nn.Module):
    """Says for each frame how bright its neighbour in the clip is, so that the windows matter."""

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        grey = denormalise(clip)[:, :1]
        return torch.logit(torch.roll(grey, 1, dims=2).clamp(1e-4, 1 - 1e-4))


def levels(length: int) -> np.ndarray:
    """A video whose frame t has the grey level 20 + t everywhere."""
    return np.broadcast_to((20 + np.arange(length, dtype=np.uint8))[:, None, None, None], (length, SIZE, SIZE, 1)).copy()


@settings(max_examples=25, deadline=None)
@given(length=st.integers(1, 70), frames=st.sampled_from([1, 4, 16]), period=st.integers(1, 5), batch=st.integers(1, 5))
def test_every_frame_gets_its_own_answer(length, frames, period, batch):
    video, model = levels(length), Grey()
    got = segment_video(model, video, frames, period, batch=batch, device="cpu", size=SIZE)
    assert got.shape == (length, SIZE, SIZE) and got.dtype == np.float32
    assert np.abs(got - video[..., 0] / 255).max() < 1e-4
    assert all(shape[0] <= batch and shape[1:] == (3, frames, SIZE, SIZE) for shape in model.seen)


def test_a_frame_seen_twice_gets_the_mean():
    # 6 frames in windows of 4: 0-3 and 2-5. Frames 2 and 3 are seen twice; the neighbour before frame 2 is frame 1 in the
    # first window and, rolled around, frame 5 in the second.
    got = segment_video(Position(), levels(6), 4, 1, device="cpu", size=SIZE)[:, 0, 0] * 255 - 20
    assert got == pytest.approx([3, 0, (1 + 5) / 2, 2, 3, 4], abs=0.03)


def test_black_frames_are_added_and_thrown_away():
    # 3 frames in a window of 4: the frame before frame 0 is the black one at the end
    got = segment_video(Position(), levels(3), 4, 1, device="cpu", size=SIZE)[:, 0, 0]
    assert got == pytest.approx([0.0, 20 / 255, 21 / 255], abs=2e-4)


def test_training_mode_is_restored_and_not_used():
    model = Grey().train()
    segment_video(model, levels(5), 4, 1, device="cpu", size=SIZE)
    assert model.training and not any(model.modes)


def test_memory_beside_the_result_does_not_grow():
    peaks = []
    for length in (200, 800):
        video = np.broadcast_to(np.zeros((1, SIZE, SIZE, 3), np.uint8), (length, SIZE, SIZE, 3))
        tracemalloc.start()
        got = segment_video(Grey(), video, 8, 1, batch=2, device="cpu", size=SIZE)
        peaks.append(tracemalloc.get_traced_memory()[1] - got.nbytes)
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 100_000  # 600 more frames are 1.8 MB of video and 2.5 MB of probabilities


@pytest.mark.parametrize(("video", "words"), [
    (np.zeros((4, SIZE, SIZE), np.uint8), "uint8"),
    (np.zeros((4, SIZE, SIZE, 2), np.uint8), "uint8"),
    (np.zeros((0, SIZE, SIZE, 1), np.uint8), "uint8"),
    (np.zeros((4, SIZE, SIZE, 1)), "float64"),
    (np.zeros((4, 16, SIZE, 1), np.uint8), "32 x 32"),
])
def test_wrong_videos_are_refused(video, words):
    with pytest.raises(DataError, match=words):
        segment_video(Grey(), video, 4, 1, device="cpu", size=SIZE)


@dataclass
class SmallStore:
    """Three studies with a bright square each; on ES it is smaller. What score_split asks of a store and no more."""

    size: int = SIZE
    channels: int = 1
    videos: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows, self.masks = [], {}
        for k, study in enumerate(("a", "b", "c")):
            video = np.zeros((12, SIZE, SIZE, 1), np.uint8)
            for frame, side in ((3, 12), (9, 8)):
                video[frame, 10:10 + side, 10:10 + side] = 255
                mask = np.zeros((SIZE, SIZE), bool)
                mask[10 + k:10 + side + k, 10:10 + side] = True  # study b is traced one row too low
                self.masks[study, frame] = mask
                rows.append((study, frame, "ED" if frame == 3 else "ES", side * side))
            self.videos[study] = video
        self.labels = pd.DataFrame(rows, columns=["study", "frame", "phase", "area_px"])
        self.studies = pd.DataFrame({"split": ["test", "test", "train"], "patient": ["pa", "pb", "pc"], "frames": 12},
                                    index=pd.Index(["a", "b", "c"], name="study"))

    def clip(self, study: str, indices: np.ndarray) -> np.ndarray:
        return np.where((indices >= 0)[:, None, None, None], self.videos[study][np.maximum(indices, 0)], np.uint8(0))

    def mask(self, study: str, frame: int) -> np.ndarray:
        return self.masks[study, frame]


def spec(frames: int = 4, period: int = 2) -> RunSpec:
    return RunSpec(task="segment", data=DataSpec(layout="echonet", size=SIZE), model=ModelSpec(name="unet3d", width=0.25),
                   clip=ClipSpec(frames=frames, period=period), train=TrainSpec(epochs=1), loss="dice_frame")


@pytest.mark.parametrize(("frames", "period"), [(4, 2), (1, 1), (16, 5)])
def test_score_split_by_hand(frames, period):
    store = SmallStore()
    got = score_split(Bright(), store, spec(frames, period), "test", batch=3, device="cpu")
    assert tuple(got.columns) == SCORE_COLUMNS
    assert got[["study", "patient", "frame", "phase"]].values.tolist() == [
        ["a", "pa", 3, "ED"], ["a", "pa", 9, "ES"], ["b", "pb", 3, "ED"], ["b", "pb", 9, "ES"]]
    assert got.dice.tolist() == pytest.approx([1, 1, 11 / 12, 7 / 8])
    assert got.intersection.tolist() == [144, 64, 132, 56]
    assert got.predicted_px.tolist() == got.traced_px.tolist() == [144, 64, 144, 64]
    assert got.hd95_px[:2].tolist() == got.asd_px[:2].tolist() == [0, 0]
    shifted = np.zeros((SIZE, SIZE), bool)
    shifted[10:22, 10:22] = True
    assert (got.hd95_px[2], got.asd_px[2]) == pytest.approx(surface_distances(shifted, store.mask("b", 3)))


def test_a_network_that_finds_nothing_has_no_distance():
    store = SmallStore()
    for video in store.videos.values():
        video[:] = 0
    got = score_split(Bright(), store, spec(), "test", device="cpu")
    assert got.dice.tolist() == [0.0] * 4
    assert got.hd95_px.isna().all() and got.asd_px.isna().all()


def test_an_empty_split_is_an_error():
    with pytest.raises(TrainingError, match="val"):
        score_split(Bright(), SmallStore(), spec(), "val", device="cpu")


def test_overlapping_windows_agree_where_a_network_sees_each_frame_alone():
    class Brightness(torch.nn.Module):
        def forward(self, clip):
            return clip.mean(1, keepdim=True) * 3

    video = np.random.default_rng(0).integers(0, 255, (37, 16, 16, 1), dtype=np.uint8)
    plain, twice = (segment_video(Brightness(), video, 8, 2, size=16, device="cpu", overlap=o) for o in (False, True))
    np.testing.assert_allclose(plain, twice, atol=1e-6)
