"""One clip in all the ways that people have one: the same frames come out, or the same masks and ejection fraction."""

from __future__ import annotations

import math

import numpy as np
import pytest

from echolib.clinic.reading import open_clip
from echolib.clinic.result import Segmentation
from echolib.clinic.segmentation import segment
from echolib.clinic.weights import Segmenter, load_segmenter
from echolib.evaluation.metrics import dice
from echolib.phantom.clip import simulate
from echolib.phantom.presets import draw
from tests.clinic.encodings import ENCODINGS, FPS, Encoding


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """One beat of a phantom, (24, 112, 112), at 50 frames per second."""
    return simulate(draw("echonet", 1, frames=24)).frames


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    """The network that comes with the package."""
    return load_segmenter()


@pytest.fixture(scope="module")
def expected(frames, segmenter) -> Segmentation:
    return segment(frames, FPS, weights=segmenter)


@pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda encoding: encoding.name)
def test_one_clip_in_every_encoding(tmp_path, frames, segmenter, expected, encoding: Encoding):
    path = tmp_path / encoding.name
    encoding.write(path, frames)
    clip = open_clip(path)
    assert (clip.frames, clip.height, clip.width) == frames.shape
    assert clip.fps == pytest.approx(FPS, rel=2e-3) if encoding.timed else math.isnan(clip.fps)
    assert {note.code for note in clip.notes} <= ({"grey_window"} if "deep" in encoding.name else set())
    if encoding.exact:
        assert np.array_equal(clip.video, np.repeat(frames[..., None], 3, -1))
        return
    found = segment(clip, FPS, weights=segmenter)
    assert min(dice(a, b) for a, b in zip(found.masks, expected.masks, strict=True)) >= 0.97
    assert found.ef == pytest.approx(expected.ef, abs=2)
