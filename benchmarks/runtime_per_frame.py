"""Time per frame, parameters and operations of every network, in one run.

    python benchmarks/runtime_per_frame.py                     # this machine's processor, about 3 minutes on 2 cores
    python benchmarks/runtime_per_frame.py --device cuda --runs 1000
    python benchmarks/runtime_per_frame.py --json build/runtime.json

Contract: full-width networks, random weights, eval mode, float32, batch of one clip of 112x112 px frames already on the
device: 32 frames for the 3D U-Nets, 16 for the super images, one for the frame-wise networks. A few warm-up runs, then
``--runs`` timed ones; the figure is milliseconds per frame, mean and standard deviation over the runs. Only the forward pass
is timed: no decoding, no copies between host and device.

For comparison, the paper's own figures (NVIDIA RTX 6000, 1000 runs): nnU-Net 3.18 (0.04), SimLVSeg-SI 0.83 (0.02),
SimLVSeg-3D 0.79 (0.02) ms per frame. Another device, so to be read in order of size only.

A figure is worth keeping only from a machine that does nothing else: the last line prints the load average at the start.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from echolib import models  # noqa: E402
from echolib.evaluation.complexity import WARM_UP, measure, time_per_frame  # noqa: E402

SIZE = 112


def frames_of(name: str) -> int:
    """Frames of a clip in the paper's main experiment."""
    if name.startswith("si_"):
        return 16
    return 32 if name.startswith("unet3d") else 1


def row_of(name: str, width: float, runs: int, device: str) -> dict:
    """Cost and time of one network."""
    frames = frames_of(name)
    model = models.build(name, width=width, frames=frames, size=SIZE, seed=0)
    cost = measure(model, frames, SIZE)
    return {"network": name, "frames": frames, "width": width, **asdict(cost),
            **asdict(time_per_frame(model, frames, SIZE, runs=runs, device=device))}


def main() -> None:
    parser = argparse.ArgumentParser(description="Time per frame, parameters and operations of every network.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--only", nargs="+", choices=models.NAMES, default=models.NAMES, metavar="NETWORK")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    rows = [row_of(name, options.width, options.runs, options.device)
            for name in track(options.only, "timing", console=Console(stderr=True))]
    table = Table("network", "frames", "M parameters", "G per clip", "G per frame", "ms per frame", "sd")
    for row in rows:
        table.add_row(row["network"], str(row["frames"]), f"{row['parameters'] / 1e6:.3f}", f"{row['gflops']:.2f}",
                      f"{row['gflops_per_frame']:.3f}", f"{row['ms_per_frame']:.2f}", f"{row['sd']:.2f}")
    console = Console(width=110)
    console.print(table)
    console.print(f"{rows[0]['hardware']}; {options.runs} runs after {WARM_UP} to warm up; batch 1, {SIZE}x{SIZE} px, "
                  f"width {options.width:g}; load average at the start {load:.1f}")
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        temporary = options.json.with_name(f".{options.json.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        os.replace(temporary, options.json)


if __name__ == "__main__":
    main()
