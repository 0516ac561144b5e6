"""The exact truth that the phantom writes beside a simulated cohort: ``Truth/<study>.npz``.

Real data has no such folder; the readers of the real layouts never look at it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from echolib.data.cohort import unsafe_name
from echolib.errors import DataError
from echolib.files import DAMAGED_ARRAY

FOLDER = "Truth"
_FIELDS = ("masks", "shape", "volumes_ml", "disk_volumes_ml", "phase", "knobs", "ef", "edv", "esv", "spacing_mm")


@dataclass(frozen=True)
class Truth:
    """What is true of a simulated study.

    Attributes:
        masks: (T, H, W) bool, the left ventricle on every frame.
        volumes_ml: (T,) analytic volume.
        disk_volumes_ml: (T,) volume of the rendered masks by the method of disks.
        phase: (T,) of the heart beat, from 0 (ED) to below 1.
        knobs: every parameter of the simulation.
        ef: ejection fraction of the traced beat, %, analytic.
        edv: end-diastolic volume of the traced beat, mL.
        esv: end-systolic volume of the traced beat, mL.
        spacing_mm: mm per px of the masks.
    """

    masks: np.ndarray
    volumes_ml: np.ndarray
    disk_volumes_ml: np.ndarray
    phase: np.ndarray
    knobs: dict
    ef: float
    edv: float
    esv: float
    spacing_mm: float


def read_truth(root: str | Path, study: str) -> Truth:
    """Read the truth of a simulated study.

    Raises:
        DataError: there is none (a real data set), or the file is damaged.
    """
    file = f"{FOLDER}/{study}.npz"
    why = unsafe_name(study)
    if why:
        raise DataError(why, file=file, value=study, expected="a study's name")
    path = Path(root) / file
    if not path.is_file():
        raise DataError("no truth for this study", file=file, expected="a simulated cohort")
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in _FIELDS if name not in archive.files]
            if missing:
                raise DataError(f"the file lacks {', '.join(missing)}", file=file, value=", ".join(archive.files))
            value = {name: archive[name] for name in _FIELDS}
        if not all(isinstance(part, np.ndarray) for part in value.values()):
            raise ValueError  # numpy gives what is no array as bytes
        knobs = json.loads(str(value["knobs"]))
        shape = tuple(int(n) for n in value["shape"])
        numbers = {name: float(value[name]) for name in ("ef", "edv", "esv", "spacing_mm")}
        curves = {name: value[name].astype(float) for name in ("volumes_ml", "disk_volumes_ml", "phase")}
    except DAMAGED_ARRAY as error:
        raise DataError(f"the file is damaged: {type(error).__name__}", file=file,
                        expected="an .npz file without pickles") from None
    pixels = math.prod(shape)
    if len(shape) != 3 or min(shape) < 1 or value["masks"].dtype != np.uint8 or value["masks"].size != (pixels + 7) // 8:
        raise DataError("the packed masks do not fit their shape", file=file, value=value["masks"].size,
                        expected=f"{(pixels + 7) // 8} bytes for {shape}")
    for name, curve in curves.items():
        if curve.shape != shape[:1] or not np.isfinite(curve).all():
            raise DataError(f"{name} is not one number a frame", file=file, value=curve.shape, expected=str(shape[:1]))
    masks = np.unpackbits(value["masks"].ravel(), count=pixels).reshape(shape).astype(bool)
    return Truth(masks=masks, knobs=knobs, **numbers, **curves)
