"""The cone with the outline of the ventricle on it."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from echolib.clinic.result import Segmentation

#: Contour colours (RGB): every frame, end-diastole, end-systole.
CONTOUR, ED_CONTOUR, ES_CONTOUR = (86, 180, 233), (0, 220, 130), (255, 120, 40)
#: Height to which small pictures are enlarged, px, by a whole factor.
SHOWN_HEIGHT = 400


def zoom_of(segmentation: Segmentation) -> int:
    """The whole factor that brings the picture to about :data:`SHOWN_HEIGHT`."""
    return max(1, round(SHOWN_HEIGHT / segmentation.display.shape[1]))


def overlay_frames(segmentation: Segmentation) -> Iterator[np.ndarray]:
    """The cone with the outline on it, frame by frame: (h, w, 3) uint8 RGB; ED and ES frames have their own colours."""
    zoom = zoom_of(segmentation)
    special = {beat.ed: ED_CONTOUR for beat in segmentation.beats} | {beat.es: ES_CONTOUR for beat in segmentation.beats}
    for t, (picture, mask) in enumerate(zip(segmentation.display, segmentation.display_masks(zoom), strict=True)):
        yield draw_outline(picture, mask, zoom, special.get(t, CONTOUR))


def draw_outline(picture: np.ndarray, mask: np.ndarray | None, zoom: int, colour: tuple[int, int, int]) -> np.ndarray:
    """One grey picture (h, w) enlarged, with the outline of ``mask`` (zoom*h, zoom*w); None draws none."""
    height, width = picture.shape
    shown = cv2.resize(picture, (width * zoom, height * zoom), interpolation=cv2.INTER_CUBIC) if zoom > 1 else picture
    rgb = np.repeat(shown[..., None], 3, axis=-1)
    if mask is not None and mask.any():
        lines = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
        cv2.drawContours(rgb, lines, -1, colour, max(1, rgb.shape[0] // 180), cv2.LINE_AA)
    return rgb
