"""One segmented clip for all tests that only look at it."""

from __future__ import annotations

import numpy as np
import pytest

from echolib.clinic.result import Segmentation
from echolib.clinic.segmentation import segment
from tests.clinic.clips import FPS, beating, stand_in


@pytest.fixture(scope="session")
def clip() -> tuple[np.ndarray, np.ndarray]:
    """(video, masks) of a beating ellipse: end-diastoles at frames 0, 40, 80; end-systoles at 20, 60."""
    return beating(90)


@pytest.fixture(scope="session")
def result(clip) -> Segmentation:
    """That clip, segmented; 0.8 mm a px. Its heart is the same mirrored, so it is said that it is upright."""
    return segment(clip[0], FPS, 0.8, weights=stand_in(), name="made up", orientation="upright")
