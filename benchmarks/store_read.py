"""Random 32-frame clips: from the memory-mapped store, against decoding the AVI they come from. Both sides in one run.

Command:  python benchmarks/store_read.py [--record]
Needs:    nothing; makes a temporary cohort of 6 videos of 175 frames of 112 x 112 px (speckle in a sector, MJPG) and its store
Takes:    under 30 s on 2 cores
Aim:      50 times the reference, which skips to the clip and decodes its frames alone, with OpenCV (:mod:`opencv_loader`); the
          files are in the page cache on both sides
Prints:   for each side n, mean and sd in milliseconds per clip, the ratio, the share of the copy bandwidth (each byte read once
          and written once), hardware, versions, load; and in notes how long decoding whole files takes, with OpenCV and with this
          package's own decoder
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import opencv_loader, record, reference  # noqa: E402
from benchmarks.roofline import measure  # noqa: E402
from echolib.data import echonet  # noqa: E402
from echolib.data.store import pack  # noqa: E402
from echolib.data.video import read_video  # noqa: E402

STUDIES, FRAMES, CLIP = 6, 175, 32


def timed(side: Callable[[int, int], np.ndarray], n: int) -> list[float]:
    """Seconds of ``n`` random clips; the same clips for every side."""
    rng = np.random.default_rng(0)
    times = []
    for k in range(n + 5):
        study, start = int(rng.integers(STUDIES)), int(rng.integers(FRAMES - CLIP))
        began = time.perf_counter()
        clip = side(study, start)
        times.append(time.perf_counter() - began)
        if clip.shape != (CLIP, reference.SIZE, reference.SIZE, 3):
            raise RuntimeError(f"clip {k} has shape {clip.shape}")
    return times[5:]  # the first ones warm the caches


def main() -> None:
    """Measure and report."""
    parser = record.options("Random clips from the store against decoding AVIs.", device=False)
    parser.add_argument("--n", type=int, default=60, help="clips on the slow side; ours reads seven times as many")
    chosen = parser.parse_args()
    started, roofline = record.load(), measure()
    with tempfile.TemporaryDirectory() as folder:
        avis = reference.write_cohort(Path(folder) / "cohort", STUDIES, FRAMES)
        store = pack(echonet.read(Path(folder) / "cohort"), Path(folder) / "store", progress=False)
        ours = timed(lambda s, t: store.clip(avis[s].stem, np.arange(t, t + CLIP)), 7 * chosen.n)
        usual = timed(lambda s, t: np.stack(opencv_loader.read(avis[s], t, CLIP)), chosen.n)
        whole = timed(lambda s, t: reference.decode(avis[s])[t:t + CLIP], chosen.n)
        own = timed(lambda s, t: read_video(avis[s])[t:t + CLIP], chosen.n)
    sides = record.side(ours, 1000), record.side(usual, 1000)
    traffic = 2 * CLIP * reference.SIZE ** 2 * 3 / 1e9
    record.report("store_read", chosen, started, roofline, [record.row(
        "clip", f"read a clip of {CLIP} frames out of {FRAMES}", "ms", *sides, target=50,
        roofline=1000 * roofline.seconds(gigabytes=traffic) / sides[0].mean)],
        notes=[f"OpenCV decodes a whole AVI in {1000 * statistics.fmean(whole):.1f} ms, echolib.data.video in "
               f"{1000 * statistics.fmean(own):.1f} ms"])


if __name__ == "__main__":
    main()
