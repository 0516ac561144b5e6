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
from echolib.data import echonet
from echolib.data.augment import denormalise, normalise, to_float
from echolib.data.clips import window_indices
from echolib.data.store import pack
from echolib.errors import DataError, TrainingError
from echolib.evaluation import inference
from echolib.evaluation.inference import SCORE_COLUMNS, score_split, segment_studies, segment_video, segment_videos
from echolib.evaluation.metrics import dice, surface_distances
from echolib.models import build
from echolib.training.recipes.segment import Segment
from tests.data import fakes

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
    return RunSpec(recipe=Segment(), data=DataSpec(layout="echonet", size=SIZE), model=ModelSpec(name="unet3d", width=0.25),
                   clip=ClipSpec(frames=frames, period=period), train=TrainSpec(epochs=1))


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


@pytest.mark.parametrize("frames", [16, 4, 3])
def test_a_network_that_sees_its_neighbours_gives_on_windows_what_it_gives_on_the_whole_video(frames):
    model = build("nnunet25d", width=0.05, frames=frames, size=32, seed=0).eval()
    video = np.random.default_rng(0).integers(0, 255, (37, 32, 32, 1), dtype=np.uint8)
    whole = segment_video(model, video, 37, 1, size=32, device="cpu", precision="float32")
    found = segment_video(model, video, frames, 1, size=32, device="cpu", precision="float32", overlap=True)
    np.testing.assert_allclose(found, whole, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=5), frames=st.sampled_from([1, 4, 16]),
       period=st.integers(1, 3), batch=st.integers(1, 7), overlap=st.booleans())
def test_videos_together_are_the_videos_one_by_one(lengths, frames, period, batch, overlap):
    videos = [np.random.default_rng(k).integers(0, 255, (n, 16, 16, 1 + 2 * (k % 2)), dtype=np.uint8)
              for k, n in enumerate(lengths)]
    options = dict(batch=batch, size=16, device="cpu", overlap=overlap)
    alone = [segment_video(Position(), v, frames, period, **options) for v in videos]
    together = list(segment_videos(Position(), iter(videos), frames, period, **options))
    assert [t.dtype for t in together] == [np.float32] * len(videos)
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)
    masks = list(segment_videos(Position(), videos, frames, period, masks=True, **options))
    for a, mask in zip(alone, masks, strict=True):
        assert mask.dtype == bool
        np.testing.assert_array_equal(mask, a >= 0.5)


def test_a_batch_holds_windows_of_several_videos():
    model = Grey()
    found = list(segment_videos(model, [levels(5), levels(3), levels(9)], 4, 1, batch=4, device="cpu", size=SIZE))
    assert [len(f) for f in found] == [5, 3, 9]
    assert [shape[0] for shape in model.seen] == [4, 2]  # 2 + 1 + 3 windows


def test_videos_are_asked_for_one_by_one():
    asked = []

    def videos():
        for k in range(50):
            asked.append(k)
            yield levels(4)

    for k, _ in enumerate(segment_videos(Grey(), videos(), 4, 1, batch=2, device="cpu", size=SIZE)):
        assert len(asked) <= k + 9  # three batches of two windows ahead, and what the loop has not yet been given


def test_a_bad_video_among_good_ones_is_named_and_the_mode_restored():
    model = Grey().train()
    with pytest.raises(DataError, match="32 x 32"):
        list(segment_videos(model, [levels(4), np.zeros((4, 16, SIZE, 1), np.uint8)], 4, 1, device="cpu", size=SIZE))
    assert model.training


def test_a_compiled_network_sees_one_shape_only(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda model: model)
    model, videos = Position(), [levels(5), levels(3)]
    shapes = []
    model.register_forward_hook(lambda _, inputs, __: shapes.append(tuple(inputs[0].shape)))
    got = list(segment_videos(model, videos, 4, 1, batch=2, device="cpu", size=SIZE, compiled=True))
    assert shapes == [(2, 3, 4, SIZE, SIZE)] * 2
    for video, one in zip(videos, got, strict=True):
        np.testing.assert_array_equal(one, segment_video(Position(), video, 4, 1, device="cpu", size=SIZE))


