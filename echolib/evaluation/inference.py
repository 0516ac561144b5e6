"""A trained segmenter at work: scores on the traced frames of a split, and masks for every frame of a video.

The plain path of whole videos, window by window in float32, is written out in ``benchmarks/reference.py``. The one here does the
same forward pass in another way: bfloat16 where the device multiplies in it, channels-last, batches across videos, reading
and copying while the network works. Masks of the two agree to a Dice of 0.998 or better (a test).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from echolib.config.specs import ClipSpec, RunSpec
from echolib.data.augment import normalise, to_float
from echolib.data.clips import overlapping_windows, reaching_windows, window_indices
from echolib.data.store import ClipStore
from echolib.errors import DataError
from echolib.evaluation.metrics import dice, surface_distances
from echolib.hardware import processor_has_bf16
from echolib.models.single_clip import SingleClip
from echolib.training.predict import centred_predictions, resolve_device

SCORE_COLUMNS = ("study", "patient", "frame", "phase", "dice", "intersection", "predicted_px", "traced_px", "hd95_px", "asd_px")

#: Frames of whole videos that go through the network at once.
FRAMES_PER_PASS = 64

Precision = Literal["auto", "float32", "bfloat16"]


def score_split(model: nn.Module, store: ClipStore, spec: RunSpec, split: str = "test", batch: int = 8,
                device: str | torch.device = "auto") -> pd.DataFrame:
    """Score every traced frame of a split, each predicted from the clip centred on it.

    Args:
        model: a segmenter; it is moved to ``device`` and stays there.
        store: the frames and tracings.
        spec: the run; its clip (frames and period) is used.
        split: ``train``, ``val`` or ``test``.
        batch: clips per pass.
        device: torch device; ``auto`` is the GPU where there is one.

    Returns:
        One row a traced frame, sorted by study and frame, with :data:`SCORE_COLUMNS`: ``frame`` 0-based, ``phase`` ED or
        ES, ``dice`` in [0, 1], areas in px of the stored frames, HD95 and average surface distance in the same px, NaN
        where one of the masks is empty (see :mod:`echolib.evaluation.metrics`).

    Raises:
        TrainingError: the split holds no traced frame, or the device is not there.
    """
    device = resolve_device(device)
    rows = []
    for one in centred_predictions(model.to(device), store, spec, split, batch, device):
        hd95, asd = surface_distances(one.predicted, one.traced)
        rows.append((one.study, store.studies["patient"][one.study], one.frame, one.phase, dice(one.predicted, one.traced),
                     int((one.predicted & one.traced).sum()), int(one.predicted.sum()), int(one.traced.sum()), hd95, asd))
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


def segment_video(model: nn.Module, video: np.ndarray, frames: int, period: int, *, batch: int = 4,
                  device: str | torch.device = "auto", size: int = 112, overlap: bool = False,
                  precision: Precision = "auto") -> np.ndarray:
    """Probability of the left ventricle on every frame of a video: :func:`segment_videos` for a single one.

    Returns:
        ``(T, size, size)`` float32 in [0, 1].

    Raises:
        DataError: not such a video.
        TrainingError: the device is not there.
    """
    return next(iter(segment_videos(model, [video], frames, period, batch=batch, device=device, size=size, overlap=overlap,
                                    precision=precision)))


def segment_videos(model: nn.Module, videos: Iterable[np.ndarray], frames: int, period: int, *, batch: int = 4,
                   device: str | torch.device = "auto", size: int = 112, overlap: bool = False, precision: Precision = "auto",
                   masks: bool = False, compiled: bool = False) -> Iterator[np.ndarray]:
    """Probability of the left ventricle, or its mask, on every frame of many videos, in their order.

    Windows of ``frames`` frames cover a video so that every frame is seen at least once; a frame seen twice gets the mean
    of its probabilities, and black frames that fill a short video are thrown away. A batch is filled with windows of the
    next videos, so short videos do not leave the device half idle. At most three batches of windows are held at a time, so
    beside the results memory does not grow with a video's length; videos may be memory maps, and are asked for one by one.

    Args:
        model: a segmenter; it is moved to ``device`` and stays there, its training mode is restored.
        videos: each ``(T, size, size, C)`` uint8, C 1 or 3, T >= 1.
        frames: F of the model's clips.
        period: every which frame of the video makes a clip.
        batch: windows per pass. On a CPU a network of 3-D convolutions still takes them one by one, which is faster there.
        device: torch device; ``auto`` is the GPU where there is one.
        size: height and width that the model takes, px.
        overlap: let windows overlap by half and mirror the ends, for twice the work: smoother, and surer at the ends. A network
            that says how many neighbours of a frame it sees (``reach``) gets windows that overlap by those alone.
        precision: ``bfloat16`` autocast, ``float32``, or ``auto``: bfloat16 where the device multiplies in it.
        masks: give ``probability >= 0.5`` instead: less is copied from the device and kept.
        compiled: ``torch.compile`` the network: worth its half minute or more on a GPU for a cohort, not for a clip. An
            incomplete last batch is then filled with black windows, which are thrown away.

    Yields:
        ``(T, size, size)`` float32 in [0, 1], or bool with ``masks``.

    Raises:
        DataError: not such a video.
        TrainingError: the device is not there.
    """
    device = resolve_device(device)
    network = _Network(model, device, precision, compiled)
    reach = getattr(model, "reach", None)
    windows = partial(_windows, frames=frames, period=period, overlap=overlap, reach=reach)
    arriving = _read_ahead(_batches(videos, windows, batch, size, masks, fill=compiled))
    open_videos: list[_Video] = []
    was_training = model.training
    model.eval()
    try:
        pending: tuple[_Batch, Callable[[], list[np.ndarray]]] | None = None
        for work in arriving:
            started = (work, network.start(work, masks))  # on a GPU this returns before the work is done
            if pending is not None:
                yield from _settle(open_videos, *pending)
            pending = started
        if pending is not None:
            yield from _settle(open_videos, *pending)
    finally:
        arriving.close()
        model.train(was_training)


def segment_studies(model: nn.Module, store: ClipStore, studies: Iterable[str], clip: ClipSpec, *, overlap: bool,
                    device: str | torch.device = "auto") -> Iterator[np.ndarray]:
    """Masks ``(T, S, S)`` bool of whole videos of a store, in order: :func:`segment_videos` with the clip of a run, or longer
    windows where the network takes any and sees no farther than its reach: the same masks for fewer passes."""
    frames = max(clip.frames, FRAMES_PER_PASS // 2) if overlap and getattr(model, "any_length", False) else clip.frames
    return segment_videos(model, (store.video(study) for study in studies), frames, clip.period, device=device,
                          batch=max(1, FRAMES_PER_PASS // frames), size=store.size, overlap=overlap, masks=True)


@dataclass
class _Video:
    """A video on its way: sums of the probabilities of those frames that need one, and masks of the others.

    ``slot (T,)`` is a frame's row in ``sums``, -1 for a frame that only one window sees and whose mask is all that is wanted.
    """

    total: np.ndarray  # (T,) float32: sum of the weights
    slot: np.ndarray
    sums: np.ndarray
    masks: np.ndarray | None
    windows: int

    def result(self) -> np.ndarray:
        self.sums /= self.total[self.slot >= 0][:, None, None]
        if self.masks is None:
            return self.sums
        self.masks[self.slot >= 0] = self.sums >= 0.5
        return self.masks


@dataclass
class _Batch:
    """Windows of one pass: pixels, and for each window its video, frame numbers and weights."""

    clips: Tensor  # (B, F, H, W, C) uint8
    places: list[tuple[_Video, np.ndarray, np.ndarray]]


def _batches(videos: Iterable[np.ndarray], windows_of: Callable[[int], tuple[np.ndarray, np.ndarray]], batch: int, size: int,
             masks: bool, fill: bool) -> Iterator[_Batch]:
    """Windows of all videos, ``batch`` at a time; videos with another number of channels begin a batch of their own."""
    clips: list[np.ndarray] = []
    places: list[tuple[_Video, np.ndarray, np.ndarray]] = []
    for video in videos:
        _check(video, size)
        if clips and clips[0].shape[-1] != video.shape[-1]:
            yield _packed(clips, places, batch if fill else 0)
            clips, places = [], []
        windows, weights = windows_of(len(video))
        one = _open(len(video), windows, weights, size, masks)
        for window, share in zip(windows, weights, strict=True):
            clips.append(np.where((window >= 0)[:, None, None, None], video[np.maximum(window, 0)], np.uint8(0)))
            places.append((one, window, share))
            if len(clips) == batch:
                yield _packed(clips, places, 0)
                clips, places = [], []
    if clips:
        yield _packed(clips, places, batch if fill else 0)


def _packed(clips: list[np.ndarray], places: list, fill: int) -> _Batch:
    black = [np.zeros_like(clips[0])] * max(0, fill - len(clips))
    return _Batch(torch.from_numpy(np.stack([*clips, *black])), places)


def _windows(length: int, frames: int, period: int, overlap: bool, reach: int | None) -> tuple[np.ndarray, np.ndarray]:
    if overlap and reach is not None and frames > 2 * reach:
        return reaching_windows(length, frames, period, reach)
    if overlap:
        return overlapping_windows(length, frames, period)
    windows = window_indices(length, frames, period)
    return windows, (windows >= 0).astype(np.float32)


def _open(length: int, windows: np.ndarray, weights: np.ndarray, size: int, masks: bool) -> _Video:
    total = np.bincount(np.maximum(windows, 0).ravel(), weights.ravel(), minlength=length).astype(np.float32)
    seen = np.bincount(windows[weights > 0], minlength=length)
    summed = seen > 1 if masks else np.ones(length, bool)
    slot = np.where(summed, np.cumsum(summed) - 1, -1)
    return _Video(total, slot, np.zeros((int(summed.sum()), size, size), np.float32),
                  np.zeros((length, size, size), bool) if masks else None, len(windows))


def _check(video: np.ndarray, size: int) -> None:
    shape = np.shape(video)
    if getattr(video, "dtype", None) != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3) or shape[0] < 1:
        raise DataError("not a video", value=f"{getattr(video, 'dtype', type(video).__name__)} {shape}",
                        expected="uint8 (T, H, W, 1 or 3)")
    if shape[1:3] != (size, size):
        raise DataError("the frames are not of the network's size", value=shape[1:3], expected=f"{size} x {size} px")


def _settle(open_videos: list[_Video], work: _Batch, finished: Callable[[], list[np.ndarray]]) -> Iterator[np.ndarray]:
    """Put the answers of a batch in their places; the videos that are complete with it."""
    found = finished()
    drawn = found[1] if len(found) > 1 else None
    first = 0  # row in the probabilities, of which only those that are summed have come
    for row, (one, window, share) in enumerate(work.places):
        if not open_videos or open_videos[-1] is not one:
            open_videos.append(one)
        own = share > 0  # no frame counts twice in one window: black and mirrored ones weigh nothing
        summed = own & (one.slot[np.maximum(window, 0)] >= 0)
        maps = found[0][first:first + int(summed.sum())]
        first += len(maps)
        one.sums[one.slot[window[summed]]] += share[summed, None, None] * maps
        if drawn is not None:
            one.masks[window[own]] = drawn[row, own]
        one.windows -= 1
    while open_videos and open_videos[0].windows == 0:
        yield open_videos.pop(0).result()


class _Network:
    """The forward pass as the device likes it best."""

    def __init__(self, model: nn.Module, device: torch.device, precision: Precision, compiled: bool) -> None:
        self.model, self.device = model.to(device), device
        self.bfloat16 = has_bfloat16(device) if precision == "auto" else precision == "bfloat16"
        self.volumes = any(isinstance(m, nn.Conv3d) for m in model.modules())
        if self.volumes and device.type == "cuda":  # on a CPU the clip's layout is enough
            model.to(memory_format=torch.channels_last_3d)
        self.compiled = compiled
        self.forward = torch.compile(model) if compiled else model

    def start(self, work: _Batch, masks: bool) -> Callable[[], list[np.ndarray]]:
        """Begin a pass; what is returned waits for its end and gives probabilities of summed frames ``(N, H, W)``, then masks."""
        with torch.inference_mode():
            clips = work.clips.pin_memory() if self.device.type == "cuda" else work.clips
            maps = torch.sigmoid(self._logits(normalise(to_float(clips.to(self.device, non_blocking=True)))).float())
            rows = np.stack([(share > 0) & (one.slot[np.maximum(window, 0)] >= 0) for one, window, share in work.places])
            index = torch.from_numpy(np.flatnonzero(rows)).to(self.device, non_blocking=True)
            out = [maps.flatten(0, 1).index_select(0, index)]
            if masks:
                out.append(maps >= 0.5)
            return _to_host(out)

    def _logits(self, clips: Tensor) -> Tensor:
        """Logits ``(B, F, H, W)`` of normalised clips ``(B, 3, F, H, W)``."""
        if self.volumes:
            clips = clips.contiguous(memory_format=torch.channels_last_3d)
        with ExitStack() as context:
            if self.bfloat16:
                context.enter_context(torch.autocast(self.device.type, torch.bfloat16))
            if self.device.type == "cuda" or self.compiled:
                return self.forward(clips)[:, 0]
            context.enter_context(SingleClip())
            parts = clips.split(1) if self.volumes else (clips,)
            return torch.cat([self.forward(part)[:, 0] for part in parts])


def has_bfloat16(device: torch.device) -> bool:
    """Does the device multiply in bfloat16, so that autocast pays? GPUs since Ampere, CPUs with AVX512-BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and processor_has_bf16()


def _to_host(tensors: list[Tensor]) -> Callable[[], list[np.ndarray]]:
    """Begin copying to the CPU; the function that is returned waits for the copies."""
    if tensors[0].device.type != "cuda":
        return lambda: [tensor.cpu().numpy() for tensor in tensors]
    copies = [torch.empty(t.shape, dtype=t.dtype, pin_memory=True).copy_(t, non_blocking=True) for t in tensors]
    done = torch.cuda.Event()
    done.record()

    def wait() -> list[np.ndarray]:
        done.synchronize()
        return [copy.numpy() for copy in copies]

    return wait


def _read_ahead(batches: Iterator[_Batch]) -> Iterator[_Batch]:
    """The same batches; the next one is read in a thread while the network works on this one."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        ahead = reader.submit(next, batches, None)
        while (work := ahead.result()) is not None:
            ahead = reader.submit(next, batches, None)
            yield work
