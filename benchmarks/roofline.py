"""What the machine could do at best: its matrix product and its copy bandwidth, measured here and now.

Command:  python benchmarks/roofline.py --device cuda
Needs:    nothing
Takes:    2 s
Prints:   GFLOP/s of a large matrix product (a multiply-add counts two) in float32 and bfloat16, and GB/s of a copy (bytes
          read plus bytes written); the best of several tries, since a roofline is a bound
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from echolib.evaluation.inference import has_bfloat16  # noqa: E402

TRIES = 5


@dataclass(frozen=True)
class Roofline:
    """``matmul_gflops`` by precision, ``copy_gb_s``: bytes read plus bytes written."""

    matmul_gflops: dict[str, float]
    copy_gb_s: float

    def __str__(self) -> str:
        products = ", ".join(f"{kind} {value:,.0f} GFLOP/s" for kind, value in self.matmul_gflops.items())
        return f"matrix product {products}; copy {self.copy_gb_s:,.0f} GB/s"

    def seconds(self, gmac: float = 0.0, gigabytes: float = 0.0) -> float:
        """The least time for ``gmac`` 1e9 multiply-adds in the fastest precision and ``gigabytes`` read or written."""
        return max(2 * gmac / max(self.matmul_gflops.values()), gigabytes / self.copy_gb_s)


def measure(device: str = "cpu") -> Roofline:
    """Measure both; with the threads that torch has now."""
    kinds = [torch.float32] + ([torch.bfloat16] if has_bfloat16(torch.device(device)) else [])
    size = 8192 if device == "cuda" else 1024
    found = {}
    for kind in kinds:
        a, b = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
        found[str(kind).removeprefix("torch.")] = 2 * size ** 3 / _best(lambda a=a, b=b: a @ b, device) / 1e9
    source = torch.ones(2 ** 28 if device == "cuda" else 2 ** 25, device=device)  # 128 MB on a CPU: more than its caches hold
    target = torch.empty_like(source)
    return Roofline(found, 2 * source.nbytes / _best(lambda: target.copy_(source), device) / 1e9)


def _best(work: Callable[[], object], device: str) -> float:
    work()
    seconds = []
    for _ in range(TRIES):
        if device == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Matrix product and copy bandwidth.")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    print(measure(parser.parse_args().device))
