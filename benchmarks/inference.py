"""Whole videos through SimLVSeg-3D: batches across videos from the store against AVIs window by window in float32.

Command:  python benchmarks/inference.py [--record]                      (CPU; published and quarter width)
          python benchmarks/inference.py --device cuda --compile --record
Needs:    nothing; makes a temporary cohort of speckle videos (CPU: 2 of 64 frames; GPU: 64 of 176) and its store
Takes:    about 1 minute on 2 cores; about 2 minutes on a data-centre GPU
Aim:      CPU: twice the reference; GPU: ten times, and 15 microseconds per frame
Prints:   for each width and side n, mean and sd in microseconds per frame, the ratio, the share of the matrix product's speed,
          how well the masks of both sides agree (Dice), hardware, versions, load

Random weights, evaluation mode; the time runs from the file to masks on the host. The published 790 microseconds per frame (RTX
6000) are of another device.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import record, reference  # noqa: E402
from benchmarks.roofline import measure  # noqa: E402
from echolib.data import echonet  # noqa: E402
from echolib.data.store import ClipStore, pack  # noqa: E402
from echolib.evaluation import complexity  # noqa: E402
from echolib.evaluation.inference import segment_videos  # noqa: E402
from echolib.evaluation.metrics import dice  # noqa: E402
from echolib.models import build  # noqa: E402

CLIP, WIDTHS = 32, {"full": 1.0, "narrow": 0.25}


def compare(width: float, avis: list[Path], store: ClipStore, n: int, device: str, batch: int, compiled: bool,
            few: int) -> tuple[record.Side, record.Side, float, float]:
    """Microseconds per frame of ours and of the reference, G multiply-adds per frame, Dice between their masks.

    ``few``: on how many of the videos the reference runs.
    """
    model = build("unet3d", width=width, frames=CLIP, size=reference.SIZE, seed=0)
    found: dict[str, list[np.ndarray]] = {}

    def ours() -> None:
        videos = (store.video(avi.stem) for avi in avis)
        found["ours"] = list(segment_videos(model, videos, CLIP, 1, batch=batch, device=device, masks=True, compiled=compiled))

    def usual() -> None:
        found["reference"] = [reference.segment(model, avi, CLIP, device) for avi in avis[:few]]

    mine, theirs = record.in_turn(ours, usual, n, device)
    frames = len(found["ours"][0])
    agreement = float(np.mean([dice(a, b) for a, b in zip(found["ours"], found["reference"], strict=False)]))
    gmac = complexity.measure(model, CLIP, reference.SIZE).gflops_per_frame
    return record.side(mine, 1e6 / (frames * len(avis))), record.side(theirs, 1e6 / (frames * few)), gmac, agreement


def main() -> None:
    """Measure and report."""
    parser = record.options("Whole videos through SimLVSeg-3D.")
    parser.add_argument("--n", type=int, default=3, help="timed runs")
    parser.add_argument("--batch", type=int, help="windows per pass (CPU: 4, GPU: 32)")
    parser.add_argument("--compile", action="store_true", help="torch.compile our side; its first run is not timed")
    chosen = parser.parse_args()
    gpu = chosen.device == "cuda"
    started, roofline = record.load(), measure(chosen.device)
    rows, notes = [], []
    with tempfile.TemporaryDirectory() as folder:
        avis = reference.write_cohort(Path(folder) / "cohort", 64 if gpu else 2, 176 if gpu else 64)
        store = pack(echonet.read(Path(folder) / "cohort"), Path(folder) / "store", progress=False)
        for key, width in WIDTHS.items():
            batch, few = chosen.batch or (32 if gpu else 4), 8 if gpu else len(avis)
            mine, theirs, gmac, agreement = compare(width, avis, store, chosen.n, chosen.device, batch, chosen.compile, few)
            rows.append(record.row(key, f"inference, 3D U-Net x {width:g}", "µs per frame", mine, theirs, target=10 if gpu else 2,
                                   roofline=1e6 * roofline.seconds(gmac=gmac) / mine.mean))
            notes.append(f"x {width:g}: random weights, whose logits lie near 0: masks agree to Dice {agreement:.4f}")
    record.report("inference", chosen, started, roofline, rows, notes=notes)


if __name__ == "__main__":
    main()
