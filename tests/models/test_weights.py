"""Weights files: round trips, damage, planted code, hand-over from stage 1 to stage 2."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from echolib import models
from echolib.errors import WeightsError
from tests.models.helpers import Planted, clip, small

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.count": torch.tensor(7), "b": torch.zeros(0)}


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) and one[key].dtype == two[key].dtype for key in one)


def test_saving_twice_gives_the_same_bytes_whatever_the_order_of_the_metadata(tmp_path):
    metadata = {f"key{i}": str(i) for i in range(9)}
    models.save_weights(STATE, tmp_path / "one.safetensors", metadata)
    models.save_weights(STATE, tmp_path / "two.safetensors", dict(reversed(metadata.items())))
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()
    assert models.load_metadata(tmp_path / "one.safetensors") == metadata
    assert same(models.load_weights(tmp_path / "one.safetensors"), STATE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.safetensors", "two.safetensors"]


def test_views_and_shared_tensors_are_written_as_they_look(tmp_path):
    big = torch.arange(12.0).reshape(3, 4)
    state = {"column": big[:, 1], "again": big[:, 1], "turned": big.T}
    models.save_weights(state, tmp_path / "w.safetensors")
    assert same(models.load_weights(tmp_path / "w.safetensors"), {key: value.contiguous() for key, value in state.items()})


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "w.safetensors"
    models.save_weights(STATE, path)
    before = path.read_bytes()
    for state, metadata in (({"a": "text"}, {}), (STATE, {"epoch": 3})):
        with pytest.raises(WeightsError, match="w.safetensors"):
            models.save_weights(state, path, metadata)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s},
                                  lambda s: {"model_state_dict": s, "note": "text"}])
def test_torch_files_of_plain_tensors_load_wherever_the_state_dict_stands(wrap, tmp_path):
    torch.save(wrap(STATE), tmp_path / "w.pth")
    assert same(models.load_weights(tmp_path / "w.pth"), STATE)


def test_safetensors_are_known_by_content_not_by_name(tmp_path):
    save_file(STATE, tmp_path / "w.bin")
    assert same(models.load_weights(tmp_path / "w.bin"), STATE)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("place", ["torch zip", "torch legacy", "bare pickle", "beside the weights"])
def test_planted_code_is_refused_and_never_runs(place, tmp_path):
    marker, path = tmp_path / "executed", tmp_path / "w.ckpt"
    content = {"state_dict": {"model.a": Planted(marker)}}
    if place == "torch zip":
        torch.save(content, path)
    elif place == "torch legacy":
        torch.save(content, path, _use_new_zipfile_serialization=False)
    elif place == "bare pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save({"state_dict": STATE, "hyper_parameters": Planted(marker)}, path)
    with pytest.raises(WeightsError, match="plain tensors"):
        models.load_weights(path)
    assert not marker.exists()


def test_the_planted_code_would_run_if_it_were_unpickled(tmp_path):
    with pytest.raises(FileExistsError):  # os.mkdir does run, and finds that tmp_path exists
        pickle.loads(pickle.dumps(Planted(tmp_path)))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_files_that_hold_something_else(tmp_path):
    with pytest.raises(WeightsError, match="no weights file 'none.pth'"):
        models.load_weights(tmp_path / "none.pth")
    for content in ([1, 2], {"a": 3}, {"state_dict": {"a": "text"}}, {1: torch.zeros(1)}, torch.zeros(3)):
        torch.save(content, tmp_path / "w.pth")
        with pytest.raises(WeightsError, match="w.pth"):
            models.load_weights(tmp_path / "w.pth")
    for damage in (b"", b"x", b"not weights at all", b"PK\x03\x04 broken zip", b"\x80\x04.", b"\x08\0\0\0\0\0\0\0{broken}"):
        for name in ("w.pth", "w.safetensors"):
            (tmp_path / name).write_bytes(damage)
            with pytest.raises(WeightsError, match=name):
                models.load_weights(tmp_path / name)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_damaged_bytes_give_a_weights_error_or_load(kind, tmp_path):
    path = tmp_path / "w.file"
    if kind == "safetensors":
        save_file(STATE, path)
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=kind == "zip")
    good = path.read_bytes()
    rng = np.random.default_rng([1, len(kind)])
    refused = 0
    for _ in range(150):
        bad = bytearray(good[:rng.integers(len(good))] if rng.random() < 0.3 else good)
        for position in rng.integers(max(len(bad), 1), size=rng.integers(1, 6)):
            if bad:
                bad[position] = rng.integers(256)
        path.write_bytes(bytes(bad))
        try:
            models.load_weights(path)
        except WeightsError:
            refused += 1
    assert refused > 20


def test_weights_of_another_network_are_named(tmp_path):
    models.save_weights(small("unet3d_s", width=0.25), tmp_path / "wide.safetensors")
    with pytest.raises(WeightsError, match=r"wide.safetensors.*of another shape.*encoder1.0.*more"):
        small("unet3d_s", weights=tmp_path / "wide.safetensors")
    models.save_weights(small("nnunet2d"), tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"missing: encoder1.*unexpected: network.bottleneck"):
        small("unet3d_s", weights=tmp_path / "other.safetensors")


@pytest.mark.parametrize("name", models.NAMES)
def test_stage_two_takes_all_but_the_head_from_stage_one(name):
    stage1, stage2 = small(name, seed=1, out_channels=3), small(name, seed=2)
    before = {key: value.clone() for key, value in stage2.state_dict().items()}
    fresh = models.transfer(stage1.state_dict(), stage2)
    after = stage2.state_dict()
    assert fresh and fresh == [key for key in after if key.startswith(stage2.head)]
    for key, value in after.items():
        assert torch.equal(value, before[key] if key in fresh else stage1.state_dict()[key]), key
    with torch.no_grad():
        assert stage2.eval()(clip(name)).shape[1] == 1


def test_a_head_that_fits_is_copied_too():
    stage1, stage2 = small("unet3d_s", seed=1), small("unet3d_s", seed=2)
    assert models.transfer(stage1.state_dict(), stage2) == []
    assert same(stage1.state_dict(), stage2.state_dict())


def test_the_transfer_refuses_what_is_not_the_head():
    model = small("unet3d_s")
    state = dict(model.state_dict())
    before = {key: value.clone() for key, value in state.items()}
    name = "encoder2.0.conv.unit0.conv.weight"
    for broken, words in (({key: value for key, value in state.items() if key != name}, f"1 missing: {name}"),
                          ({**state, "extra": torch.zeros(1)}, "1 unexpected: extra"),
                          ({**state, name: torch.zeros(1)}, "of another shape"), ({**state, name: 3}, "a int")):
        with pytest.raises(WeightsError, match=words):
            models.transfer(broken, model)
    assert same(model.state_dict(), before)
