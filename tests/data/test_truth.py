"""The phantom's truth: unpacked exactly, refused when damaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from echolib.data.truth import read_truth
from echolib.errors import DataError


def write(root: Path, study: str = "0X0001", **changes: object) -> np.ndarray:
    masks = np.random.default_rng(2).random((5, 7, 9)) > 0.5
    (root / "Truth").mkdir(exist_ok=True)
    value = dict(masks=np.packbits(masks, axis=None), shape=np.array(masks.shape), volumes_ml=np.arange(5.0) + 40,
                 disk_volumes_ml=np.arange(5.0) + 41, phase=np.arange(5) / 5, knobs=np.array(json.dumps({"seed": 3})), ef=55.0,
                 edv=100.0, esv=45.0, spacing_mm=1.25)
    value.update(changes)
    np.savez_compressed(root / "Truth" / f"{study}.npz", **{k: v for k, v in value.items() if v is not None})
    return masks


def test_round_trip(tmp_path):
    masks = write(tmp_path)
    truth = read_truth(tmp_path, "0X0001")
    assert np.array_equal(truth.masks, masks) and truth.masks.dtype == bool
    assert truth.volumes_ml.tolist() == [40, 41, 42, 43, 44] and truth.disk_volumes_ml[0] == 41 and truth.phase[1] == 0.2
    assert (truth.ef, truth.edv, truth.esv, truth.spacing_mm, truth.knobs) == (55, 100, 45, 1.25, {"seed": 3})


@pytest.mark.parametrize(("changes", "text"), [
    ({"phase": None}, "lacks phase"), ({"masks": np.zeros(3, np.uint8)}, "do not fit"),
    ({"shape": np.array([5, 7])}, "do not fit"),
    ({"volumes_ml": np.zeros(4)}, "volumes_ml is not one number a frame"), ({"phase": np.full(5, np.nan)}, "phase is not one"),
    ({"knobs": np.array("{")}, "damaged"), ({"knobs": np.array([{}], dtype=object)}, "damaged")])
def test_damage_is_named(tmp_path, changes, text):
    write(tmp_path, **changes)
    with pytest.raises(DataError, match=f"Truth/0X0001.npz: .*{text}"):
        read_truth(tmp_path, "0X0001")


def test_missing_truncated_or_climbing(tmp_path):
    with pytest.raises(DataError, match="no truth"):
        read_truth(tmp_path, "0X0001")
    write(tmp_path)
    file = tmp_path / "Truth" / "0X0001.npz"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DataError, match="damaged"):
        read_truth(tmp_path, "0X0001")
    with pytest.raises(DataError, match="climbs out"):
        read_truth(tmp_path, "../0X0001")
