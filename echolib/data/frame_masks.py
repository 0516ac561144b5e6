"""Masks of every frame of a cohort, as a segmenter's product holds them: one row of packed bits a frame of the store.

``evaluation.masks`` makes them; here they are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from echolib.data.store import ClipStore
from echolib.errors import DataError
from echolib.files import DAMAGED_ARRAY

MASKS = "masks.npy"


@dataclass(frozen=True)
class FrameMasks:
    """Masks of a cohort, read from a product's folder as they are asked for.

    Attributes:
        store: the frames that they belong to.
        packed: ``(N, ceil(S * S / 8))`` uint8, memory-mapped.
    """

    store: ClipStore
    packed: np.ndarray

    @classmethod
    def open(cls, folder: Path, store: ClipStore) -> FrameMasks:
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
