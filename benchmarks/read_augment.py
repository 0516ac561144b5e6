"""A training clip, read and augmented on one core: packed store + batched augmentation against OpenCV on an AVI's frames.

Command:  python benchmarks/read_augment.py [--n 10] [--record]
Needs:    nothing; makes temporary cohorts of 6 videos of 175 frames of 112 x 112 px (speckle in a sector, MJPG) and their stores:
          grey, as phantoms are, and of a slight tint, as EchoNet-Dynamic's are
Takes:    about 1 minute on 2 cores, of which one is used
Aim:      8 times the reference; the files are in the page cache on both sides
Prints:   for each side n, mean and sd in milliseconds of processor time per clip of 32 frames (normalised, with its mask), the
          ratio, the share of the copy bandwidth (uint8 read once, float32 written once), hardware, versions, load; each with
          jitter and CLAHE on every clip, and on half of them; what decoding costs in the reference, and whole videos instead

Reference: :mod:`benchmarks.opencv_loader`. Both sides take the same studies, starts and draws.
"""

from __future__ import annotations

import sys
import tempfile
import time
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import opencv_loader, record, reference  # noqa: E402
from benchmarks.roofline import measure  # noqa: E402
from echolib.config import AugmentSpec  # noqa: E402
from echolib.data import echonet  # noqa: E402
from echolib.data.augment import augment_frames, draw, normalise  # noqa: E402
from echolib.data.draws import Draw  # noqa: E402
from echolib.data.store import pack  # noqa: E402

STUDIES, FRAMES, CLIP, BATCH = 6, 175, 32, 8


#: What is read: key, what the videos and the store hold, tinted videos, channels of the store.
KINDS = (("grey", "grey, packed in one channel", False, 1), ("equal", "grey, packed in three channels", False, 3),
         ("tinted", "channels that differ a little, packed in three", True, 3))
#: How often jitter and CLAHE change a clip: key, in words, their probability.
SHARES = (("all", "every clip changed", 1.0), ("half", "jitter and CLAHE on half of the clips", 0.5))


def main() -> None:
    """Measure and report."""
    parser = record.options("Read and augment a clip on one core.", device=False)
    parser.add_argument("--n", type=int, default=5, help=f"batches of {BATCH} clips on each side, for every row")
    chosen = parser.parse_args()
    started = record.load()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    rows, notes, roofline = [], [], measure()
    traffic = CLIP * reference.SIZE ** 2 * 3 * (1 + 4) / 1e9
    for kind, what, tinted, channels in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            cohort = Cohort(Path(folder), tinted, channels)
            for share, words, p in SHARES:
                ours, usual = cohort.compare(chosen.n, AugmentSpec(jitter_p=p, clahe_p=p))
                rows.append(record.row(f"{kind}_{share}", f"read and augment a clip of {CLIP} frames, one core; {what}; {words}",
                                       "ms", ours, usual, target=8,
                                       roofline=1000 * roofline.seconds(gigabytes=traffic) / ours.mean))
            if not notes:
                notes.append(cohort.decoding(chosen.n))
    record.report("read_augment", chosen, started, roofline, rows, notes=notes)


class Cohort:
    """Videos of one kind, their store and what is read of them: ``BATCH`` clips at a time, the same on both sides."""

    def __init__(self, folder: Path, tinted: bool, channels: int) -> None:
        self.avis = reference.write_cohort(folder / "cohort", STUDIES, FRAMES, tinted=tinted)
        self.store = pack(echonet.read(folder / "cohort"), folder / "store", channels=channels, progress=False)
        self.masks = [self.store.mask(avi.stem, reference.TRACED[0]) for avi in self.avis]

    def picks(self, batch: int) -> list[tuple[int, int]]:
        """Video and first frame of each clip of a batch."""
        rng = np.random.default_rng(batch)
        return [(int(rng.integers(STUDIES)), int(rng.integers(FRAMES - CLIP))) for _ in range(BATCH)]

    def ours(self, batch: int, spec: AugmentSpec) -> tuple[torch.Tensor, torch.Tensor]:
        """Clips and masks from the store."""
        picks = self.picks(batch)
        pixels = np.stack([self.store.clip(self.avis[s].stem, np.arange(t, t + CLIP)) for s, t in picks])
        traced = torch.from_numpy(np.stack([self.masks[s] for s, _ in picks]))
        clip, masks = augment_frames(torch.from_numpy(pixels), traced, self.draws(batch, spec))
        return normalise(clip), masks

    def usual(self, batch: int, spec: AugmentSpec) -> tuple[torch.Tensor, torch.Tensor]:
        """The same from the AVIs."""
        clips, masks = [], []
        for (s, t), one in zip(self.picks(batch), self.draws(batch, spec), strict=True):
            frames, mask = opencv_loader.augment(opencv_loader.read(self.avis[s], t, CLIP), self.masks[s], one)
            clips.append(opencv_loader.normalise(frames))
            masks.append(torch.from_numpy(mask))
        return torch.stack(clips), torch.stack(masks)

    @staticmethod
    def draws(batch: int, spec: AugmentSpec) -> list[Draw]:
        """What happens to the clips of a batch."""
        return draw(BATCH, spec, torch.Generator().manual_seed(batch))

    def compare(self, n: int, spec: AugmentSpec) -> tuple[record.Side, record.Side]:
        """Milliseconds of processor time a clip, of ours and of the reference."""
        turns = count(), count()
        times = record.in_turn(lambda: self.ours(next(turns[0]), spec), lambda: self.usual(next(turns[1]), spec), n,
                               clock=time.process_time)
        return record.side(times[0], 1000 / BATCH), record.side(times[1], 1000 / BATCH)

    def decoding(self, n: int) -> str:
        """What the reference saves by decoding no other frames than the clip's, in a sentence."""
        turns = count(), count()
        clips, videos = record.in_turn(
            lambda: [opencv_loader.read(self.avis[s], t, CLIP) for s, t in self.picks(next(turns[0]))],
            lambda: [reference.decode(self.avis[s])[t:t + CLIP] for s, t in self.picks(next(turns[1]))], n,
            clock=time.process_time)
        means = [record.side(times, 1000 / BATCH).mean for times in (clips, videos)]
        return (f"the reference decodes a clip's frames alone, in {means[0]:.1f} ms; decoding the whole video of {FRAMES} frames "
                f"for them, as is often done, takes {means[1]:.1f} ms")


if __name__ == "__main__":
    main()
