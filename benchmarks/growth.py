"""How the cost of inference grows: clips/s over batch, frames and frame size; seconds over a video's length; memory over each.

Command:  python benchmarks/growth.py [--record]                         (CPU: a quarter of the width)
          python benchmarks/growth.py --device cuda --record             (published width)
Needs:    nothing; black clips, random weights
Takes:    about 1 minute on 2 cores; about 1 minute on a GPU
Aim:      none for the speed; beside the result, memory does not grow with the video's length
Prints:   a curve for each; memory is the peak above what was held before: of the device on a GPU, of the process on a CPU
          (sampled every 5 ms), without the result; and ours against the reference at the usual clip, in one run
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import record, reference  # noqa: E402
from benchmarks.roofline import measure  # noqa: E402
from echolib.evaluation import complexity  # noqa: E402
from echolib.evaluation.inference import segment_video  # noqa: E402
from echolib.models import build  # noqa: E402
from echolib.pages.speed import Curve  # noqa: E402

BATCHES, FRAMES, SIZES, LENGTHS = (1, 2, 4), (16, 32, 64), (64, 96, 112, 160), (64, 128, 256, 512)
GPU_BATCHES, GPU_LENGTHS = (1, 4, 16, 64), (256, 1024, 4096)


def peak_memory(work: Callable[[], object], device: str) -> tuple[float, float]:
    """Seconds of ``work``, and the peak of memory above the start while it ran, in MB."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before, began = torch.cuda.memory_allocated(), time.perf_counter()
        work()
        torch.cuda.synchronize()
        return time.perf_counter() - began, (torch.cuda.max_memory_allocated() - before) / 1e6
    process, done, peak = psutil.Process(), threading.Event(), [0]
    before = process.memory_info().rss

    def watch() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], process.memory_info().rss - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    try:
        work()
        seconds = time.perf_counter() - began
    finally:
        done.set()
        watcher.join()
    return seconds, peak[0] / 1e6


def main() -> None:
    """Measure and report."""
    parser = record.options("How the cost of inference grows.")
    parser.add_argument("--width", type=float, help="width of the network (CPU: 0.25; GPU: 1)")
    chosen = parser.parse_args()
    device, gpu = chosen.device, chosen.device == "cuda"
    started, roofline = record.load(), measure(device)
    width = chosen.width or (1.0 if gpu else 0.25)
    model = build("unet3d", width=width, frames=32, size=112, seed=0).to(device)

    def one(length: int, frames: int, size: int, batch: int) -> tuple[float, float]:
        video = np.broadcast_to(np.zeros((1, size, size, 1), np.uint8), (length, size, size, 1))
        segment_video(model, video[:frames * batch], frames, 1, batch=batch, device=device, size=size)  # warm up
        seconds, memory = peak_memory(
            lambda: segment_video(model, video, frames, 1, batch=batch, device=device, size=size), device)
        return seconds, memory if gpu else max(0.0, memory - length * size * size * 4 / 1e6)

    curves, batches = [], GPU_BATCHES if gpu else BATCHES
    for label, values, arguments in (
            ("batch (windows per pass)", batches, lambda v: (64 * max(batches), 32, 112, v) if gpu else (128, 32, 112, v)),
            ("frames of a clip", FRAMES, lambda v: (128, v, 112, 2)), ("frame size (px)", SIZES, lambda v: (64, 32, v, 2))):
        points = [(one(*arguments(v)), arguments(v)) for v in values]
        curves.append(Curve(x_label=label, y_label="clips/s", x=values, y=[a[0] / a[1] / p[0] for p, a in points]))
        curves.append(Curve(x_label=label, y_label="memory (MB)", x=values, y=[p[1] for p, _ in points]))
    lengths = GPU_LENGTHS if gpu else LENGTHS
    points = [one(v, 32, 112, 2) for v in lengths]
    curves.append(Curve(x_label="video length (frames)", y_label="seconds", x=lengths, y=[p[0] for p in points]))
    curves.append(Curve(x_label="video length (frames)", y_label="memory (MB)", x=lengths, y=[p[1] for p in points]))

    video, clip = np.zeros((64, 112, 112, 3), np.uint8), torch.zeros(1, 3, 32, 112, 112, device=device)

    def usual() -> None:
        with torch.no_grad():
            for _ in range(2):
                model.eval()(clip)

    times = record.in_turn(lambda: segment_video(model, video, 32, 1, device=device), usual, 3, device)
    sides = [record.side([2 / t for t in part]) for part in times]
    gmac = complexity.measure(model, 32, reference.SIZE).gflops
    record.report("growth", chosen, started, roofline, [record.row(
        "clip", f"clips of 32 frames, 3D U-Net x {width:g}; reference: batch 1, float32, forward pass only", "clips/s", *sides,
        roofline=sides[0].mean * roofline.seconds(gmac=gmac), higher_is_better=True)], curves=curves)


if __name__ == "__main__":
    main()
