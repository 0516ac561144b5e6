"""The network's answer for the frames of a clip: brightness, and clips that are short."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from echolib.clinic.weights import Segmenter
from echolib.errors import DataError
from echolib.evaluation.inference import segment_video

#: Grey level to which the 95th percentile of the cone's non-black pixels is brought: that of EchoNet-like clips.
BRIGHTNESS = 110.0
#: Clips of F frames per pass: a GPU likes many; on a processor every further one takes 100 MB and more.
PER_PASS, PER_PASS_GPU = 1, 8


def brightness_gain(frames: np.ndarray, name: str = "clip") -> float:
    """The factor that brings frames (uint8) to the brightness that the network knows.

    Raises:
        DataError: they are black.
    """
    lit = frames[frames > 2]
    if not lit.size:
        raise DataError("the clip is black", file=name)
    return BRIGHTNESS / float(np.percentile(lit, 95))


def network_probabilities(segmenter: Segmenter, frames: np.ndarray, gain: float, place: torch.device, *,
                          batch: int | None = None, overlap: bool = True) -> np.ndarray:
    """Probability of the left ventricle.

    Args:
        segmenter: the network.
        frames: (T, S, S) uint8, the cone in the network's frame.
        gain: factor on the grey levels.
        place: where the network runs.
        batch: clips of F frames per pass; None: as many as suit the device.
        overlap: let the network's windows overlap; False: one after the other.

    Returns:
        (T, S, S) float32 in [0, 1].
    """
    seen = cv2.convertScaleAbs(frames.reshape(len(frames), -1), alpha=float(gain)).reshape(*frames.shape, 1)
    order = there_and_back(len(seen), segmenter.frames * segmenter.period)
    return segment_video(segmenter.model, seen[order] if len(order) > len(seen) else seen, segmenter.frames, segmenter.period,
                         batch=batch or (PER_PASS_GPU if place.type == "cuda" else PER_PASS), device=place, size=segmenter.size,
                         overlap=overlap)[:len(seen)]


def there_and_back(count: int, least: int) -> np.ndarray:
    """Frame numbers 0 .. count-1, and where that is fewer than ``least``, on backwards and forwards until it is.

    A half cycle played there and back looks like a heart; one followed by black frames does not.
    """
    period = np.concatenate([np.arange(count), np.arange(count - 2, 0, -1)])
    return np.resize(period, max(count, least))
