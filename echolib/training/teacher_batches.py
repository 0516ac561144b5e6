"""Batches of a mean teacher: clips around traced frames, and beside them clips of unlabelled frames with two views each.

SSCF (Wu, Liu et al., MedIA 2022, section 3.4). Every untraced frame of the training videos is unlabelled, so the unlabelled clips
come from all of them, in an order of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from echolib.config.specs import RunSpec
from echolib.data.augment import normalise
from echolib.data.clahe import to_device
from echolib.data.clips import centred_indices, reconstruct_indices, training_indices
from echolib.data.store import ClipStore
from echolib.data.views import draw_view
from echolib.errors import DataError, TrainingError
from echolib.training.batches import NETWORK, Batch, Chosen, ClipBatches, Item, Raw
from echolib.training.predict import traced_frames
from echolib.training.share import Share

#: Number of the recipe's random stream.
STREAM = 5
#: Purpose of random numbers beside those of every recipe: the order of the unlabelled videos.
_ORDER = NETWORK + 1


@dataclass
class TeacherBatch(Batch):
    """A step: clips around traced frames, and unlabelled ones.

    Attributes:
        mask: ``(B, H, W)`` bool, the traced frame's mask.
        position: ``(B,)`` int64, the traced frame's place in its clip.
        unlabelled: ``(U, 3, F, H, W)`` float32 normalised, or None.
        place: ``(U,)`` int64, the frame in question of each unlabelled clip.
        views: ``(U, 2, 4)``, the student's and the teacher's view of it.
    """

    mask: Tensor | None = None
    position: Tensor | None = None
    unlabelled: Tensor | None = None
    place: Tensor | None = None
    views: Tensor | None = None


@dataclass
class UnlabelledBatch(Batch):
    """The unlabelled half of a step; see :class:`TeacherBatch`."""

    place: Tensor | None = None
    views: Tensor | None = None


class UnlabelledBatches(ClipBatches):
    """As many unlabelled clips as every step needs, from all videos equally often; the options say which."""

    def __init__(self, store: ClipStore, split: str, spec: RunSpec, steps: int) -> None:
        traced = store.labels.groupby("study")["frame"].apply(set).to_dict()
        names = sorted(store.studies.index[store.studies["split"] == split])
        if spec.recipe.source == "videos":
            names = [name for name in names if name not in traced]
            if not names:
                raise TrainingError(f"every video of the {split!r} split is traced, so there is no unlabelled one; expected a "
                                    "labelled share in 'subset', or source='frames'")
        super().__init__(store, split, spec, [Item(name) for name in names], STREAM)
        self.traced, self.steps = traced, steps

    def seeds(self, epoch: int, step: int, purpose: int) -> list[int]:
        """Apart from those of the labelled clips."""
        return [*super().seeds(epoch, step, purpose), 1]

    def order(self, epoch: int) -> list[list[Item]]:
        """One permutation of the videos after the other."""
        rng, size = np.random.default_rng(self.seeds(epoch, 0, _ORDER)), self.spec.train.batch * self.spec.recipe.unlabelled
        rounds = -(-self.steps * size // len(self.items))
        order = [self.items[i] for _ in range(rounds) for i in rng.permutation(len(self.items))]
        return [order[step * size:(step + 1) * size] for step in range(self.steps)]

    def choose(self, item: Item, rng: np.random.Generator) -> Chosen:
        """A clip around an untraced frame, and both views."""
        options, clip, length = self.spec.recipe, self.spec.clip, self.lengths[item.study]
        free = np.setdiff1d(np.arange(length), list(self.traced.get(item.study, ())))
        centre = int((free if len(free) else np.arange(length))[int(rng.random() * max(len(free), 1))])
        if options.clips == "centred":
            indices, place = centred_indices(length, centre, clip.frames, clip.period)
        else:
            indices, place = reconstruct_indices(length, clip.frames, clip.period, rng), 0
        views = np.stack([draw_view(rng, flips=options.flips, rotation=options.rotation) for _ in range(2)])
        return Chosen(indices, {"place": place, "views": views})

    def finish(self, clip: Tensor, masks: Tensor | None, raw: Raw, device: torch.device) -> UnlabelledBatch:
        """Normalise."""
        return UnlabelledBatch(normalise(clip), raw.studies, place=to_device(raw.chosen["place"], device),
                               views=to_device(raw.chosen["views"], device))


class TeacherBatches(ClipBatches):
    """Every traced ED and ES frame of the split once per epoch, with the unlabelled clips of the same step.

    Raises:
        TrainingError: there is no traced frame, or no unlabelled video where only those count.
        DataError: a video is shorter than a clip around one of its frames (``clips: centred``).
    """

    def __init__(self, store: ClipStore, split: str, spec: RunSpec) -> None:
        self.unlabelled: UnlabelledBatches | None = None
        labels = traced_frames(store, split)
        items = [Item(study, (int(frame),)) for study, frame in zip(labels["study"], labels["frame"], strict=True)]
        super().__init__(store, split, spec, items, STREAM)
        if spec.recipe.unlabelled:
            self.unlabelled = UnlabelledBatches(store, split, spec, self.steps)
        if spec.recipe.clips == "centred":
            self._check_lengths(split)

    def _check_lengths(self, split: str) -> None:
        need = self.spec.clip.frames
        for study in sorted(self.store.studies.index[self.store.studies["split"] == split]):
            if self.lengths[study] < need:
                raise DataError(f"study {study}: the video is shorter than a clip around one of its frames",
                                value=f"{self.lengths[study]} frames", expected=f"at least {need}, or clips='random', which pads")

    @property
    def share(self) -> Share:
        """Which clips this process has, of both kinds."""
        return self._share

    @share.setter
    def share(self, share: Share) -> None:
        self._share = share
        if self.unlabelled is not None:
            self.unlabelled.share = share

    def choose(self, item: Item, rng: np.random.Generator) -> Chosen:
        """A clip that holds the traced frame, in its middle or anywhere."""
        clip, length = self.spec.clip, self.lengths[item.study]
        if self.spec.recipe.clips == "centred":
            indices, position = centred_indices(length, item.traced[0], clip.frames, clip.period)
        else:
            indices, position = training_indices(length, item.traced[0], clip.frames, clip.period, rng)
        return Chosen(indices, {"position": position})

    def finish(self, clip: Tensor, masks: Tensor | None, raw: Raw, device: torch.device) -> TeacherBatch:
        """Normalise."""
        return TeacherBatch(normalise(clip), raw.studies, masks[:, 0], to_device(raw.chosen["position"], device))

    def epoch(self, epoch: int, device: torch.device, first: int = 0) -> Iterator[TeacherBatch]:
        """Batches of both kinds."""
        labelled = super().epoch(epoch, device, first)
        if self.unlabelled is None:
            yield from labelled
            return
        for one, other in zip(labelled, self.unlabelled.epoch(epoch, device, first), strict=True):
            yield replace(one, studies=[*one.studies, *other.studies], unlabelled=other.clip, place=other.place,
                          views=other.views)
