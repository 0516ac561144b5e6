"""Where a number came from: commit, code, data, versions and hardware, with no name of a host, user or folder."""

from __future__ import annotations

import platform
import re
import subprocess
from datetime import datetime, timezone
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import torch
from pydantic import BaseModel, ConfigDict

from echolib.hardware import cores, processor

#: Packages whose version can change a result.
PACKAGES = ("torch", "torchvision", "timm", "monai", "lightning-fabric", "segmentation-models-pytorch", "numpy",
            "scipy", "opencv-python-headless", "scikit-image", "av")

class Provenance(BaseModel):
    """The circumstances of one computation."""

    model_config = ConfigDict(extra="forbid")

    commit: str
    uncommitted_changes: bool
    code: str
    data: str
    versions: dict[str, str]
    hardware: str
    threads: int
    finished: str
    wall_seconds: float
    processes: int = 1


def git_state(root: Path) -> tuple[str, bool]:
    """(commit, are there uncommitted changes); the commit is ``not a git checkout`` outside one.

    Records that ``echolib keep`` has just written to ``results/`` are no change of what computes.
    """
    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=30, check=False)
        except FileNotFoundError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if commit is None:
        return "not a git checkout", False
    return commit, bool(git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!results"))


def short(commit: str) -> str:
    """A commit as people write it; words that stand in for one stay whole."""
    return commit[:10] if re.fullmatch("[0-9a-f]{40}", commit) else commit


@lru_cache(maxsize=1)
def hardware() -> str:
    """Processor or GPU, cores and memory, such as ``AMD EPYC, 2 cores, 23 GiB``."""
    text = f"{processor()}, {cores()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB"
    return f"{torch.cuda.get_device_name()} + {text}" if torch.cuda.is_available() else text


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of Python and of every package that can change a result."""
    found = {"python": platform.python_version(), "echolib": version("echolib")}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def collect(root: Path, data: str, wall_seconds: float, code: str, processes: int = 1) -> Provenance:
    """The provenance of a computation that has just finished.

    Args:
        root: the checkout.
        data: fingerprint of the data that it read.
        wall_seconds: how long it took.
        code: fingerprint of the code when it began; the files may have been edited since.
        processes: that shared the training.
    """
    commit, changed = git_state(root)
    return Provenance(commit=commit, uncommitted_changes=changed, code=code, data=data, versions=versions(),
                      hardware=hardware(), threads=torch.get_num_threads(),
                      finished=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"), wall_seconds=round(wall_seconds, 1),
                      processes=processes)
