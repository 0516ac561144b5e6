"""The classical baseline on drawn scenes: it must find a clean chamber, and be honest about nothing to find."""

from __future__ import annotations

import numpy as np
import pytest

from echolib.errors import DataError
from echolib.evaluation.baseline import threshold_and_fill
from echolib.evaluation.metrics import dice


def scene(size: int = 112, leak: bool = False, second: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """A bright cone with a dark ventricle, optionally an atrium below it and a thin gap between the two."""
    y, x = np.mgrid[:size, :size] * 112 / size
    radius, angle = np.hypot(x - 56, y - 5), np.arctan2(x - 56, y - 5)
    cone = (radius < 103) & (np.abs(angle) < 0.75)
    ventricle = ((x - 58) / 14) ** 2 + ((y - 46) / 24) ** 2 <= 1
    image = np.where(cone, 140.0, 0.0)
    image[ventricle] = 15
    if second:
        image[((x - 56) / 12) ** 2 + ((y - 90) / 11) ** 2 <= 1] = 15
    if leak:
        image[(np.abs(x - 57) < 1.5) & (y > 60) & (y < 85)] = 15
    speckle = np.random.default_rng(0).gamma(3.6, 1 / 3.6, image.shape)
    return np.clip(image * speckle, 0, 255).astype(np.uint8), ventricle


@pytest.mark.parametrize("size", [112, 224])
@pytest.mark.parametrize("leak", [False, True])
def test_a_clean_chamber_is_found(size, leak):
    frame, ventricle = scene(size, leak)
    masks = threshold_and_fill(np.stack([frame, frame]))
    assert masks.shape == (2, size, size) and masks.dtype == bool
    assert dice(masks[0], ventricle) > 0.85
    assert (masks[0] == masks[1]).all()


def test_grey_and_colour_agree():
    frame, _ = scene()
    video = frame[None]
    plain = threshold_and_fill(video)
    assert (threshold_and_fill(video[..., None]) == plain).all()
    assert (threshold_and_fill(np.repeat(video[..., None], 3, -1)) == plain).all()


def test_holes_are_filled_and_one_part_is_left():
    frame, ventricle = scene()
    frame[44:48, 56:60] = 200  # a papillary muscle
    mask = threshold_and_fill(frame[None])[0]
    assert mask[45, 58]
    assert dice(mask, ventricle) > 0.85


@pytest.mark.parametrize("value", [0, 255])
def test_nothing_to_find_is_an_empty_mask(value):
    masks = threshold_and_fill(np.full((2, 64, 64), value, np.uint8))
    assert masks.shape == (2, 64, 64) and not masks.any()


def test_wrong_input_is_refused():
    for wrong in (np.zeros((4, 8, 8)), *(np.zeros(shape, np.uint8) for shape in ((8, 8), (2, 8, 8, 4), (0, 8, 8)))):
        with pytest.raises(DataError, match="not a video"):
            threshold_and_fill(wrong)
