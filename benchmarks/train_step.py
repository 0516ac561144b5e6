"""Fine-tuning SimLVSeg-3D from data to updated weights: the engine of this package against a DataLoader that decodes AVIs.

Command:  python benchmarks/train_step.py [--record]                     (CPU: a quarter of the width, batch 4)
          python benchmarks/train_step.py --device cuda --record         (published width, batch 16, bf16)
Needs:    nothing; makes a temporary cohort of speckle videos of 100 frames and its store
Takes:    about 1.5 minutes on 2 cores; about 3 minutes on a data-centre GPU
Aim:      GPU: 15 times the reference with 16 workers, 1,000 clips/s, the full protocol in 35 minutes
Prints:   for each side n (steps), mean and sd in clips per second, the ratio, the share of the matrix product's speed
          (forward and backward are three forwards), hardware, versions, load. On a GPU also the peak memory at this batch and,
          BY ARITHMETIC from the measured rates, the hours of the full protocol: 7,460 x 100 clips of stage 1 and 14,920 x 70 of
          stage 2 at the rate of training, 2,576 x 70 of validation at three times it (no backward pass)

Reference: the clip's frames decoded and augmented with OpenCV (:mod:`opencv_loader`) in DataLoader workers (as many as cores, 16
at most), float32, eager, AdamW. The steps that warm each side up are not counted.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import record, reference  # noqa: E402
from benchmarks.roofline import measure  # noqa: E402
from echolib.config import ClipSpec, DataSpec, ModelSpec, RunSpec, TrainSpec  # noqa: E402
from echolib.data import echonet  # noqa: E402
from echolib.data.store import ClipStore, pack  # noqa: E402
from echolib.evaluation import complexity  # noqa: E402
from echolib.hardware import cores  # noqa: E402
from echolib.losses import dice_frame  # noqa: E402
from echolib.models import build  # noqa: E402
from echolib.training.engine import fit  # noqa: E402
from echolib.training.recipes.segment import Segment, Segmentation  # noqa: E402

CLIP, LENGTH, WARM = 32, 100, 2
STAGE1, STAGE2, VALIDATION = 7460 * 100, 14920 * 70, 2576 * 70


def ours(store: ClipStore, width: float, batch: int, steps: int, device: str, folder: Path) -> list[float]:
    """Seconds of each step of the package's own engine, read from its log."""
    spec = RunSpec(recipe=Segment(), data=DataSpec(layout="echonet"), model=ModelSpec(name="unet3d", width=width),
                   clip=ClipSpec(frames=CLIP), train=TrainSpec(epochs=1, batch=batch, steps=steps),
                   precision="bf16-mixed" if device == "cuda" else "32-true")
    recipe = Segmentation(spec, store)
    recipe.check = lambda: None  # a store for timing has no validation split
    recipe.validate = lambda model, device: None
    fit(recipe, folder, progress=False, device=device, checkpoint_seconds=1e9)
    since = pd.read_csv(folder / "log.csv")["seconds"]
    return since.diff().iloc[WARM:].tolist()


def usual(avis: list[Path], store: ClipStore, width: float, batch: int, steps: int, device: str, workers: int) -> list[float]:
    """Seconds of each step of the reference; the items are repeated to fill its steps."""
    chosen = [avis[k % len(avis)] for k in range(batch * steps)]
    clips = reference.TrainingClips(chosen, [store.mask(avi.stem, reference.TRACED[0]) for avi in chosen], CLIP, LENGTH)
    model = build("unet3d", width=width, frames=CLIP, size=reference.SIZE, seed=0)
    times, began = [], time.perf_counter()
    for _ in reference.training_steps(model, clips, batch, workers, dice_frame, device):
        times.append(time.perf_counter() - began)
        began = time.perf_counter()
    return times[WARM:]


def main() -> None:
    """Measure and report."""
    parser = record.options("Fine-tuning SimLVSeg-3D from data to updated weights.")
    parser.add_argument("--steps", type=int, help="timed steps of each side (CPU: 4; GPU: 60)")
    parser.add_argument("--batch", type=int, help="clips per step (CPU: 4; GPU: 16)")
    parser.add_argument("--width", type=float, help="width of the network (CPU: 0.25; GPU: 1)")
    chosen = parser.parse_args()
    gpu = chosen.device == "cuda"
    batch, width = chosen.batch or (16 if gpu else 4), chosen.width or (1.0 if gpu else 0.25)
    steps, workers = (chosen.steps or (60 if gpu else 4)) + WARM, min(16, cores())
    started, roofline = record.load(), measure(chosen.device)
    with tempfile.TemporaryDirectory() as folder:
        avis = reference.write_cohort(Path(folder) / "cohort", 4 * (batch * steps // 4 + 1), LENGTH)
        store = pack(echonet.read(Path(folder) / "cohort"), Path(folder) / "store", progress=False)
        train = [avi for avi in avis if store.studies["split"][avi.stem] == "train"]
        if gpu:
            torch.cuda.reset_peak_memory_stats()
        half = [ours(store, width, batch, steps, chosen.device, Path(folder) / "first")]
        peak = torch.cuda.max_memory_allocated() / 1e9 if gpu else 0.0
        theirs = usual(train, store, width, batch, steps, chosen.device, workers)
        half.append(ours(store, width, batch, steps, chosen.device, Path(folder) / "second"))  # before and after the reference
    mine = [batch / t for times in half for t in times]
    gmac = 3 * complexity.measure(build("unet3d", width=width, frames=CLIP, size=reference.SIZE, seed=0), CLIP,
                                  reference.SIZE).gflops
    sides = record.side(mine), record.side([batch / t for t in theirs])
    rows = [record.row("train", f"fine-tuning, 3D U-Net x {width:g}, batch {batch}", "clips/s", *sides,
                       target=15 if gpu else None, roofline=sides[0].mean * roofline.seconds(gmac=gmac), higher_is_better=True)]
    notes = [f"reference: {workers} workers"]
    if gpu:
        rows.append(record.row("memory", f"peak GPU memory of our side, batch {batch}", "GB", record.side([peak])))
    if width == 1:
        hours = (STAGE1 + STAGE2 + VALIDATION / 3) / statistics.fmean(mine) / 3600
        rows.append(record.row("protocol", "full protocol, by arithmetic from the measured rates", "h", record.side([hours])))
        notes.append("validation counted at three times the rate of training")
    record.report("train_step", chosen, started, roofline, rows, notes=notes)


if __name__ == "__main__":
    main()
