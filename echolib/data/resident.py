"""Where a cohort's frames lie while a network trains, and how clips are gathered from there (``engine: fast``).

On a GPU: the whole store in its memory, if it fits beside the network; else in pinned memory of the host, from which a
clip is copied without the host's waiting; else the memory map of the file. On the CPU always the memory map: the system
keeps in memory what is used. The place changes no pixel, and whoever trains is told which it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from echolib.data.clahe import to_device
from echolib.data.clips import BLACK
from echolib.data.store import ClipStore

Place = Literal["device", "pinned", "map"]

#: Bytes that stay free on the GPU for the network, its gradients and the batch (the paper's batch of 16 needs less).
DEVICE_MARGIN = 24 * 2**30
#: Bytes that stay free in the host's memory.
HOST_MARGIN = 8 * 2**30
_PIECE = 256 * 2**20  # bytes copied at a time while loading

_loaded: dict[tuple, Tensor] = {}  # at most one: the frames in memory, kept from run to run of the same store


@dataclass(frozen=True)
class Resident:
    """A store's frames in their place.

    Attributes:
        store: the store; only its index is used where ``frames`` is set.
        place: "device", "pinned" or "map".
        device: where gathered clips are wanted.
        why: one line for whoever trains.
        frames: ``(N, H, W, C)`` uint8, or None for the memory map.
    """

    store: ClipStore
    place: Place
    device: torch.device
    why: str
    frames: Tensor | None = None

    def clips(self, studies: list[str], indices: np.ndarray) -> Tensor:
        """Clips by 0-based frame numbers of each study, :data:`BLACK` for a black frame.

        Args:
            studies: B names.
            indices: ``(B, F)`` int.

        Returns:
            ``(B, F, H, W, C)`` uint8; on the device, except for the memory map (see :meth:`to`).

        Raises:
            DataError: no such study or frame.
        """
        if self.frames is None:
            return torch.from_numpy(np.stack([self.store.clip(s, i) for s, i in zip(studies, indices, strict=True)]))
        rows = np.stack([self.store.rows(s, i) for s, i in zip(studies, indices, strict=True)])
        index, black = torch.from_numpy(rows.clip(min=0).ravel()), rows == BLACK
        if self.place == "pinned":
            out = torch.empty(len(index), *self.frames.shape[1:], dtype=torch.uint8, pin_memory=self.device.type == "cuda")
            clips = torch.index_select(self.frames, 0, index, out=out).to(self.device, non_blocking=True)
        else:
            clips = self.frames.index_select(0, to_device(index, self.frames.device))
        clips = clips.view(*rows.shape, *self.frames.shape[1:])
        if black.any():
            clips = clips * to_device(torch.from_numpy(~black), clips.device)[..., None, None, None]
        return clips

    def to(self, clips: Tensor) -> Tensor:
        """Gathered clips on the device."""
        return clips if clips.device == self.device else to_device(clips, self.device)


def reside(store: ClipStore, device: torch.device, force: Place | None = None) -> Resident:
    """Choose the place of a store's frames by size, and bring them there.

    Args:
        store: the packed cohort.
        device: where the network trains.
        force: this place and no other (for tests and benchmarks).
    """
    if force is None and device.type == "cpu":
        return Resident(store, "map", device, "frames from the memory map")
    size = store.frames.nbytes
    place, why = (force, "as asked for") if force else _choose(size, _free_device(device), _free_host())
    why = f"{size / 2**30:.1f} GiB of frames {_WORDS[place]}: {why}"
    return Resident(store, place, device, why, None if place == "map" else _load(store, place, device))


_WORDS = {"device": "in the device's memory", "pinned": "in pinned memory of the host", "map": "from the memory map"}


def _choose(size: int, device: int, host: int) -> tuple[Place, str]:
    """The first place that has room for ``size`` bytes beside its margin, and why."""
    if size + DEVICE_MARGIN <= device:
        return "device", f"{device / 2**30:.0f} GiB are free there"
    if size + HOST_MARGIN <= host:
        return "pinned", f"the device has {device / 2**30:.0f} GiB free and keeps {DEVICE_MARGIN / 2**30:.0f} for the network"
    return "map", f"device and host have {device / 2**30:.0f} and {host / 2**30:.0f} GiB free, too little for both margins"


def _free_device(device: torch.device) -> int:
    """Free bytes of a GPU; what this process has there already counts as free."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + sum(t.nbytes for t in _loaded.values() if t.device.type == device.type)


def _free_host() -> int:
    """Bytes of the host's memory that can be used without swapping; 0 where the system does not tell (not Linux)."""
    table = Path("/proc/meminfo")
    if not table.is_file():
        return 0
    free = [int(line.split()[1]) * 1024 for line in table.read_text().splitlines() if line.startswith("MemAvailable:")]
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")  # of a container
    if limit.is_file() and used.is_file() and limit.read_text().strip() != "max":
        free.append(int(limit.read_text()) - int(used.read_text()))
    return min(free, default=0)


def _load(store: ClipStore, place: Place, device: torch.device) -> Tensor:
    key = (str(store.path), store.fingerprint, store.frames.shape, place, str(device))
    if key not in _loaded:
        _loaded.clear()  # first, so that two stores never lie there together
        where = device if place == "device" else torch.device("cpu")
        frames = torch.empty(store.frames.shape, dtype=torch.uint8, device=where,
                             pin_memory=place == "pinned" and device.type == "cuda")
        step = max(1, _PIECE // max(1, store.frames[:1].nbytes))
        for first in range(0, len(frames), step):
            frames[first:first + step] = torch.from_numpy(np.array(store.frames[first:first + step]))
        _loaded[key] = frames
    return _loaded[key]
