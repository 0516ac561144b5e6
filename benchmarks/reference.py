"""The usual pipeline, plainly written, against which the benchmarks measure: nothing here is tuned, nothing is slowed down.

A DataLoader reads and augments training clips (:mod:`benchmarks.opencv_loader`) and feeds float32 training; whole videos are
decoded with OpenCV and go through the network one window at a time. Also the temporary cohort that both sides read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks import opencv_loader
from echolib.config import ECHONET_MEAN, ECHONET_STD, AugmentSpec
from echolib.data.augment import draw
from echolib.data.clips import training_indices, window_indices
from echolib.data.video import write_avi

SIZE = 112
TRACED = (40, 60)
SPLITS = ("TRAIN", "VAL", "TEST", "TRAIN")


def speckle(seed: int, frames: int) -> np.ndarray:
    """(frames, SIZE, SIZE) uint8: log-compressed speckle in a 90-degree sector, about as costly to decode as real video."""
    rng = np.random.default_rng([seed, 3])
    yy, xx = np.mgrid[:SIZE, :SIZE]
    sector = (np.hypot(xx - 61, yy - 7) < 107) & (np.abs(np.arctan2(xx - 61, yy - 6.99)) < 0.79)
    out = []
    for _ in range(frames):
        field = cv2.GaussianBlur(rng.normal(size=(SIZE, SIZE, 2)), (0, 0), 1.1)
        decibel = 20 * np.log10(np.hypot(field[..., 0], field[..., 1]) + 1e-6)
        out.append(np.where(sector, np.clip((decibel + 45) * 4.2, 0, 255), 0))
    return np.stack(out).astype(np.uint8)


#: Red, green and blue of a tinted grey: channels that are nearly equal, as EchoNet-Dynamic's are.
TINT = (1.0, 0.98, 0.94)


def write_cohort(root: Path, studies: int, frames: int, *, tinted: bool = False) -> list[Path]:
    """A folder in EchoNet-Dynamic's layout, two in four studies for training; the AVIs, grey or tinted."""
    (root / "Videos").mkdir(parents=True)
    rows = ["FileName,EF,ESV,EDV,FrameHeight,FrameWidth,FPS,NumberOfFrames,Split"]
    traces = ["FileName,X1,Y1,X2,Y2,Frame"]
    for number in range(studies):
        video = speckle(number, frames)
        if tinted:
            video = (video[..., None] * np.float32(TINT)).astype(np.uint8)
        write_avi(root / "Videos" / f"B{number:04}.avi", video, 50)
        rows.append(f"B{number:04},50,50,100,{SIZE},{SIZE},50,{frames},{SPLITS[number % 4]}")
        for frame, half in zip(TRACED, (16, 12), strict=True):
            traces.append(f"B{number:04}.avi,56,20,56,80,{frame}")
            traces += [f"B{number:04}.avi,{56 - half},{20 + 3 * k},{56 + half},{20 + 3 * k},{frame}" for k in range(20)]
    (root / "FileList.csv").write_text("\n".join(rows) + "\n")
    (root / "VolumeTracings.csv").write_text("\n".join(traces) + "\n")
    return sorted((root / "Videos").glob("*.avi"))


def decode(path: Path) -> np.ndarray:
    """A whole AVI with OpenCV's VideoCapture, ``(T, H, W, 3)`` uint8, RGB."""
    capture, frames = cv2.VideoCapture(str(path)), []
    while True:
        there, frame = capture.read()
        if not there:
            return np.stack(frames)
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))


def to_tensor(frames: np.ndarray) -> Tensor:
    """``(F, H, W, 3)`` on the 0-1 scale -> normalised clip ``(3, F, H, W)`` float32."""
    scaled = (frames.astype(np.float32) - np.float32(ECHONET_MEAN)) / np.float32(ECHONET_STD)
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(3, 0, 1, 2)))


class TrainingClips(Dataset):
    """A clip a traced frame: decode its frames, augment them one by one, normalise."""

    def __init__(self, paths: list[Path], masks: list[np.ndarray], frames: int, length: int) -> None:
        self.paths, self.masks, self.frames, self.length = paths, masks, frames, length

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor, int]:
        rng = np.random.default_rng(item)
        indices, position = training_indices(self.length, TRACED[0], self.frames, 1, rng)
        frames = opencv_loader.read(self.paths[item], int(indices[0]), self.frames)
        one, = draw(1, AugmentSpec(), torch.Generator().manual_seed(item))
        clip, mask = opencv_loader.augment(frames, self.masks[item], one)
        return opencv_loader.normalise(clip), torch.from_numpy(mask), position


def training_steps(model: nn.Module, clips: TrainingClips, batch: int, workers: int, loss, device: str) -> Iterator[float]:
    """Train in float32, eagerly, with AdamW; the loss after each step."""
    loader = DataLoader(clips, batch_size=batch, num_workers=workers, drop_last=True, pin_memory=device == "cuda")
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=1e-5)
    model.to(device).train()
    for clip, mask, position in loader:
        logits = model(clip.to(device))
        value = loss(logits[torch.arange(len(clip)), 0, position], mask.to(device))
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        yield float(value.detach())


@torch.no_grad()
def segment(model: nn.Module, path: Path, frames: int, device: str = "cpu") -> np.ndarray:
    """Masks ``(T, H, W)`` of a whole AVI: window by window, in float32; where windows overlap, the mean probability decides."""
    video = decode(path)
    total, seen = np.zeros(video.shape[:3], np.float32), np.zeros(len(video), np.float32)
    model.to(device).eval()
    for window in window_indices(len(video), frames, 1):
        logits = model(to_tensor(video[window] / np.float32(255))[None].to(device))
        total[window] += torch.sigmoid(logits[0, 0]).cpu().numpy()
        seen[window] += 1
    return total / seen[:, None, None] >= 0.5
