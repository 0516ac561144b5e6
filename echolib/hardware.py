"""What this machine computes with, in words fit for a record: never the name of a host or user."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def processor() -> str:
    """The processor's model, such as ``AMD EPYC 9354``; its architecture where the system does not tell."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def processor_has_bf16() -> bool:
    """Does the processor multiply in bfloat16 (AVX512-BF16 or AMX)? False where the system does not tell."""
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(processor_flags())


def processor_flags() -> frozenset[str]:
    """Abilities of the processor as Linux names them, such as ``avx512f``; empty where the system does not tell."""
    return frozenset(_cpuinfo("flags").split())


def _cpuinfo(field: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    return next((line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == field), "")


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
