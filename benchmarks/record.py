"""What all benchmarks share: options, timing of two sides in turn, and the record with hardware, versions, date and load."""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks.roofline import Roofline
from echolib.evaluation.complexity import hardware
from echolib.files import write_json
from echolib.hardware import cores
from echolib.pages.speed import FOLDER, Curve, Result, Row, Side

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("torch", "monai", "numpy", "opencv-python-headless")
#: Load of the machine before a benchmark starts, as a share of its cores, above which its numbers are marked.
BUSY = 0.25


def options(description: str, *, device: bool = True) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    if device:
        parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--record", action="store_true", help="write results/benchmarks/<name>-<device>.json")
    parser.add_argument("--json", type=Path, help="write the same to this file")
    return parser


def load() -> float:
    """The load average of the last minute; ``make bench`` gives that from before its first benchmark."""
    return float(os.environ.get("ECHOLIB_BENCH_LOAD") or os.getloadavg()[0])


def in_turn(ours: Callable[[], object], reference: Callable[[], object], n: int, device: str = "cpu",
            warm: int = 1, clock: Callable[[], float] = time.perf_counter) -> tuple[list[float], list[float]]:
    """Seconds of both sides, one after the other ``n`` times, so that what else the machine does hits both alike.

    ``clock``: ``time.process_time`` for work on one core, which others on that core then do not lengthen.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(n + warm):
        for side, found in zip((ours, reference), times, strict=True):
            finish(device)
            began = clock()
            side()
            finish(device)
            found.append(clock() - began)
    return times[0][warm:], times[1][warm:]


def finish(device: str) -> None:
    """Wait for the GPU: its calls return before the work is done."""
    if device == "cuda":
        torch.cuda.synchronize()


def side(values: list[float], scale: float = 1.0) -> Side:
    """Mean and standard deviation (0 for a single value), after a change of unit."""
    scaled = [scale * value for value in values]
    return Side(n=len(scaled), mean=statistics.fmean(scaled), sd=statistics.stdev(scaled) if len(scaled) > 1 else 0.0)


def row(key: str, what: str, unit: str, ours: Side, reference: Side | None = None, *, target: float | None = None,
        roofline: float | None = None, higher_is_better: bool = False) -> Row:
    """A row with its ratio: how many times better ours is."""
    ratio = None
    if reference is not None:
        ratio = ours.mean / reference.mean if higher_is_better else reference.mean / ours.mean
    return Row(key=key, what=what, unit=unit, ours=ours, reference=reference, ratio=ratio, target=target, roofline=roofline,
               higher_is_better=higher_is_better)


def report(name: str, chosen: argparse.Namespace, started_load: float, roofline: Roofline, rows: list[Row], *,
           curves: list[Curve] = (), notes: list[str] = ()) -> Result:
    """Print the result and write it where the options say."""
    device = getattr(chosen, "device", "cpu")
    busy = started_load > BUSY * cores()
    command = f"python benchmarks/{name}.py" + (" --device cuda" if device == "cuda" else "")
    result = Result(name=name, device=device, command=command,
                    hardware=hardware(device), versions={package: version(package) for package in VERSIONS},
                    date=datetime.now(timezone.utc).strftime("%Y-%m-%d"), load_average=round(started_load, 2), busy=busy,
                    matmul_gflops=roofline.matmul_gflops, copy_gb_s=roofline.copy_gb_s, rows=rows, curves=list(curves),
                    notes=list(notes))
    print(f"{result.hardware}; {result.date}; load at the start {started_load:.1f}"
          + (": BUSY, not to be quoted" if busy else ""))
    print(f"roofline: {roofline}")
    for one in rows:
        print(f"{one.what}: ours {_text(one.ours, one.unit)}"
              + (f"; reference {_text(one.reference, one.unit)}; ratio {one.ratio:.2f}" if one.reference else "")
              + (f" (aim: {one.target:g})" if one.target else "")
              + (f"; {100 * one.roofline:.2g} % of the roofline" if one.roofline else ""))
    for curve in curves:
        points = ", ".join(f"{x:g}: {y:.3g}" for x, y in zip(curve.x, curve.y, strict=True))
        print(f"{curve.y_label} over {curve.x_label}: {points}")
    for note in notes:
        print(note)
    targets = ([ROOT / FOLDER / f"{name}-{device}.json"] if chosen.record else []) + ([chosen.json] if chosen.json else [])
    for path in targets:
        write_json(path, result.model_dump(mode="json"))
    return result


def _text(one: Side, unit: str) -> str:
    return f"{one.mean:.3g} {unit} (sd {one.sd:.2g}, n {one.n})"
