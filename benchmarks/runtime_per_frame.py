"""Time per frame, parameters and operations of every network, in one run.

Command:  python benchmarks/runtime_per_frame.py [--runs 5] [--record]
          python benchmarks/runtime_per_frame.py --device cuda --runs 1000 --record
Needs:    nothing
Takes:    about 2 minutes on 2 cores
Prints:   for each network n, mean and sd in milliseconds per frame, the share of the matrix product's speed, parameters and
          operations, hardware, versions, load. The paper's figures (NVIDIA RTX 6000, 1000 runs): nnU-Net 3.18 (0.04),
          SimLVSeg-SI 0.83 (0.02), SimLVSeg-3D 0.79 (0.02) ms: another device, to be read in order of size only

Full-width networks, random weights, eval mode, float32, batch of one clip of 112 x 112 px frames already on the device: 32 frames
for the 3D U-Nets, 16 for the super images, one for the frame-wise networks. Only the forward pass is timed.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import record  # noqa: E402
from benchmarks.roofline import Roofline  # noqa: E402
from benchmarks.roofline import measure as roofline_of  # noqa: E402
from echolib import models  # noqa: E402
from echolib.evaluation.complexity import measure, time_per_frame  # noqa: E402

SIZE = 112


def frames_of(name: str) -> int:
    """Frames of a clip in the paper's main experiment."""
    if name.startswith("si_"):
        return 16
    return 32 if name.startswith("unet3d") else 1


def row_of(name: str, width: float, runs: int, device: str, roofline: Roofline) -> record.Row:
    """Cost and time of one network."""
    frames = frames_of(name)
    model = models.build(name, width=width, frames=frames, size=SIZE, seed=0)
    cost, time = measure(model, frames, SIZE), time_per_frame(model, frames, SIZE, runs=runs, device=device)
    what = f"{name}: {cost.parameters / 1e6:.3f} M parameters, {cost.gflops_per_frame:.3f} G multiply-adds per frame"
    return record.row(name, what, "ms per frame", record.Side(n=time.runs, mean=time.ms_per_frame, sd=time.sd),
                      roofline=1000 * roofline.seconds(gmac=cost.gflops_per_frame) / time.ms_per_frame)


def main() -> None:
    """Measure and report."""
    parser = record.options("Time per frame, parameters and operations of every network.")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--only", nargs="+", choices=models.NAMES, default=models.NAMES, metavar="NETWORK")
    chosen = parser.parse_args()
    started, roofline = record.load(), roofline_of(chosen.device)
    rows = [row_of(name, chosen.width, chosen.runs, chosen.device, roofline) for name in chosen.only]
    record.report("runtime_per_frame", chosen, started, roofline, rows)


if __name__ == "__main__":
    main()
