"""Released checkpoints: Lightning files with (H, W, T) kernels."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from echolib.errors import WeightsError
from echolib.models import released
from echolib.models.unet3d import UNITS, UNet3D
from tests.models.helpers import Planted, clip, small


@pytest.fixture
def narrow(monkeypatch):
    """The checkpoint reader expects the published widths; here a narrow network stands for it."""
    monkeypatch.setattr(released, "UNet3D", lambda units: UNet3D(units, width=0.125))


def lightning(model: nn.Module, **extra) -> dict:
    return {"epoch": 69, "global_step": 1, "pytorch-lightning_version": "1.9.0",
            "hyper_parameters": {"lr": 3e-4}, "callbacks": {},
            "state_dict": {f"model.{key}": released.to_time_last(value) for key, value in model.state_dict().items()}, **extra}


@pytest.mark.parametrize("name", ["unet3d", "unet3d_s"])
def test_a_checkpoint_round_trips_to_the_same_output(name, narrow, tmp_path):
    model, twin = small(name, seed=5).eval(), small(name, seed=6).eval()
    torch.save(lightning(model), tmp_path / "released.ckpt")
    twin.load_state_dict(released.load_released(tmp_path / "released.ckpt", name))
    x = clip(name)
    with torch.no_grad():
        assert torch.equal(model(x), twin(x))


def test_permuted_kernels_do_to_a_permuted_clip_what_the_authors_network_does():
    """Height-first kernels on a (H, W, T) clip, ours on (T, H, W): the same numbers, axis for axis."""
    theirs, ours = small("unet3d_s", seed=1).eval(), small("unet3d_s", seed=2).eval()
    ours.load_state_dict({key: released.to_time_first(value) for key, value in theirs.state_dict().items()})
    x = clip("unet3d_s")                                              # (B, C, T, H, W)
    with torch.no_grad():
        expected = theirs(x.permute(0, 1, 3, 4, 2))                   # (B, C, H, W, T) through height-first kernels
        torch.testing.assert_close(ours(x).permute(0, 1, 3, 4, 2), expected, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(theirs(x).permute(0, 1, 3, 4, 2), expected, rtol=1e-2, atol=1e-3)


def test_the_default_is_the_large_network_and_its_names_are_checked(tmp_path):
    torch.save(lightning(small("unet3d")), tmp_path / "narrow.ckpt")
    with pytest.raises(WeightsError, match=r"narrow.ckpt: not a checkpoint of unet3d: \d+ of another shape"):
        released.load_released(tmp_path / "narrow.ckpt")


def test_half_precision_checkpoints_come_back_as_float32(narrow, tmp_path):
    torch.save(lightning(small("unet3d").half()), tmp_path / "half.ckpt")
    assert {value.dtype for value in released.load_released(tmp_path / "half.ckpt").values()} == {torch.float32}


def test_missing_and_extra_names_are_named(narrow, tmp_path):
    path = tmp_path / "w.ckpt"
    good = lightning(small("unet3d"))["state_dict"]
    assert len(UNITS["unet3d"]) == 5
    gone = "model.encoder4.2.conv.unit1.conv.weight"
    for state, words in (({key: value for key, value in good.items() if key != gone},
                          "1 missing: encoder4.2.conv.unit1.conv.weight"),
                         ({**good, "model.decoder9.weight": torch.zeros(1)}, "1 unexpected: decoder9.weight"),
                         ({**good, "criterion.weight": torch.zeros(1)}, "unexpected key 'criterion.weight'"),
                         ({**good, gone: torch.zeros(2, 2)}, "of another shape"),
                         ({**good, gone: [1.0]}, "is a list"),
                         ({**good, gone: torch.zeros(2, dtype=torch.int64)}, "dense float")):
        torch.save({"state_dict": state}, path)
        with pytest.raises(WeightsError, match=words):
            released.load_released(path)


def test_files_that_are_no_checkpoint(tmp_path):
    path = tmp_path / "w.ckpt"
    with pytest.raises(WeightsError, match="no checkpoint 'w.ckpt'"):
        released.load_released(path)
    for content in ({"weights": {}}, [1], {"state_dict": 3}):
        torch.save(content, path)
        with pytest.raises(WeightsError, match="state_dict"):
            released.load_released(path)
    path.write_bytes(b"garbage")
    with pytest.raises(WeightsError, match="plain tensors"):
        released.load_released(path)


@pytest.mark.parametrize("where", ["state_dict", "hyper_parameters"])
def test_planted_code_is_refused_and_never_runs(where, narrow, tmp_path):
    path, marker = tmp_path / "w.ckpt", tmp_path / "executed"
    content = lightning(small("unet3d"))
    content[where] = {**content[where], "model.encoder1": Planted(marker)}
    torch.save(content, path)
    with pytest.raises(WeightsError, match="plain tensors"):
        released.load_released(path)
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()  # the plant is real: an unguarded reader does run it
