"""The front page's picture: an exact outline lies where the rendered picture shows what it outlines."""

from __future__ import annotations

import cv2
import numpy as np

from echolib.clinic import viewer
from echolib.clinic.front_picture import exact_outlines
from echolib.clinic.segmentation import segment
from tests.clinic.clips import stand_in


def test_an_outline_of_the_clip_s_frame_lies_on_the_rendered_picture():
    """A cone in a corner of a larger picture, a bright disk in it: the disk's outline goes round the disk that is shown."""
    rows, columns = np.mgrid[:200, :240]
    cone = (np.hypot(columns - 90, rows - 20) < 150) & (np.abs(columns - 90) < 0.8 * (rows - 20))
    disk = np.hypot(columns - 95, rows - 100) < 14
    picture = np.where(disk, 250, np.where(cone, 60, 0)).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 12, (12, *picture.shape))
    film = np.where(cone, np.minimum(picture + noise, 255), 0).astype(np.uint8)
    found = segment(film, 50.0, weights=stand_in(), orientation="upright")
    shown = viewer.render(found, 3, 0.0)
    line, = exact_outlines(disk, found, shown.shape[0])
    drawn = cv2.fillPoly(np.zeros(shown.shape[:2], np.uint8), [np.rint(line).astype(np.int32)], 1) > 0
    bright = shown[..., 0] > 160
    assert (drawn & bright).sum() / (drawn | bright).sum() > 0.9
