"""From a split to batches on the device. What step k of epoch e holds depends on (seed, task, e, k) and on nothing else.

Stage 1 ("reconstruct") visits every video once per epoch with a random clip; stage 2 ("segment") visits every traced ED
and ES frame once per epoch, in a random clip around it (SimLVSeg, "Implementation details"). The order of an epoch is a
fresh permutation. An incomplete last batch is dropped (another permutation brings its items next time), unless it is the
only one: a split smaller than one batch trains as one small batch.

``engine: fast``: clips come from where :mod:`echolib.data.resident` keeps the frames and are augmented as a batch
(:mod:`echolib.data.augment`); on the CPU the next batch is read and augmented while the network works. ``engine: plain``:
one clip after the other, frame by frame (:mod:`echolib.data.plain`), nothing ahead. Both share the choice of frames, the
draws, masking and normalisation, so that a step holds the same clips up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from echolib.config import RunSpec
from echolib.data import plain
from echolib.data.augment import augment_frames, draw, normalise, to_float
from echolib.data.clahe import to_device
from echolib.data.clips import BLACK, masked_positions, reconstruct_indices, training_indices
from echolib.data.draws import Draw
from echolib.data.resident import Resident, reside
from echolib.data.store import ClipStore
from echolib.errors import TrainingError
from echolib.training.predict import traced_frames
from echolib.training.processes import Share

_TASKS = {"reconstruct": 1, "segment": 2}
#: Purposes of random numbers, so that no two of them share a stream.
_ORDER, _CLIPS, _AUGMENT, NETWORK = range(4)


@dataclass
class Batch:
    """One step's input, on its device.

    Attributes:
        clip: ``(B, 3, F, H, W)`` float32, normalised; what the network sees (stage 1: masked frames are black).
        studies: whose clips they are; where several processes share a batch, those of all of them.
        mask: stage 2: ``(B, H, W)`` bool, the traced frame's mask.
        position: stage 2: ``(B,)`` int64, the traced frame's place in its clip.
        target: stage 1: ``(B, 3, F, H, W)`` float32, the clip before masking, on the network's scale.
        masked: stage 1: ``(B, F)`` bool, the frames blanked.
    """

    clip: Tensor
    studies: list[str]
    mask: Tensor | None = None
    position: Tensor | None = None
    target: Tensor | None = None
    masked: Tensor | None = None


@dataclass
class _Raw:
    """What is chosen and read: ``frames (B, F, H, W, C)`` uint8 where they lie, ``black (B, F)`` bool and all else on the CPU.

    ``part`` says which clips of the whole batch, whose ``studies`` these are, the process has.
    """

    step: int
    studies: list[str]
    part: slice
    frames: Tensor
    black: Tensor
    mask: Tensor | None
    position: Tensor | None
    masked: Tensor | None


class ClipBatches:
    """The batches of a split for one run.

    Attributes:
        steps: steps of an epoch.
        items: ``(study, traced frame)``, one per clip of a full epoch; traced frame -1 for stage 1.
        share: which clips of every batch this process reads, augments and gives; all of them, unless it is told otherwise.

    Raises:
        TrainingError: the split is empty, has no traced frame, or the store's frames have another size than the run's.
    """

    def __init__(self, store: ClipStore, split: str, spec: RunSpec) -> None:
        if store.size != spec.data.size:
            raise TrainingError(f"the store holds frames of {store.size} px, the run wants {spec.data.size} px; pack it again")
        self.store, self.spec = store, spec
        if spec.task == "segment":
            labels = traced_frames(store, split)
            self.items = [(study, int(frame)) for study, frame in zip(labels["study"], labels["frame"], strict=True)]
        else:
            self.items = [(study, -1) for study in sorted(store.studies.index[store.studies["split"] == split])]
        if not self.items:
            raise TrainingError(f"the {split!r} split is empty")
        self.lengths = {study: int(n) for study, n in store.studies["frames"].items()}
        full = max(1, len(self.items) // spec.train.batch)
        self.steps = full if spec.train.steps is None else min(full, spec.train.steps)
        self.share = Share()
        self._resident: Resident | None = None

    def seeds(self, epoch: int, step: int, purpose: int) -> list[int]:
        """The entropy of one purpose of one step."""
        return [self.spec.seed, _TASKS[self.spec.task], epoch, step, purpose]

    def order(self, epoch: int) -> list[list[tuple[str, int]]]:
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

        def ready(step: int) -> Batch | _Raw:
            raw = self._read(epoch, step, order[step])
            return self._prepare(epoch, raw, device) if whole else raw

        with ThreadPoolExecutor(max_workers=1) as reader:
            ahead = None
            for step in range(first, self.steps):
                found = ahead.result() if ahead else ready(step)
                ahead = reader.submit(ready, step + 1) if step + 1 < self.steps else None
                yield found if whole else self._prepare(epoch, found, device)

    def _read(self, epoch: int, step: int, items: list[tuple[str, int]]) -> _Raw:
        """Choose the frames (and the masked ones) of a step and gather them; safe in a thread."""
        rng = np.random.default_rng(self.seeds(epoch, step, _CLIPS))
        frames, period, masking = self.spec.clip.frames, self.spec.clip.period, self.spec.masking
        chosen, positions, masked = [], [], []
        for study, traced in items:
            if masking is None:
                indices, position = training_indices(self.lengths[study], traced, frames, period, rng)
                positions.append(position)
            else:
                indices = reconstruct_indices(self.lengths[study], frames, period, rng)
                masked.append(masked_positions(frames, masking.ratio, rng, masking.counts))
            chosen.append(indices)
        studies, part = [study for study, _ in items], self.share.part(len(items))
        indices = np.stack(chosen[part])
        masks = np.stack([self.store.mask(*item) for item in items[part]]) if masking is None else None
        return _Raw(step, studies, part, self._resident.clips(studies[part], indices), torch.from_numpy(indices == BLACK),
                    None if masks is None else torch.from_numpy(masks), torch.tensor(positions[part]) if positions else None,
                    torch.from_numpy(np.stack(masked[part])) if masked else None)

    def _prepare(self, epoch: int, raw: _Raw, device: torch.device) -> Batch:
        """Augment, mask and normalise. Black frames stay black, whatever the augmentation made of them."""
        draws = None
        if self.spec.train.augment is not None:
            generator = torch.Generator().manual_seed(torch_seed(self.seeds(epoch, raw.step, _AUGMENT)))
            draws = draw(len(raw.studies), self.spec.train.augment, generator)[raw.part]
        clip, mask = (self._plain if self.spec.engine == "plain" else self._fast)(raw, draws, device)
        clip = _blank(clip, raw.black)
        if raw.masked is None:
            return Batch(normalise(clip), raw.studies, mask=mask, position=to_device(raw.position, device))
        # Masked frames are set to 0 on the 0-1 scale, so after normalisation they look like black frames, not like the mean.
        shown = normalise(_blank(clip, raw.masked))
        return Batch(shown, raw.studies, target=normalise(clip), masked=to_device(raw.masked, device))

    def _fast(self, raw: _Raw, draws: list[Draw] | None, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """The whole batch at once, on its device."""
        frames, mask = self._resident.to(raw.frames), None if raw.mask is None else to_device(raw.mask, device)
        return (to_float(frames), mask) if draws is None else augment_frames(frames, mask, draws)

    def _plain(self, raw: _Raw, draws: list[Draw] | None, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """One clip after the other on the CPU, then to the device."""
        if draws is None:
            return to_float(raw.frames).to(device), None if raw.mask is None else raw.mask.to(device)
        masks = [None] * len(draws) if raw.mask is None else list(raw.mask.numpy())
        pairs = [plain.augment_clip(f, m, one) for f, m, one in zip(raw.frames.numpy(), masks, draws, strict=True)]
        clip = torch.from_numpy(np.stack([frames for frames, _ in pairs])).movedim(-1, 1)
        mask = None if raw.mask is None else torch.from_numpy(np.stack([mask for _, mask in pairs])).to(device)
        return clip.expand(-1, 3, -1, -1, -1).to(device), mask


def torch_seed(entropy: list[int]) -> int:
    """A seed for torch (63 bits) from a list of numbers."""
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _blank(clip: Tensor, which: Tensor) -> Tensor:
    """Frames of ``clip (B, 3, F, H, W)`` set to 0 where ``which (B, F)`` is True."""
    if not bool(which.any()):
        return clip
    return clip * ~to_device(which, clip.device)[:, None, :, None, None]
