"""Two promises of a run: the same specification gives the same weights, and Ctrl-C leaves a checkpoint."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
from torch.utils import deterministic as torch_deterministic


@contextmanager
def deterministic(device: torch.device, strict: bool = True) -> Iterator[None]:
    """Deterministic kernels and a private random state inside; every global setting as it was, after.

    On the CPU an operation without a deterministic kernel is an error. On a GPU it is a warning: the gradient of 3-D max
    pooling has none, and networks need it; there two runs agree up to rounding. The number of threads is part of the
    machine: sums may be taken in another order with another number of them.

    ``strict=False`` (the fast path on a GPU) lets cuDNN measure and take the fastest kernels instead; two runs agree up to
    rounding there in either case.
    """
    backend = torch.backends.cudnn
    before = (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled(),
              backend.benchmark, torch_deterministic.fill_uninitialized_memory, os.environ.get("CUBLAS_WORKSPACE_CONFIG"))
    on_gpu = device.type == "cuda"
    try:
        if on_gpu:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it before it is deterministic
        torch.use_deterministic_algorithms(strict, warn_only=on_gpu)
        backend.benchmark = not strict
        torch_deterministic.fill_uninitialized_memory = False  # a debugging aid that costs time
        with torch.random.fork_rng(devices=[device.index or 0] if on_gpu else []):
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        backend.benchmark, torch_deterministic.fill_uninitialized_memory = before[2:4]
        if before[4] is None:
            os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


class StopSignal:
    """Turns the first SIGINT or SIGTERM into a flag, so that a step is never cut in half; a second one acts at once.

    Signals reach the main thread only; in another thread nothing is installed.

    Attributes:
        received: the signal's number, or None.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            self._restore()
            self.leave()
        self.received = number

    def leave(self) -> None:
        """Raise what the signal stands for: KeyboardInterrupt, or SystemExit(143) for SIGTERM."""
        if self.received == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)
        raise KeyboardInterrupt
