"""Arithmetic without last bits to differ in."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from echolib.phantom.exact import Gains, Normals, Turns, rounded


def test_rounding_by_hand():
    np.testing.assert_array_equal(rounded(np.array([0.3, -0.3, 0.124, 2.0]), 2), [0.25, -0.25, 0.0, 2.0])
    assert rounded(0.3, 2) == 0.25
    values = torch.tensor([0.3, 0.9])
    assert rounded(values, 1).tolist() == [0.5, 1.0] and values.tolist() == pytest.approx([0.3, 0.9])


def test_turns_are_cosines_and_sines_of_any_sign():
    turns = torch.linspace(-40.0, 40.0, 1001)
    cosine, sine = Turns("cpu")(turns)
    np.testing.assert_allclose(cosine, np.cos(2 * np.pi * turns.double()), atol=2e-3)
    np.testing.assert_allclose(sine, np.sin(2 * np.pi * turns.double()), atol=2e-3)
    assert Turns("cpu")(torch.zeros(3, 5))[0].shape == (3, 5)


def test_gains_by_hand_and_at_their_ends():
    factors = Gains("cpu")(torch.tensor([0.0, 6.0206, -20.0, -500.0, 500.0]))
    np.testing.assert_allclose(factors[:3], [1.0, 2.0, 0.1], rtol=2e-3)
    assert factors[3] == 0.0 and factors[4] == pytest.approx(1e6)


def test_normal_numbers_have_the_moments_of_the_normal_law():
    x = Normals(3, "cpu")(400_000).double()
    assert abs(float(x.mean())) < 0.006 and float(x.std()) == pytest.approx(1.0, abs=0.005)
    assert float((x ** 4).mean()) == pytest.approx(3.0, abs=0.06)
    assert torch.equal(Normals(3, "cpu")(400_000).double(), x) and not torch.equal(Normals(4, "cpu")(400_000).double(), x)


def test_normal_numbers_do_not_depend_on_how_they_are_asked_for():
    whole, parts = Normals(5, "cpu"), Normals(5, "cpu")
    assert torch.equal(whole(6, 4), torch.cat([parts(2, 4), parts(4, 4)]))
