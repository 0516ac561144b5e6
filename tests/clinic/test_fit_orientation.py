"""The fit of the two numbers that tell left from right: it finds known ones, and stays finite where clips never disagree."""

from __future__ import annotations

import numpy as np
import pytest

from echolib.clinic.fit_orientation import PRIOR, fit


def test_it_finds_the_weights_that_clips_were_drawn_with():
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(20_000, 2)) * [1.0, 0.1]
    upright = rng.random(len(seen)) < 1 / (1 + np.exp(-seen @ [1.5, 20.0]))
    assert fit(np.where(upright[:, None], seen, -seen)) == pytest.approx((1.5, 20.0), rel=0.05)


def test_a_sign_that_says_nothing_gets_no_weight_and_one_that_is_always_right_a_finite_one():
    rng = np.random.default_rng(1)
    right, noise = rng.uniform(0.5, 1, 100), rng.normal(size=100)
    found = fit(np.stack([right, np.concatenate([noise[:50], -noise[:50]])], 1))
    assert 5 < found[0] < 3 * PRIOR and 0 <= found[1] < 1
    assert fit(np.stack([-right, right], 1))[0] == 0, "a sign that points the wrong way counts for nothing"
