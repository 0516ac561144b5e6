"""Steps of cyclical self-supervision: both traced frames of some studies, and beside them a clip of two heart beats or more."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from echolib.config.specs import RunSpec
from echolib.data.augment import normalise
from echolib.data.clips import reconstruct_indices
from echolib.data.store import ClipStore
from echolib.errors import DataError, TrainingError
from echolib.training.batches import Batch, Chosen, Item, Raw
from echolib.training.beside import BesideBatches, TwoKinds, unlabelled_studies
from echolib.training.predict import traced_frames


@dataclass
class PairBatch(Batch):
    """A step: ``clip`` is ``(B, 3, 2, H, W)``, the ED and the ES frame of each study.

    Attributes:
        masks: ``(B, 2, H, W)`` bool, of both.
        step: of the epoch, from 0.
        beside: ``(V, 3, F, H, W)`` float32 normalised, clips without labels, or None.
        start: ``(V,)`` int64 on the CPU, where in the first frames of each the match begins.
    """

    masks: Tensor | None = None
    step: int = 0
    beside: Tensor | None = None
    start: Tensor | None = None


@dataclass
class ClipBatch(Batch):
    """The half of a step that has no labels; see :class:`PairBatch`."""

    start: Tensor | None = None


def long_enough(store: ClipStore, studies: list[str], frames: int, period: int) -> list[str]:
    """Those of some videos that hold a clip of ``frames`` frames at ``period``."""
    return [name for name in studies if int(store.studies["frames"][name]) >= (frames - 1) * period + 1]


class PairBatches(TwoKinds):
    """Both traced frames of every labelled study of the split once per epoch.

    Raises:
        TrainingError: there is no traced frame.
        DataError: a labelled study lacks one of the phases.
    """

    def __init__(self, store: ClipStore, split: str, spec: RunSpec, stream: int) -> None:
        items = []
        for study, rows in traced_frames(store, split).groupby("study", sort=True):
            first = rows.groupby("phase")["frame"].min()
            if len(first) < 2:
                raise DataError(f"study {study}: only one of the two phases is traced", file=store.layout, value=first.index[0],
                                expected="an ED and an ES frame of every labelled study")
            items.append(Item(str(study), (int(first["ED"]), int(first["ES"]))))
        super().__init__(store, split, spec, items, stream)

    def choose(self, item: Item, rng: np.random.Generator) -> Chosen:
        """The two frames; nothing is drawn."""
        return Chosen(np.array(item.traced, np.int64))

    def finish(self, clip: Tensor, masks: Tensor | None, raw: Raw, device: torch.device) -> PairBatch:
        """Normalise."""
        return PairBatch(normalise(clip), raw.studies, masks=masks, step=raw.step)

    def joined(self, own: PairBatch, other: ClipBatch) -> PairBatch:
        """The step with its clips beside."""
        return replace(own, studies=[*own.studies, *other.studies], beside=other.clip, start=other.start)


class CycleClips(BesideBatches):
    """Random clips long enough for a match, and where in each the match begins.

    Args:
        store, split, spec, stream, steps: as everywhere.
        count: videos of a step: one, or two where one is searched for the phases of the other.
        starts: so many places there are at which a match may begin.

    Raises:
        TrainingError: no video is unlabelled where only those count, or none is long enough.
    """

    def __init__(self, store: ClipStore, split: str, spec: RunSpec, stream: int, steps: int, *, count: int, starts: int) -> None:
        options = spec.recipe
        if options.clips == "unlabelled":
            names = unlabelled_studies(store, split, f"recipe {options.kind!r} with clips='unlabelled'")
        else:
            names = sorted(store.studies.index[store.studies["split"] == split])
        found = long_enough(store, names, options.frames, options.period)
        if len(found) < count:
            need = (options.frames - 1) * options.period + 1
            raise TrainingError(f"{len(found)} of {len(names)} videos of the {split!r} split are {need} frames long, as a clip "
                                f"of {options.frames} frames at period {options.period} needs; expected at least {count}")
        super().__init__(store, split, spec, found, stream, steps, count)
        self.starts, self.short = starts, len(names) - len(found)

    def choose(self, item: Item, rng: np.random.Generator) -> Chosen:
        """A random clip, and the start of its match."""
        options = self.spec.recipe
        indices = reconstruct_indices(self.lengths[item.study], options.frames, options.period, rng)
        return Chosen(indices, {"start": int(rng.random() * self.starts)})

    def finish(self, clip: Tensor, masks: Tensor | None, raw: Raw, device: torch.device) -> ClipBatch:
        """Normalise."""
        return ClipBatch(normalise(clip), raw.studies, start=raw.chosen["start"])


class RandomFrames(BesideBatches):
    """Random single frames of unlabelled videos.

    Raises:
        TrainingError: no video is unlabelled.
    """

    def __init__(self, store: ClipStore, split: str, spec: RunSpec, stream: int, steps: int, count: int) -> None:
        names = unlabelled_studies(store, split, f"recipe {spec.recipe.kind!r}")
        super().__init__(store, split, spec, names, stream, steps, count)

    def choose(self, item: Item, rng: np.random.Generator) -> Chosen:
        """One frame."""
        return Chosen(reconstruct_indices(self.lengths[item.study], 1, 1, rng))

    def finish(self, clip: Tensor, masks: Tensor | None, raw: Raw, device: torch.device) -> ClipBatch:
        """Normalise."""
        return ClipBatch(normalise(clip), raw.studies)


