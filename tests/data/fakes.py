"""Tiny data folders in the exact layouts of EchoNet-Dynamic and CAMUS: a dark ellipse that beats in grey noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np

from echolib.data.video import write_avi

SPLITS = ("TRAIN", "TRAIN", "VAL", "TEST", "TEST")
FILE_LIST = "FileName,EF,ESV,EDV,FrameHeight,FrameWidth,FPS,NumberOfFrames,Split"
TRACINGS = "FileName,X1,Y1,X2,Y2,Frame"


@dataclass(frozen=True)
class Ellipse:
    """Centre (x, y) and half-axes in px of a ventricle whose long axis is vertical."""

    x: float
    y: float
    a: float  # half width
    b: float  # half length

    def trace(self, chords: int = 20) -> list[tuple[float, float, float, float]]:
        """Row 0 the long axis from the apex, then chords from apex to annulus: X1, Y1, X2, Y2."""
        rows = [(self.x, self.y - self.b, self.x, self.y + self.b)]
        for k in range(chords):
            y = self.y - self.b + 2 * self.b * (k + 0.5) / chords
            half = self.a * math.sqrt(1 - ((y - self.y) / self.b) ** 2)
            rows.append((self.x - half, y, self.x + half, y))
        return rows

    def mask(self, height: int, width: int, scale: float = 1.0) -> np.ndarray:
        """Pixels inside, (height, width) bool; ``scale`` grows both axes."""
        yy, xx = np.mgrid[:height, :width]
        return ((xx - self.x) / (self.a * scale)) ** 2 + ((yy - self.y) / (self.b * scale)) ** 2 <= 1


def beat(frame: int, period: int, shift: int = 0) -> float:
    """Size of the ventricle: 1 at frame ``shift``, 0.75 half a period later."""
    return 0.875 + 0.125 * math.cos(2 * math.pi * (frame - shift) / period)


def video(frames: int, height: int, width: int, seed: int, shift: int = 0, period: int = 20) -> tuple[np.ndarray, list[Ellipse]]:
    """Frames (T, H, W) uint8 and the ventricle on each."""
    rng = np.random.default_rng([seed, 11])
    shapes = [Ellipse(width / 2, height / 2, 0.16 * width * s, 0.27 * height * s)
              for s in (beat(t, period, shift) for t in range(frames))]
    noise = rng.rayleigh(45, (frames, height, width))
    clip = np.stack([np.where(e.mask(height, width), 0.15, 1.0) * n for e, n in zip(shapes, noise, strict=True)])
    return np.clip(clip, 0, 255).astype(np.uint8), shapes


def write_echonet(root: Path, *, splits: tuple[str, ...] = SPLITS, avi_in_list: bool = False, avi_in_tracings: bool = True,
                  chords: int = 20, es_first: bool = False) -> Path:
    """EchoNet-Dynamic's layout: studies 0X0000, 0X0001, ... of 32 frames and more, ED at frame 4, ES at frame 14."""
    (root / "Videos").mkdir(parents=True)
    rows, traces = [FILE_LIST], [TRACINGS]
    for number, split in enumerate(splits):
        name, count = f"0X{number:04d}", 32 + 2 * number
        frames, shapes = video(count, 112, 112, number, shift=4)
        write_avi(root / "Videos" / f"{name}.avi", frames, 50)
        edv, esv = 100.0 + number, 45.0
        rows.append(f"{name}{'.avi' * avi_in_list},{100 * (edv - esv) / edv},{esv},{edv},112,112,50,{count},{split}")
        for frame in ((14, 4) if es_first else (4, 14)):
            for x1, y1, x2, y2 in shapes[frame].trace(chords):
                traces.append(f"{name}{'.avi' * avi_in_tracings},{x1},{y1},{x2},{y2},{frame}")
    (root / "FileList.csv").write_text("\n".join(rows) + "\n")
    (root / "VolumeTracings.csv").write_text("\n".join(traces) + "\n")
    return root


CAMUS_SPLITS = {"training": (1, 3), "validation": (2,), "testing": (4,)}
QUALITY = ("Good", "Medium", "Poor", "Good")


def camus_labels(ventricle: Ellipse, height: int, width: int) -> np.ndarray:
    """(H, W) uint8: cavity 1, a ring of myocardium 2, and an atrium 3 below."""
    labels = np.zeros((height, width), np.uint8)
    labels[Ellipse(ventricle.x, ventricle.y + 1.35 * ventricle.b, ventricle.a, 0.3 * ventricle.b).mask(height, width)] = 3
    labels[ventricle.mask(height, width, 1.2)] = 2
    labels[ventricle.mask(height, width)] = 1
    return labels


def save_nifti(path: Path, frames: np.ndarray, spacing: float = 0.308) -> None:
    """Write (T, H, W) or (H, W) as (x, y[, t])."""
    image = nibabel.Nifti1Image(np.ascontiguousarray(frames.T), np.diag([spacing, spacing, 1, 1]))
    nibabel.save(image, path)


def write_camus(root: Path, *, views: tuple[str, ...] = ("2CH", "4CH"), height: int = 80, width: int = 64) -> Path:
    """CAMUS' layout: patients 1-4 with half sequences of 10 frames and more; even patients have ES first."""
    split_of = {number: split for split, numbers in CAMUS_SPLITS.items() for number in numbers}
    (root / "database_split").mkdir(parents=True)
    for split, numbers in CAMUS_SPLITS.items():
        text = "".join(f"patient{n:04d}\n" for n in numbers)
        (root / "database_split" / f"subgroup_{split}.txt").write_text(text)
    for number in split_of:
        folder = root / "database_nifti" / f"patient{number:04d}"
        folder.mkdir(parents=True)
        for view in views:
            count = 9 + number
            es_first = number % 2 == 0
            shift = count - 1 if es_first else 0
            frames, shapes = video(count, height, width, 100 * number + int(view[0]), shift=shift, period=2 * (count - 1))
            labels = np.stack([camus_labels(e, height, width) for e in shapes])
            ed, es = (count, 1) if es_first else (1, count)
            (folder / f"Info_{view}.cfg").write_text(
                f"ED: {ed}\nES: {es}\nNbFrame: {count}\nSex: F\nAge: 56\nImageQuality: {QUALITY[number - 1]}\n"
                f"EF: {50 + number}\nFrameRate: 47.5\n")
            for name, index in (("half_sequence", slice(None)), ("ED", ed - 1), ("ES", es - 1)):
                save_nifti(folder / f"{folder.name}_{view}_{name}.nii.gz", frames[index])
                save_nifti(folder / f"{folder.name}_{view}_{name}_gt.nii.gz", labels[index])
    return root
