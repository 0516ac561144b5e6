"""Random 32-frame clips: from the memory-mapped store, against decoding the AVI they come from. Both sides in one run.

Command:  python benchmarks/store_read.py
Needs:    nothing; makes a temporary cohort of 6 videos of 175 frames of 112 x 112 px (speckle in a sector, MJPG) and its store
Takes:    under 30 s on 2 cores
Expect:   a ratio of at least 50 against the faster of two decoders; the files are in the page cache on both sides
Prints:   hardware, versions, and for each side n, mean and standard deviation in milliseconds, then the ratio of the means
Measured: 2 cores of an AMD EPYC (busy), OpenCV 5.0, PyAV 18.1, numpy 2.4: store 0.12 (sd 0.42) ms, n 400, against
          56.5 (sd 25.7) ms, n 60: ratio 459
"""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np

from echolib.data import echonet
from echolib.data.store import pack
from echolib.data.video import read_video, write_avi
from echolib.hardware import processor

STUDIES, FRAMES, SIZE, CLIP = 6, 175, 112, 32


def speckle(seed: int) -> np.ndarray:
    """(FRAMES, SIZE, SIZE) uint8: log-compressed speckle inside a 90-degree sector, about as costly to decode as real video."""
    rng = np.random.default_rng([seed, 3])
    yy, xx = np.mgrid[:SIZE, :SIZE]
    sector = (np.hypot(xx - 61, yy - 7) < 107) & (np.abs(np.arctan2(xx - 61, yy - 6.99)) < 0.79)
    frames = []
    for _ in range(FRAMES):
        field = cv2.GaussianBlur(rng.normal(size=(SIZE, SIZE, 2)), (0, 0), 1.1)
        decibel = 20 * np.log10(np.hypot(field[..., 0], field[..., 1]) + 1e-6)
        frames.append(np.where(sector, np.clip((decibel + 45) * 4.2, 0, 255), 0))
    return np.stack(frames).astype(np.uint8)


def write_cohort(root: Path) -> None:
    """A folder in EchoNet-Dynamic's layout."""
    (root / "Videos").mkdir(parents=True)
    rows = ["FileName,EF,ESV,EDV,FrameHeight,FrameWidth,FPS,NumberOfFrames,Split"]
    traces = ["FileName,X1,Y1,X2,Y2,Frame"]
    for number in range(STUDIES):
        write_avi(root / "Videos" / f"B{number}.avi", speckle(number), 50)
        rows.append(f"B{number},50,50,100,{SIZE},{SIZE},50,{FRAMES},{('TRAIN', 'VAL', 'TEST')[number % 3]}")
        for frame, half in ((40, 16), (60, 12)):
            traces.append(f"B{number}.avi,56,20,56,80,{frame}")
            traces += [f"B{number}.avi,{56 - half},{20 + 3 * k},{56 + half},{20 + 3 * k},{frame}" for k in range(20)]
    (root / "FileList.csv").write_text("\n".join(rows) + "\n")
    (root / "VolumeTracings.csv").write_text("\n".join(traces) + "\n")


def opencv_clip(path: Path, start: int) -> np.ndarray:
    """The usual way: decode the file from its start with OpenCV's VideoCapture, then cut out the clip."""
    capture, frames = cv2.VideoCapture(str(path)), []
    while True:
        there, frame = capture.read()
        if not there:
            break
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    return np.stack(frames)[start:start + CLIP]


def timed(side: Callable[[int, int], np.ndarray], n: int) -> list[float]:
    """Milliseconds of ``n`` random clips; the same clips for every side."""
    rng = np.random.default_rng(0)
    times = []
    for k in range(n + 5):
        study, start = int(rng.integers(STUDIES)), int(rng.integers(FRAMES - CLIP))
        began = time.perf_counter()
        clip = side(study, start)
        times.append(1000 * (time.perf_counter() - began))
        if clip.shape != (CLIP, SIZE, SIZE, 3):
            raise RuntimeError(f"clip {k} has shape {clip.shape}")
    return times[5:]  # the first ones warm the caches


def main() -> None:
    """Measure and print."""
    print(f"{processor()}, {os.cpu_count()} cores; Python {platform.python_version()}, numpy {np.__version__}, "
          f"OpenCV {cv2.__version__}, PyAV {av.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_cohort(root / "cohort")
        store = pack(echonet.read(root / "cohort"), root / "store", progress=False)
        avi = [root / "cohort" / "Videos" / f"B{number}.avi" for number in range(STUDIES)]
        sides = {
            "store": (lambda s, t: store.clip(f"B{s}", np.arange(t, t + CLIP)), 400),
            "AVI, echolib.data.video": (lambda s, t: read_video(avi[s])[t:t + CLIP], 60),
            "AVI, OpenCV VideoCapture": (lambda s, t: opencv_clip(avi[s], t), 60),
        }
        mean = {}
        print(f"random clips of {CLIP} frames out of {FRAMES}, {SIZE} x {SIZE} x 3")
        for name, (side, n) in sides.items():
            times = timed(side, n)
            mean[name] = statistics.mean(times)
            print(f"{name:26} n {n:4}   mean {mean[name]:8.3f} ms   sd {statistics.stdev(times):7.3f} ms   "
                  f"median {statistics.median(times):8.3f} ms")
        fastest = min(value for name, value in mean.items() if name != "store")
        print(f"ratio of means, faster decoder / store: {fastest / mean['store']:.0f} (aim: at least 50)")


if __name__ == "__main__":
    main()
