"""One simulated clip: knobs in, frames and exact truth out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from echolib.phantom.presets import ClipParameters


@dataclass(frozen=True)
class SimulatedClip:
    """A clip with its truth on every frame.

    Attributes:
        frames: ``(T, H, W)`` uint8 B-mode frames.
        labels: ``(T, H, W)`` uint8: 0 background, 1 LV cavity, 2 myocardium, 3 left atrium.
        volumes_ml: ``(T,)`` analytic 3-D LV volume, mL.
        disk_volumes_ml: ``(T,)`` method-of-disks volume of the rendered LV label, mL.
        phase: ``(T,)`` position in the heart beat, in [0, 1), 0 = end-diastole.
        fps: frames per second.
        spacing_mm: size of a (square) pixel, mm.
        ef, edv, esv: analytic, of the traced beat; %, mL, mL.
        ed_frame, es_frame: 0-based frames of one beat's end-diastole and end-systole, the traced ones.
        long_axis: ``(T, 2, 2)`` float px: (apex (x, y), mid-annulus (x, y)).
        knobs: every parameter of the clip, JSON-able.
    """

    frames: np.ndarray
    labels: np.ndarray
    volumes_ml: np.ndarray
    disk_volumes_ml: np.ndarray
    phase: np.ndarray
    fps: float
    spacing_mm: float
    ef: float
    edv: float
    esv: float
    ed_frame: int
    es_frame: int
    long_axis: np.ndarray
    knobs: dict


def simulate(parameters: ClipParameters, *, device: str = "cpu") -> SimulatedClip:
    """Simulate a clip. Same parameters, same device: same bytes, whatever the number of threads."""
    raise RuntimeError("the simulator is not in this commit yet")
