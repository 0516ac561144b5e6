"""Speed of the phantom: 175-frame clips per second on one core, and on the GPU where there is one.

    python benchmarks/phantom_speed.py [clips] [device]

Prints the hardware, the versions, n, mean and sd of the seconds per clip (wall and process time; the two differ when other
programs share the core) and clips per second. The aim is one 175-frame clip per second and core; 0.25 is the floor.
Files are not written: encoding an AVI is measured where cohorts are.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")      # one core: numpy's matrix products too

import platform  # noqa: E402
import statistics  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402

import numpy  # noqa: E402
import torch  # noqa: E402

from echolib.hardware import processor  # noqa: E402
from echolib.phantom.clip import simulate  # noqa: E402
from echolib.phantom.presets import draw  # noqa: E402

FRAMES = 175


def main(clips: int = 10, device: str = "cpu") -> None:
    batch = 4 if device == "cpu" else 64
    hardware = processor() if device == "cpu" else torch.cuda.get_device_name()
    print(f"hardware  {hardware}, {os.cpu_count()} cores here, 1 used")
    print(f"versions  python {platform.python_version()}, numpy {numpy.__version__}, torch {torch.__version__}")
    simulate(draw("echonet", [99], frames=20), device=device, batch=batch)      # warm up
    wall, process = [], []
    for k in range(clips):
        parameters = draw("echonet", [7, k], frames=FRAMES)
        w, c = time.perf_counter(), time.process_time()
        simulate(parameters, device=device, batch=batch)
        wall.append(time.perf_counter() - w)
        process.append(time.process_time() - c)
    for name, values in (("wall", wall), ("process", process)):
        mean, sd = statistics.mean(values), statistics.stdev(values) if clips > 1 else 0.0
        print(f"{name:9s} n = {clips}, {mean:.2f} s per clip of {FRAMES} frames (sd {sd:.2f}), {1 / mean:.2f} clips/s per core")


if __name__ == "__main__":
    main(*(kind(value) for kind, value in zip((int, str), sys.argv[1:], strict=False)))
