"""Quantities over seeds and patients: against plain formulas, a brute-force bootstrap, and the cells that come of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from echolib.config import DataSpec, PhantomSpec, load_profile
from echolib.pages.quantities import Asked, Quantity, cells, estimate

ROOT = Path(__file__).parents[2]
MEAN = Quantity("Dice", "frames", "dice", factor=100)


def table(seed: int, patients: range = range(12), studies: int = 2) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    ef = rng.uniform(20, 70, len(patients) * studies)
    return pd.DataFrame({"patient": np.repeat([f"p{i}" for i in patients], studies), "ef": ef,
                         "dice": rng.uniform(0.7, 0.95, len(ef)), "found": ef + rng.normal(2, 5, len(ef))})


def agreement(statistic: str) -> Quantity:
    return Quantity("EF", "frames", "found", "ef", statistic)


def test_each_statistic_is_the_plain_formula_averaged_over_seeds():
    parts = [table(0), table(1)]
    gaps = [p.found - p.ef for p in parts]
    wanted = {"bias": np.mean([g.mean() for g in gaps]), "sd": np.mean([g.std(ddof=1) for g in gaps]),
              "mae": np.mean([g.abs().mean() for g in gaps]), "rmse": np.mean([(g ** 2).mean() ** 0.5 for g in gaps]),
              "r2": np.mean([1 - (g ** 2).sum() / ((p.ef - p.ef.mean()) ** 2).sum() for g, p in zip(gaps, parts, strict=True)]),
              "size": np.mean([abs(g.mean()) for g in gaps]), "r": np.mean([np.corrcoef(p.found, p.ef)[0, 1] for p in parts])}
    for statistic, value in wanted.items():
        found = estimate([{"frames": p} for p in parts], agreement(statistic), 200)
        assert found.value == pytest.approx(value) and found.low < found.high and found.low <= value <= found.high
        assert (found.rows, found.patients) == (48, 12)
    mean = estimate([{"frames": p} for p in parts], MEAN, 200)
    assert mean.value == pytest.approx(100 * np.mean([p.dice.mean() for p in parts]))
    assert mean.spread == pytest.approx(100 * np.std([p.dice.mean() for p in parts], ddof=1))


@pytest.mark.parametrize("quantity", [MEAN, agreement("r"), agreement("sd")], ids=str)
def test_the_interval_is_that_of_a_plain_bootstrap_over_patients(quantity):
    part, rng, drawn = table(3), np.random.default_rng(5), []
    groups = [g for _, g in part.groupby("patient")]
    for _ in range(1500):
        one = pd.concat([groups[i] for i in rng.integers(0, len(groups), len(groups))])
        gap = one.found - one.ef
        drawn.append({"mean": 100 * one.dice.mean(), "sd": gap.std(ddof=1), "r": np.corrcoef(one.found, one.ef)[0, 1]}[
            quantity.statistic])
    found, (low, high) = estimate([{"frames": part}], quantity, 4000), np.quantile(drawn, (0.025, 0.975))
    assert abs(found.low - low) < 0.12 * (high - low) and abs(found.high - high) < 0.12 * (high - low)


def test_seeds_may_be_tested_on_different_patients():
    parts = [table(0, range(6)), table(1, range(6, 12))]
    found = estimate([{"frames": p} for p in parts], MEAN, 500)
    assert found.patients == 12 and found.value == pytest.approx(100 * np.mean([p.dice.mean() for p in parts]))
    assert np.isfinite([found.low, found.high]).all()


def test_what_is_not_defined_is_nan():
    part = table(0).assign(dice=np.nan)
    assert np.isnan(estimate([{"frames": part}], MEAN, 100).value)
    same = table(0).assign(found=50.0)
    assert np.isnan(estimate([{"frames": same}], agreement("r"), 100).value)
    assert np.isfinite(estimate([{"frames": same}], agreement("bias"), 100).low)
    half = pd.concat([table(0), table(1).assign(dice=np.nan)])
    assert estimate([{"frames": half}], MEAN, 100).rows == 24, "a missing value leaves its frame out"


def test_every_cell_has_a_status():
    smoke, paper = (load_profile(ROOT / "profiles" / f"{name}.yml") for name in ("smoke", "paper"))
    phantom = DataSpec(layout="echonet", phantom=PhantomSpec(train=1, val=1, test=1))
    rows = [Asked("ours", {"dsc": 93.1, "p": np.nan}, "ours", data=phantom, note="a note", spread={"dsc": 0.2}),
            Asked("theirs", {"dsc": 92.0, "p": 0.03}, other=True), Asked("left out", {"dsc": 91.0}, absent="not here")]
    quantities = {"dsc": MEAN, "p": MEAN}
    found = cells(rows, {"ours": [{"frames": table(0)}]}, quantities, smoke).set_index(["row", "column"])
    assert found.status.to_dict() == {
        ("ours", "dsc"): "awaiting data", ("ours", "p"): "as published", ("theirs", "dsc"): "as published",
        ("theirs", "p"): "as published", ("left out", "dsc"): "not run", ("left out", "p"): "not run"}
    one = found.loc[("ours", "dsc")]
    assert (one.published_low, one.published_high) == pytest.approx((92.9, 93.3)) and "a note" in one.why
    assert found.why[("left out", "dsc")] == "not here" and 70 < one.low < one.ours < one.high < 95
    real = Asked("ours", {"dsc": 100 * table(0).dice.mean()}, "ours", data=DataSpec(layout="echonet"))
    tables = {"ours": [{"frames": table(0)}] * 3}
    assert cells([real], tables, {"dsc": MEAN}, paper).status.tolist() == ["holds"]
    far = Asked("ours", {"dsc": 99.9}, "ours", data=DataSpec(layout="echonet"))
    assert cells([far], tables, {"dsc": MEAN}, paper).status.tolist() == ["does not hold"]
    assert cells([far], tables, {"dsc": MEAN}, paper, replicates=2).status.tolist() == ["undecided"]
