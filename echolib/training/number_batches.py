"""Clips with the ejection fraction of their study, and clips of unlabelled studies; with the masks of every frame where asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from echolib.config.specs import RunSpec
from echolib.data.augment import normalise
from echolib.data.clahe import to_device
from echolib.data.clips import reconstruct_indices, training_indices
from echolib.data.frame_masks import FrameMasks
from echolib.data.store import ClipStore
from echolib.data.subsets import labelled_studies
from echolib.errors import DataError, TrainingError
from echolib.training.batches import Batch, Chosen, ClipBatches, Item, Raw
from echolib.training.beside import BesideBatches, TwoKinds, unlabelled_studies
from echolib.training.predict import with_masks

#: Which clips of a video are drawn: any, or such that hold a traced frame.
Clips = Literal["any", "traced"]


@dataclass
class NumberBatch(Batch):
    """A step: ``clip`` is ``(B, 3, F, H, W)``, with masks ``(B, 4, F, H, W)``.

    Attributes:
        ef: ``(B,)`` float32, %; NaN where it is not known.
        beside: ``(M, 3 or 4, F, H, W)``, unlabelled clips, or None.
    """

    ef: Tensor | None = None
    beside: Tensor | None = None


def with_ef(store: ClipStore, spec: RunSpec, split: str) -> list[str]:
    """The studies of a split whose ejection fraction a run may see, by name: of the training split the labelled ones.

    Raises:
        TrainingError: the split is empty.
        DataError: a study has none from 0 to 100 %; file, row and value are named where the reader found them.
    """
    names = sorted(store.studies.index[store.studies["split"] == split])
    if split == "train" and spec.subset.labelled is not None:
        names = labelled_studies(store.studies, spec.subset.labelled, spec.subset.seed)
    if not names:
        raise TrainingError(f"the {split!r} split is empty")
    for name in names:
        if not 0 <= float(store.studies["ef"][name]) <= 100:
            report = store.report
            found = report[(report["study"] == name) & report["problem"].str.startswith("EF ")]
            where = {"file": found["file"].iloc[0], "row": int(found["row"].iloc[0])} if len(found) else {"file": store.layout}
            why = f": {found['problem'].iloc[0]}" if len(found) else ""
            raise DataError(f"study {name} has no ejection fraction to learn from{why}", value=float(store.studies["ef"][name]),
                            expected="a number from 0 to 100", **where)
    return names


class _WithMasks(ClipBatches):
    """Clips, the masks of whose frames are read and augmented with them where there are any."""

    masks: FrameMasks | None = None
    clips: Clips = "any"

    def choose(self, item: Item, rng: np.random.Generator) -> Chosen:
        """A random clip, or a random one of those that hold the study's ED or ES frame."""
        clip, length, draws = self.spec.clip, self.lengths[item.study], rng.random(1)
        if self.clips == "any":
            indices = reconstruct_indices(length, clip.frames, clip.period, rng)
        else:
            frame = int(self.store.studies["ed_frame" if draws[0] < 0.5 else "es_frame"][item.study])
            indices, _ = training_indices(length, frame, clip.frames, clip.period, rng)
        return Chosen(indices, {"indices": indices, "ef": np.float32(self.store.studies["ef"][item.study])})

    def _read(self, epoch: int, step: int, items: list[Item]) -> Raw:
        raw = super()._read(epoch, step, items)
        if self.masks is not None:
            pairs = zip(raw.studies[raw.part], raw.chosen["indices"].numpy(), strict=True)
            raw.masks = torch.from_numpy(np.stack([self.masks.clip(study, indices) for study, indices in pairs]))
        return raw

    def finish(self, clip: Tensor, masks: Tensor | None, raw: Raw, device: torch.device) -> NumberBatch:
        """Normalise; masks become a fourth channel."""
        clip = normalise(clip) if masks is None else with_masks(normalise(clip), masks)
        return NumberBatch(clip, raw.studies, ef=to_device(raw.chosen["ef"], device))


class NumberBatches(_WithMasks, TwoKinds):
    """Every labelled study of the training split once per epoch, as a clip of it.

    Args:
        store, spec, stream: as everywhere.
        masks: of every frame, where the network sees them.
        clips: which clips are drawn.

    Raises:
        As :func:`with_ef`.
    """

    def __init__(self, store: ClipStore, spec: RunSpec, stream: int, masks: FrameMasks | None = None,
                 clips: Clips = "any") -> None:
        super().__init__(store, "train", spec, [Item(name) for name in with_ef(store, spec, "train")], stream)
        self.masks, self.clips = masks, clips

    def joined(self, own: NumberBatch, other: NumberBatch) -> NumberBatch:
        """The step with its unlabelled clips."""
        return replace(own, studies=[*own.studies, *other.studies], beside=other.clip)


class UnlabelledClips(_WithMasks, BesideBatches):
    """Clips of unlabelled studies.

    Args:
        store, spec, stream, steps: as everywhere.
        count: clips of a step.
        masks: of every frame, where the network sees them.
        clips: which clips are drawn; ``traced`` needs to know which frames were traced.

    Raises:
        TrainingError: every study is labelled.
        DataError: the traced frames of an unlabelled study are not known.
    """

    def __init__(self, store: ClipStore, spec: RunSpec, stream: int, steps: int, count: int, masks: FrameMasks | None = None,
                 clips: Clips = "any") -> None:
        names = unlabelled_studies(store, "train", f"recipe {spec.recipe.kind!r}")
        _check_positions(store, names, clips)
        super().__init__(store, "train", spec, names, stream, steps, count)
        self.masks, self.clips = masks, clips


def _check_positions(store: ClipStore, names: Sequence[str], clips: Clips) -> None:
    if clips == "traced":
        for name in names:
            if min(store.studies.loc[name, ["ed_frame", "es_frame"]]) < 0:
                raise DataError(f"study {name}: which of its frames were traced is not known", file=store.layout,
                                expected="positions=True in 'subset', or clips='any'")
