"""From a split to batches on the device. What step k of epoch e holds depends on (seed, stream, e, k) and on nothing else.

A recipe says what an epoch visits (:class:`Item`), which frames of a video a clip takes (:meth:`ClipBatches.choose`) and what a
step is made of them (:meth:`ClipBatches.finish`). What they share is here: the order of an epoch is a new permutation each
time. An incomplete last batch is dropped (another permutation brings its items next time), unless it is the only one: a split
smaller than one batch trains as one small batch.

``engine: fast``: clips come from where :mod:`echolib.data.resident` keeps the frames and are augmented as a batch
(:mod:`echolib.data.augment`); on the CPU the next batch is read and augmented while the network works. ``engine: plain``: one
clip after the other, frame by frame (:mod:`echolib.data.plain`), nothing ahead. Both share the choice of frames, the draws and
normalisation, so that a step holds the same clips up to rounding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from echolib.config.specs import RunSpec
from echolib.data import plain
from echolib.data.augment import augment_frames, draw, to_float
from echolib.data.clahe import to_device
from echolib.data.clips import BLACK
from echolib.data.draws import Draw
from echolib.data.resident import Resident, reside
from echolib.data.store import ClipStore
from echolib.errors import TrainingError
from echolib.training.share import ALONE, Share

#: Purposes of random numbers, so that no two of them share a stream.
_ORDER, _CLIPS, _AUGMENT, NETWORK = range(4)


class Item(NamedTuple):
    """What an epoch visits once: a study, and those of its traced frames whose masks the step needs."""

    study: str
    traced: tuple[int, ...] = ()


@dataclass(frozen=True)
class Chosen:
    """The clip of one item.

    Attributes:
        indices: ``(F,)`` int64, frame numbers of the video; ``BLACK`` (-1) for a black frame.
        more: whatever else the recipe chose, by name: numbers or arrays of one shape for all items.
    """

    indices: np.ndarray
    more: Mapping[str, np.ndarray | float] = field(default_factory=dict)


@dataclass
class Batch:
    """One step's input, on its device; a recipe adds what its loss needs.

    Attributes:
        clip: ``(B, 3, F, H, W)`` float32, normalised; what the network sees.
        studies: whose clips they are; where several processes share a batch, those of all of them.
    """

    clip: Tensor
    studies: list[str]


@dataclass
class Raw:
    """What is chosen and read.

    Attributes:
        step: of the epoch.
        studies: of the whole batch.
        part: which clips of it this process has; all else is of these.
        frames: ``(B, F, H, W, C)`` uint8 where they lie.
        black: ``(B, F)`` bool, on the CPU.
        masks: ``(B, n, H, W)`` bool, masks of each item's n traced frames, or None; on the CPU.
        chosen: by name, ``(B, ...)``: what the recipe chose beside the frames; on the CPU.
    """

    step: int
    studies: list[str]
    part: slice
    frames: Tensor
    black: Tensor
    masks: Tensor | None
    chosen: dict[str, Tensor]


class ClipBatches(ABC):
    """The batches of a split for one run.

    Args:
        store: frames and masks.
        split: whose studies they are, for messages.
        spec: the run.
        items: what an epoch visits, in a fixed order.
        stream: number of the recipe's random stream.

    Attributes:
        steps: steps of an epoch.
        share: which clips of every batch this process reads, augments and gives; all of them, unless it is told otherwise.

    Raises:
        TrainingError: there is no item, or the store's frames have another size than the run's.
    """

    def __init__(self, store: ClipStore, split: str, spec: RunSpec, items: Sequence[Item], stream: int) -> None:
        if store.size != spec.data.size:
            raise TrainingError(f"the store holds frames of {store.size} px, the run wants {spec.data.size} px; pack it again")
        if not items:
            raise TrainingError(f"the {split!r} split is empty")
        self.store, self.spec, self.items, self.stream = store, spec, list(items), stream
        self.lengths = {study: int(n) for study, n in store.studies["frames"].items()}
        full = max(1, len(self.items) // spec.train.batch)
        self.steps = full if spec.train.steps is None else min(full, spec.train.steps)
        self.share: Share = ALONE
        self._resident: Resident | None = None

    @abstractmethod
    def choose(self, item: Item, rng: np.random.Generator) -> Chosen:
        """The clip of an item. Draws as many numbers whatever they come to, so that the next item does not depend on this one."""

    @abstractmethod
    def finish(self, clip: Tensor, masks: Tensor | None, raw: Raw, device: torch.device) -> Batch:
        """What the step sees.

        Args:
            clip: ``(B, 3, F, H, W)`` float32 in [0, 1] on its device, augmented; black frames are 0.
            masks: ``(B, n, H, W)`` bool on the device, augmented alike, or None.
            raw: what was chosen.
            device: the device.
        """

    def seeds(self, epoch: int, step: int, purpose: int) -> list[int]:
        """The entropy of one purpose of one step."""
        return [self.spec.seed, self.stream, epoch, step, purpose]

    def order(self, epoch: int) -> list[list[Item]]:
        """The items of every step of an epoch."""
        shuffled = np.random.default_rng(self.seeds(epoch, 0, _ORDER)).permutation(len(self.items))
        size = self.spec.train.batch
        return [[self.items[i] for i in shuffled[step * size:(step + 1) * size]] for step in range(self.steps)]

    def reside(self, device: torch.device) -> str:
        """Bring the frames where this run wants them (``engine: plain``: they stay in the file); one line that says where."""
        if self.spec.engine == "plain":
            self._resident = Resident(self.store, "map", device, "frames from the memory map")
        elif self._resident is None or self._resident.device != device:
            self._resident = reside(self.store, device)
        return self._resident.why

    def epoch(self, epoch: int, device: torch.device, first: int = 0) -> Iterator[Batch]:
        """Batches ``first, first + 1, ...`` of an epoch.

        ``engine: fast`` has the next one ready while the network works: on the CPU it is read and augmented by a thread; with
        a GPU the thread reads, and the device augments.
        """
        order = self.order(epoch)
        self.reside(device)
        if self.spec.engine == "plain":
            for step in range(first, self.steps):
                yield self._prepare(epoch, self._read(epoch, step, order[step]), device)
            return
        whole = device.type == "cpu"

        def ready(step: int) -> Batch | Raw:
            raw = self._read(epoch, step, order[step])
            return self._prepare(epoch, raw, device) if whole else raw

        with ThreadPoolExecutor(max_workers=1) as reader:
            ahead = None
            for step in range(first, self.steps):
                found = ahead.result() if ahead else ready(step)
                ahead = reader.submit(ready, step + 1) if step + 1 < self.steps else None
                yield found if whole else self._prepare(epoch, found, device)

    def _read(self, epoch: int, step: int, items: list[Item]) -> Raw:
        """Choose the frames of a step and gather them; safe in a thread."""
        rng = np.random.default_rng(self.seeds(epoch, step, _CLIPS))
        chosen = [self.choose(item, rng) for item in items]  # of all processes' items, so that each draws the same numbers
        studies, part = [item.study for item in items], self.share.part(len(items))
        indices = np.stack([one.indices for one in chosen[part]])
        masks = None
        if items[0].traced:
            masks = torch.from_numpy(np.stack([[self.store.mask(item.study, frame) for frame in item.traced]
                                               for item in items[part]]))
        more = {name: torch.from_numpy(np.stack([np.asarray(one.more[name]) for one in chosen[part]])) for name in chosen[0].more}
        frames = self._resident.clips(studies[part], indices)
        return Raw(step, studies, part, frames, torch.from_numpy(indices == BLACK), masks, more)

    def _prepare(self, epoch: int, raw: Raw, device: torch.device) -> Batch:
        """Augment, and let the recipe finish. Black frames stay black, whatever the augmentation made of them."""
        draws = None
        if self.spec.train.augment is not None:
            generator = torch.Generator().manual_seed(torch_seed(self.seeds(epoch, raw.step, _AUGMENT)))
            draws = draw(len(raw.studies), self.spec.train.augment, generator)[raw.part]
        clip, masks = (self._plain if self.spec.engine == "plain" else self._fast)(raw, draws, device)
        return self.finish(blank(clip, raw.black), masks, raw, device)

    def _fast(self, raw: Raw, draws: list[Draw] | None, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """The whole batch at once, on its device."""
        frames, masks = self._resident.to(raw.frames), None if raw.masks is None else to_device(raw.masks, device)
        return (to_float(frames), masks) if draws is None else augment_frames(frames, masks, draws)

    def _plain(self, raw: Raw, draws: list[Draw] | None, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """One clip after the other on the CPU, then to the device."""
        if draws is None:
            return to_float(raw.frames).to(device), None if raw.masks is None else raw.masks.to(device)
        pairs = [plain.augment_clip(f, None if raw.masks is None else raw.masks[k].numpy(), one)
                 for k, (f, one) in enumerate(zip(raw.frames.numpy(), draws, strict=True))]
        clip = torch.from_numpy(np.stack([frames for frames, _ in pairs])).movedim(-1, 1)
        masks = None if raw.masks is None else torch.from_numpy(np.stack([mask for _, mask in pairs])).to(device)
        return clip.expand(-1, 3, -1, -1, -1).to(device), masks


def torch_seed(entropy: list[int]) -> int:
    """A seed for torch (63 bits) from a list of numbers."""
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))


def blank(clip: Tensor, which: Tensor) -> Tensor:
    """Frames of ``clip (B, 3, F, H, W)`` set to 0 where ``which (B, F)`` is True."""
    if not bool(which.any()):
        return clip
    return clip * ~to_device(which, clip.device)[:, None, :, None, None]
