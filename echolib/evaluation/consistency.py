"""Temporal consistency: the spectrum of the LV area curve (SimLVSeg, Figure 9c).

A ventricle fills and empties with the heart beat and its first harmonics, all below about 10 Hz; what a predicted area
holds above that is flicker. The paper shows the magnitude of the FFT of the area without saying how the curve was
prepared; here its straight-line trend is removed and a Hann window is applied, so that the clip's two ends, which do
not join, leak nothing into the high frequencies that are to be compared.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import detrend, get_window

from echolib.errors import DataError

#: Above this frequency (Hz) an area curve holds flicker rather than heart beat.
FLICKER_HZ = 10.0


def area_spectrum(area: np.ndarray, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """One-sided amplitude spectrum of an area curve.

    Args:
        area: ``(T,)`` finite, T >= 4, any unit.
        fps: frames per second.

    Returns:
        ``(frequency, magnitude)``, each ``(T // 2 + 1,)``: Hz, and the unit of ``area``. A sine of amplitude ``a`` on a
        frequency of the grid gives a peak of ``a``.

    Raises:
        DataError: the curve is too short or not finite, or ``fps`` is not positive.
    """
    area = np.asarray(area, np.float64)
    if area.ndim != 1 or len(area) < 4 or not np.isfinite(area).all():
        raise DataError("not an area curve", value=area.shape, expected="(T,) finite numbers, T >= 4")
    if not np.isfinite(fps) or fps <= 0:
        raise DataError("not a frame rate", value=fps, expected="frames per second, above 0")
    window = get_window("hann", len(area))
    magnitude = np.abs(np.fft.rfft(detrend(area) * window)) / window.sum()
    magnitude[1:(len(area) + 1) // 2] *= 2  # both halves of the spectrum, but for zero and the Nyquist frequency
    return np.fft.rfftfreq(len(area), 1 / fps), magnitude


def high_frequency_energy(area: np.ndarray, fps: float, cutoff_hz: float = FLICKER_HZ) -> float:
    """Energy of the area curve at and above ``cutoff_hz``, as the mean square of that part of it relative to the mean area.

    Dividing by the mean area makes ventricles of different size comparable: 1e-4 is a flicker of 1 % rms.

    Args:
        area: ``(T,)`` finite, T >= 4, mean above 0.
        fps: frames per second.
        cutoff_hz: above 0, at most half of ``fps``.

    Raises:
        DataError: the curve cannot be used, or the cut-off is not inside the spectrum.
    """
    frequency, _ = area_spectrum(area, fps)
    if not 0 < cutoff_hz <= frequency[-1]:
        raise DataError("the cut-off is outside the spectrum", value=f"{cutoff_hz} Hz",
                        expected=f"above 0, to {frequency[-1]:g} Hz")
    area = np.asarray(area, np.float64)
    if area.mean() <= 0:
        raise DataError("an area curve without area", value=float(area.mean()), expected="a mean above 0")
    window = get_window("hann", len(area))
    power = np.abs(np.fft.rfft(detrend(area) * window)) ** 2
    power[1:(len(area) + 1) // 2] *= 2
    # Parseval: the sum over all bins is T times the energy of the windowed curve; the window keeps sum(w^2) of it.
    return float(power[frequency >= cutoff_hz].sum() / len(area) / (window ** 2).sum() / area.mean() ** 2)
