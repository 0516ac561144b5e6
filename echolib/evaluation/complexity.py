"""Cost of a network: parameters, operations, time per frame.

Operations are counted by fvcore, as in the papers: its "FLOP" is one multiply-accumulate. A fused attention hides its two
matrix products from fvcore, so a counter for it is added here; with it the counts are those that the papers print.
"""

from __future__ import annotations

import math
import statistics
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from echolib.errors import ConfigError
from echolib.hardware import cores, processor
from echolib.models import count_parameters
from echolib.models.single_clip import SingleClip

with warnings.catch_warnings():  # fvcore compiles a loss that nobody here uses, in a way that torch deprecates
    warnings.filterwarnings("ignore", message=".*torch.jit.script.* is deprecated", category=FutureWarning)
    from fvcore.nn import FlopCountAnalysis
    from fvcore.nn.jit_handles import get_shape

WARM_UP = 3


@dataclass(frozen=True)
class Complexity:
    """Cost of one forward pass over one clip.

    Attributes:
        parameters: number of parameters.
        gflops: 1e9 multiply-accumulates per clip.
        gflops_per_frame: the same divided by the number of frames.
    """

    parameters: int
    gflops: float
    gflops_per_frame: float


@dataclass(frozen=True)
class RunTime:
    """Time of the forward pass.

    Attributes:
        ms_per_frame: mean over the runs, ms.
        sd: standard deviation over the runs, ms per frame (0 for a single run).
        runs: timed runs, after the warm-up.
        batch: clips per run.
        hardware: processor or GPU, cores in use, versions; no host name.
    """

    ms_per_frame: float
    sd: float
    runs: int
    batch: int
    hardware: str


def measure(model: nn.Module, frames: int, size: int, channels: int = 3) -> Complexity:
    """Count parameters and operations in eval mode on one black clip ``(1, channels, frames, size, size)``.

    The model is left in the mode it was in.
    """
    total = operations(model, frames, size, channels)[""]
    return Complexity(parameters=count_parameters(model), gflops=total / 1e9, gflops_per_frame=total / 1e9 / frames)


def operations(model: nn.Module, frames: int, size: int, channels: int = 3) -> dict[str, float]:
    """Multiply-accumulates of every module, by its name ("" is the whole network), on the clip of :func:`measure`."""
    with _evaluating(model):
        analysis = FlopCountAnalysis(model, _clip(model, 1, frames, size, channels))
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        analysis.set_op_handle("aten::scaled_dot_product_attention", _attention_flops)
        return {name: float(count) for name, count in analysis.by_module().items()}


def time_per_frame(model: nn.Module, frames: int, size: int, *, runs: int, batch: int = 1, channels: int = 3,
                   device: str | torch.device = "cpu") -> RunTime:
    """Time the forward pass in eval mode, after a warm-up, on black clips already on the device.

    The model is moved to ``device`` and left there, in the mode it was in.

    Raises:
        ConfigError: ``runs`` or ``batch`` is less than 1.
    """
    if runs < 1 or batch < 1:
        raise ConfigError(f"runs = {runs}, batch = {batch}; expected at least 1 each")
    device = torch.device(device)
    model.to(device)
    milliseconds = []
    with _evaluating(model):
        clip = _clip(model, batch, frames, size, channels)
        for run in range(-WARM_UP, runs):
            took = _ms_per_frame(model, clip, device)
            if run >= 0:
                milliseconds.append(took)
    sd = statistics.stdev(milliseconds) if runs > 1 else 0.0
    return RunTime(statistics.fmean(milliseconds), sd, runs, batch, hardware(device))


def times_in_turn(models: Mapping[str, tuple[nn.Module, tuple[int, int, int]]], *, runs: int,
                  device: str | torch.device = "cpu", channels: int = 3) -> dict[str, RunTime]:
    """Time the forward pass of several networks side by side, one call each in every round, so that whatever else the machine
    does meets them all alike.

    Args:
        models: name -> (network, (clips, frames of a clip, size in px)); moved to ``device``, left in the mode they were in.
        runs: rounds, after one to warm up.
        device: torch device.
        channels: of the black clips.

    Raises:
        ConfigError: ``runs`` is less than 1.
    """
    if runs < 1:
        raise ConfigError(f"runs = {runs}; expected at least 1")
    device, milliseconds = torch.device(device), {name: [] for name in models}
    for run in range(-1, runs):
        for name, (model, (batch, frames, size)) in models.items():
            model.to(device)
            with _evaluating(model):
                clip = _clip(model, batch, frames, size, channels)
                took = _ms_per_frame(model, clip, device)
                if run >= 0:
                    milliseconds[name].append(took)
    return {name: RunTime(statistics.fmean(each), statistics.stdev(each) if runs > 1 else 0.0, runs, models[name][1][0],
                          hardware(device)) for name, each in milliseconds.items()}


def hardware(device: str | torch.device = "cpu") -> str:
    """One line on what computed: ``AMD EPYC 9354, 2 cores, 1 thread, torch 2.6.0``; for a GPU its name and CUDA version."""
    device = torch.device(device)
    version = torch.__version__.split("+")[0]
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {cores()} CPU cores, torch {version}, CUDA {torch.version.cuda}"
    threads = torch.get_num_threads()
    return f"{processor()}, {cores()} cores, {threads} thread{'s' if threads != 1 else ''}, torch {version}"


def _attention_flops(inputs: list, _outputs: list) -> int:
    """Multiply-accumulates of ``softmax(q k^T) v`` with q ``(..., n, d)``, k ``(..., m, d)``, v ``(..., m, e)``."""
    query, key, value = (get_shape(tensor) for tensor in inputs[:3])
    return math.prod(query) * key[-2] + math.prod(query[:-1]) * key[-2] * value[-1]


def _clip(model: nn.Module, batch: int, frames: int, size: int, channels: int) -> torch.Tensor:
    return torch.zeros(batch, channels, frames, size, size, device=next(model.parameters()).device)


def _ms_per_frame(model: nn.Module, clip: torch.Tensor, device: torch.device) -> float:
    """Time of one call."""
    _finish(device)
    start = time.perf_counter()
    with SingleClip():  # as inference runs it
        model(clip)
    _finish(device)  # a GPU call returns before the work is done
    return 1000 * (time.perf_counter() - start) / (clip.shape[0] * clip.shape[2])


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        with torch.inference_mode(False), torch.no_grad():  # tracing needs tensors that are not inference tensors
            yield
    finally:
        model.train(training)
