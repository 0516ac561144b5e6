"""The masks of every frame of a cohort by a finished segmenter: a product that other runs and pages read.

``masks.npy`` holds one row a frame, in the order of the store's frames, bits packed as by ``np.packbits``; it is memory-mapped.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from echolib.data.store import ClipStore
from echolib.errors import DataError
from echolib.evaluation.evaluation import Inputs
from echolib.evaluation.inference import segment_studies
from echolib.evaluation.product import Made, ProductSpec
from echolib.files import DAMAGED_ARRAY

MASKS = "masks.npy"


class MasksSpec(ProductSpec):
    """The masks of all videos of a cohort by one run."""

    kind: Literal["masks"] = "masks"
    overlap: bool = Field(False, description="windows that overlap by half: smoother, for twice the work")

    @model_validator(mode="after")
    def _check(self) -> MasksSpec:
        if self.run.recipe.gives != "masks":
            raise ValueError(f"masks come from a segmenter; {self.run.label!r} gives {self.run.recipe.gives}")
        return self

    def make(self, inputs: Inputs, folder: Path) -> Made:
        """Segment every frame and write ``masks.npy``."""
        store = inputs.store
        packed = np.lib.format.open_memmap(folder / MASKS, mode="w+", dtype=np.uint8,
                                           shape=(len(store.frames), -(-store.size ** 2 // 8)))
        found = segment_studies(inputs.model(), store, store.studies.index, self.run.clip, overlap=self.overlap)
        for study, masks in zip(store.studies.index, inputs.shown(found, len(store.studies)), strict=True):
            rows = store.rows(study, np.arange(len(masks)))
            packed[rows] = np.packbits(masks.reshape(len(masks), -1), axis=1)
        packed.flush()
        return Made(len(store.studies), len(store.frames))


@dataclass(frozen=True)
class Masks:
    """Masks of a cohort, read from a product's folder as they are asked for."""

    store: ClipStore
    packed: np.ndarray

    @classmethod
    def open(cls, folder: Path, store: ClipStore) -> Masks:
        """Open the product that was made of this store.

        Raises:
            DataError: the file is missing or damaged, or of another store.
        """
        path = Path(folder) / MASKS
        try:
            packed = np.load(path, mmap_mode="r", allow_pickle=False)
        except (*DAMAGED_ARRAY, OSError) as error:
            raise DataError(f"the masks cannot be read: {type(error).__name__}", file=f"{path.parent.name}/{MASKS}",
                            expected="the product's folder, complete; delete it and run again") from None
        shape = (len(store.frames), -(-store.size ** 2 // 8))
        if packed.shape != shape or packed.dtype != np.uint8:
            raise DataError("the masks are of another store", file=f"{path.parent.name}/{MASKS}", value=packed.shape,
                            expected=f"{shape}, uint8")
        return cls(store, packed)

    def clip(self, study: str, indices: np.ndarray) -> np.ndarray:
        """Masks of some frames of a study, ``(F, S, S)`` bool; frame -1 (black) has an empty one."""
        rows, size = self.store.rows(study, indices), self.store.size
        out = np.zeros((len(rows), size, size), bool)
        bits = np.unpackbits(self.packed[rows[rows >= 0]], axis=1, count=size * size)
        out[rows >= 0] = bits.reshape(-1, size, size).astype(bool)
        return out
