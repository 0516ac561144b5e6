"""One simulated cohort for all tests of the phantom that look at pictures."""

from __future__ import annotations

import pytest

from echolib.phantom import statistics
from echolib.phantom.clip import SimulatedClip


@pytest.fixture(scope="session")
def echonet_clips() -> list[SimulatedClip]:
    """40 clips of 60 frames: one beat each at 50 frames per second."""
    return statistics.cohort(40, frames=60)
