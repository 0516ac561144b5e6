"""The spectrum of an area curve: sines, lines, and Parseval."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echolib.errors import DataError
from echolib.evaluation.consistency import area_spectrum, high_frequency_energy


@pytest.mark.parametrize("frames", [200, 201])
def test_a_sine_gives_its_amplitude_at_its_frequency(frames):
    fps, cycles = 50.0, 8
    hz = cycles * fps / frames
    area = 1000 + 30 * np.sin(2 * np.pi * hz * np.arange(frames) / fps)
    frequency, magnitude = area_spectrum(area, fps)
    assert frequency.shape == magnitude.shape == (frames // 2 + 1,)
    peak = int(np.argmax(magnitude))
    assert frequency[peak] == pytest.approx(hz)
    assert magnitude[peak] == pytest.approx(30, rel=0.01)


def test_a_straight_line_has_no_spectrum():
    _, magnitude = area_spectrum(np.linspace(900, 1100, 64), 50)
    assert magnitude.max() < 1e-9


@settings(max_examples=30, deadline=None)
@given(offset=st.floats(-1e3, 1e3), slope=st.floats(-10, 10), scale=st.floats(0.1, 10))
def test_trend_adds_nothing_and_scale_scales(offset, slope, scale):
    area = np.random.default_rng(0).normal(size=60)
    _, plain = area_spectrum(area, 50)
    _, changed = area_spectrum(scale * area + offset + slope * np.arange(60), 50)
    assert changed == pytest.approx(scale * plain, abs=1e-6)


def test_spectrum_against_a_plain_sum():
    area = np.random.default_rng(1).normal(size=11) + 5
    t = np.arange(11)
    flat = area - np.polyval(np.polyfit(t, area, 1), t)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * t / 11)
    twin = [abs(sum(flat * window * np.exp(-2j * np.pi * k * t / 11))) / window.sum() * (1 if k == 0 else 2) for k in range(6)]
    assert area_spectrum(area, 50)[1] == pytest.approx(np.array(twin))


def test_energy_of_white_flicker():
    # white noise of 1 % rms: a share of 15 in 25 Hz lies above 10 Hz
    area = 100 + np.random.default_rng(0).normal(0, 1, 20_000)
    assert high_frequency_energy(area, 50, 10) == pytest.approx(1e-4 * 15 / 25, rel=0.05)


def test_energy_of_a_heart_beat_and_of_flicker_on_it():
    t = np.arange(250) / 50
    beat = 1000 + 300 * np.cos(2 * np.pi * 1.2 * t)
    flicker = 20 * np.cos(2 * np.pi * 18 * t)
    assert high_frequency_energy(beat, 50) < 1e-7
    assert high_frequency_energy(beat + flicker, 50) == pytest.approx((20 / 1000) ** 2 / 2, rel=0.02)
    assert high_frequency_energy(7 * (beat + flicker), 50) == pytest.approx(high_frequency_energy(beat + flicker, 50))


@pytest.mark.parametrize(("call", "words"), [
    (lambda: area_spectrum(np.ones(3), 50), "T >= 4"),
    (lambda: area_spectrum(np.array([1, 2, np.nan, 4, 5]), 50), "finite"),
    (lambda: area_spectrum(np.ones(9), -1), "above 0"),
    (lambda: high_frequency_energy(np.ones(9), 50, 40), "cut-off"),
    (lambda: high_frequency_energy(np.zeros(9), 50), "mean above 0"),
])
def test_wrong_input_is_refused(call, words):
    with pytest.raises(DataError, match=words):
        call()