def plain(model: nn.Module, video: np.ndarray, frames: int) -> np.ndarray:
    """Masks window by window in float32, with nothing but the network."""
    total, seen = np.zeros(video.shape[:3]), np.zeros(len(video))
    with torch.no_grad():
        for window in window_indices(len(video), frames, 1):
            logits = model.eval()(normalise(to_float(torch.from_numpy(video[window][None]))))
            total[window] += torch.sigmoid(logits[0, 0]).numpy()
            seen[window] += 1
    return total / seen[:, None, None] >= 0.5


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, np.ndarray]:
    """A narrow 3D U-Net that has learnt to outline a dark disk in noise, and a video of 40 frames."""
    rng, model = np.random.default_rng(0), build("unet3d", width=0.25, frames=16, size=SIZE, seed=0)
    yy, xx = np.mgrid[:SIZE, :SIZE]
    radius = 7 + 2 * np.cos(np.arange(40) / 4)
    disk = (yy - 15) ** 2 + (xx - 17) ** 2 < radius[:, None, None] ** 2
    video = np.where(disk, 30, 120 + rng.normal(0, 20, disk.shape)).clip(0, 255).astype(np.uint8)[..., None]
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(30):
        first = (step * 7) % 25
        logits = model.train()(normalise(to_float(torch.from_numpy(video[None, first:first + 16]))))
        loss = nn.functional.binary_cross_entropy_with_logits(logits[0, 0], torch.from_numpy(disk[first:first + 16]).float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert dice(plain(model, video, 16), disk) > 0.9, "the network has learnt nothing"
    return model, video


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "auto"])
@pytest.mark.parametrize("batch", [1, 3])
def test_fast_masks_agree_with_plain_ones(trained, precision, batch):
    model, video = trained
    got = segment_video(model, video, 16, 1, batch=batch, device="cpu", size=SIZE, precision=precision)
    assert dice(got >= 0.5, plain(model, video, 16)) >= 0.998


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", [False, True])
def test_masks_of_a_gpu_agree_with_plain_ones(trained, compiled):
    model, video = trained
    wanted = plain(model.cpu(), video, 16)
    try:
        videos = [video, video[:20], video]
        got = list(segment_videos(model, videos, 16, 1, batch=3, device="cuda", size=SIZE, masks=True, compiled=compiled))
    finally:
        model.cpu()
    assert dice(got[0], wanted) >= 0.998 and dice(got[2], wanted) >= 0.998 and len(got[1]) == 20


def test_bfloat16_is_taken_where_the_processor_multiplies_in_it(monkeypatch):
    seen = []

    class Conv(nn.Conv3d):
        def forward(self, clip):
            out = super().forward(clip)
            seen.append(out.dtype)
            return out

    for has, wanted in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(inference, "processor_has_bf16", lambda has=has: has)
        segment_video(Conv(3, 1, 3, padding=1), levels(4), 4, 1, device="cpu", size=SIZE)
        assert seen[-1] == wanted


def test_longer_windows_give_the_same_masks_where_a_network_sees_no_farther_than_its_reach(tmp_path):
    store = pack(echonet.read(fakes.write_echonet(tmp_path / "data")), tmp_path / "store", size=48, channels=1, progress=False)
    model = build("sscf", width=0.125, frames=3, size=48, seed=0)
    model.top[2].bias.data.sub_(model(torch.zeros(1, 3, 3, 48, 48)).mean())  # some of each frame lies on either side
    names = sorted(store.studies.index)[:2]
    seen = []
    model.register_forward_pre_hook(lambda _m, given: seen.append(tuple(given[0].shape[::2][:2])))
    long = list(segment_studies(model, store, names, ClipSpec(frames=3, period=2), overlap=True, device="cpu"))
    assert {frames for _, frames in seen} == {32}
    model.any_length, count = False, sum(clips * frames for clips, frames in seen)
    seen.clear()
    short = list(segment_studies(model, store, names, ClipSpec(frames=3, period=2), overlap=True, device="cpu"))
    assert {frames for _, frames in seen} == {3} and sum(clips * frames for clips, frames in seen) > 1.4 * count
    for a, b in zip(long, short, strict=True):
        assert (a == b).mean() > 0.999, "up to rounding at the threshold"
