"""A training clip, read and augmented on one core: packed store + batched augmentation against AVI + frame by frame.

Command:  python benchmarks/read_augment.py [--n 10] [--record]
Needs:    nothing; makes temporary cohorts of 6 videos of 175 frames of 112 x 112 px (speckle in a sector, MJPG) and their stores:
          grey, as phantoms are, and of a slight tint, as EchoNet-Dynamic's are
Takes:    about 1 minute on 2 cores, of which one is used
Aim:      8 times the reference; the files are in the page cache on both sides
Prints:   for each side n, mean and sd in milliseconds of processor time per clip of 32 frames (normalised, with its mask), the
          ratio, the share of the copy bandwidth (uint8 read once, float32 written once), hardware, versions, load

Reference: OpenCV decodes the AVI from its start, then each frame is augmented for itself (:mod:`echolib.data.plain`).
Both sides take the same studies, starts and draws.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import record, reference  # noqa: E402
from benchmarks.roofline import measure  # noqa: E402
from echolib.config import AugmentSpec  # noqa: E402
from echolib.data import echonet, plain  # noqa: E402
from echolib.data.augment import augment_frames, draw, normalise  # noqa: E402
from echolib.data.store import pack  # noqa: E402

STUDIES, FRAMES, CLIP, BATCH = 6, 175, 32, 8


#: Rows: key, what the videos and the store hold, tinted videos, channels of the store.
KINDS = (("clip", "grey, packed in one channel", False, 1), ("equal", "grey, packed in three channels", False, 3),
         ("tinted", "channels that differ a little, packed in three", True, 3))


def main() -> None:
    """Measure and report."""
    parser = record.options("Read and augment a clip on one core.", device=False)
    parser.add_argument("--n", type=int, default=5, help=f"batches of {BATCH} clips on each side, for every kind of video")
    chosen = parser.parse_args()
    started = record.load()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    measured = []
    for key, what, tinted, channels in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            measured.append((key, what, *compare(Path(folder), chosen.n, tinted, channels)))
    roofline = measure()
    traffic = CLIP * reference.SIZE ** 2 * 3 * (1 + 4) / 1e9
    record.report("read_augment", chosen, started, roofline, [
        record.row(key, f"read and augment a clip of {CLIP} frames, one core; {what}", "ms", ours, usual, target=8,
                   roofline=1000 * roofline.seconds(gigabytes=traffic) / ours.mean) for key, what, ours, usual in measured])


def compare(folder: Path, n: int, tinted: bool, channels: int) -> tuple[record.Side, record.Side]:
    """Milliseconds a clip, of ours and of the reference, on a cohort of one kind; a batch takes the same clips and draws."""
    spec = AugmentSpec()
    avis = reference.write_cohort(folder / "cohort", STUDIES, FRAMES, tinted=tinted)
    store = pack(echonet.read(folder / "cohort"), folder / "store", channels=channels, progress=False)
    masks = {avi.stem: store.mask(avi.stem, reference.TRACED[0]) for avi in avis}
    rng = np.random.default_rng(0)
    picks = [[(int(rng.integers(STUDIES)), int(rng.integers(FRAMES - CLIP))) for _ in range(BATCH)] for _ in range(n + 1)]
    turns = {"ours": iter(range(n + 1)), "reference": iter(range(n + 1))}

    def ours() -> torch.Tensor:
        batch = next(turns["ours"])
        pixels = np.stack([store.clip(avis[s].stem, np.arange(t, t + CLIP)) for s, t in picks[batch]])
        traced = torch.from_numpy(np.stack([masks[avis[s].stem] for s, _ in picks[batch]]))
        draws = draw(BATCH, spec, torch.Generator().manual_seed(batch))
        return normalise(augment_frames(torch.from_numpy(pixels), traced, draws)[0])

    def usual() -> torch.Tensor:
        batch = next(turns["reference"])
        draws = draw(BATCH, spec, torch.Generator().manual_seed(batch))
        clips = []
        for (s, t), one in zip(picks[batch], draws, strict=True):
            frames, _ = plain.augment_clip(reference.decode(avis[s])[t:t + CLIP], masks[avis[s].stem], one)
            clips.append(reference.to_tensor(frames))
        return torch.stack(clips)

    times = record.in_turn(ours, usual, n, clock=time.process_time)
    return record.side(times[0], 1000 / BATCH), record.side(times[1], 1000 / BATCH)


if __name__ == "__main__":
    main()
