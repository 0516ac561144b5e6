"""The masks of every frame of a cohort by a finished segmenter: a product that other runs and pages read.

``masks.npy`` holds one row a frame, in the order of the store's frames, bits packed as by ``np.packbits``;
:mod:`echolib.data.frame_masks` reads it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from echolib.data.frame_masks import MASKS
from echolib.evaluation.evaluation import Inputs
from echolib.evaluation.inference import segment_studies
from echolib.evaluation.product import Made, ProductSpec


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
