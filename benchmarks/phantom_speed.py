"""Speed of the phantom: 175-frame clips on one core, or on the GPU.

Command:  python benchmarks/phantom_speed.py [--record]
          python benchmarks/phantom_speed.py --device cuda --n 100 --record
Needs:    nothing; no file is written, since encoding an AVI is another question
Takes:    about 20 s on one core
Aim:      one core: 1 s per clip, 4 s at most; GPU: the cohort of 10,030 clips in 3 minutes, 18 ms per clip
Prints:   n, mean and sd of the seconds per clip, wall time and process time (they differ when others share the core),
          hardware, versions, load. There is no reference: no other program makes these clips
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one core: numpy's matrix products too

import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import record  # noqa: E402
from benchmarks.roofline import measure  # noqa: E402
from echolib.phantom.clip import simulate  # noqa: E402
from echolib.phantom.presets import draw  # noqa: E402

FRAMES = 175


def main() -> None:
    """Measure and report."""
    parser = record.options("Seconds per phantom clip.")
    parser.add_argument("--n", type=int, default=8, help="clips")
    chosen = parser.parse_args()
    device, batch = chosen.device, 64 if chosen.device == "cuda" else 4
    started, roofline = record.load(), measure(device)
    simulate(draw("echonet", [99], frames=20), device=device, batch=batch)  # warm up
    wall, process = [], []
    for k in range(chosen.n):
        parameters = draw("echonet", [7, k], frames=FRAMES)
        began, cpu = time.perf_counter(), time.process_time()
        simulate(parameters, device=device, batch=batch)
        record.finish(device)
        wall.append(time.perf_counter() - began)
        process.append(time.process_time() - cpu)
    record.report("phantom_speed", chosen, started, roofline, [
        record.row("clip", f"phantom clip of {FRAMES} frames", "s", record.side(wall)),
        record.row("process", "the same, process time", "s", record.side(process))])


if __name__ == "__main__":
    main()
