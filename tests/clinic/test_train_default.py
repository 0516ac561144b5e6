"""Training of the default weights, on two tiny clips that need no simulation."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from echolib.clinic import train_default as trainer
from echolib.clinic.strong_augment import strong_augment
from echolib.clinic.train_default import DefaultSpec, make_batch, train_default
from echolib.clinic.weights import load_segmenter
from echolib.clinic.wide_clips import (
    HELD_OUT,
    HELD_OUT_ECHONET,
    TRAIN,
    TRAIN_ECHONET,
    WideClip,
    clip_path,
    ensure_clips,
    read_clip,
)
from echolib.errors import ConfigError, DataError, TrainingError, WeightsError
from tests.clinic.clips import beating

TINY = DefaultSpec(minutes=1e-6, clips=2, held_out=1, length=20, width=0.1, frames=16, train_frames=3, batch=1)


def write_clip(path, seed: int) -> None:
    video, masks = beating(20, 112, 112, seed=seed, period=20)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, frames=video, masks=np.packbits(masks), fps=50.0, spacing_mm=1.0, ef=57.8, ed_frame=0, es_frame=10)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "ensure_clips", lambda *_, **__: None)
    for stream, count in ((TRAIN, 2), (HELD_OUT, 1), (HELD_OUT_ECHONET, 1)):
        for number in range(count):
            write_clip(clip_path(tmp_path / "wide", stream, 0, number), number + stream)
    return tmp_path / "wide"


def test_it_trains_records_and_goes_on(cache, tmp_path):
    out, said = tmp_path / "w" / "default.safetensors", []
    record = train_default(TINY, cache, out, device="cpu", say=said.append)
    assert record["steps"] == 1 and record["bytes"] == out.stat().st_size < 2 ** 20
    assert {"dice_mean", "ef_mae_points"} <= set(record["validation"]["wide"]) == set(record["validation"]["echonet"])
    assert record["versions"]["torch"]
    loaded = load_segmenter(None, default=out)
    assert loaded.frames == 16 and "no patient's image" in loaded.trained_on
    kept = json.loads(out.with_suffix(".json").read_text())
    assert kept["sha256"].startswith(loaded.sha256) and kept["spec"]["seed"] == 0 and "default" in kept["command"]
    again = train_default(TINY, cache, out, device="cpu", say=said.append)
    assert again["steps"] == 1 and "going on from step 1" in said[0]


def test_it_starts_from_other_weights(cache, tmp_path):
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    earlier = train_default(TINY, cache, first, device="cpu")
    record = train_default(replace(TINY, lr=0.0), cache, second, start=first, device="cpu")
    checksum = json.loads(first.with_suffix(".json").read_text())["sha256"]
    assert record["started_from"]["sha256"] == record["spec"]["start"] == checksum
    assert record["started_from"]["steps"] == earlier["steps"] and "--start first.safetensors" in record["command"]
    old, new = (load_segmenter(None, default=path).model.state_dict() for path in (first, second))
    assert all(torch.allclose(old[name].float(), new[name].float(), atol=2e-3) for name in old)
    with pytest.raises(WeightsError, match="of another network"):
        train_default(replace(TINY, width=0.2), cache, second, start=first, device="cpu")
    far = train_default(replace(TINY, lr=0.0, network="nnunet25d_far"), cache, tmp_path / "far.safetensors", start=first,
                        device="cpu")
    assert far["started_from"]["sha256"] == checksum
    with pytest.raises(ConfigError, match="nnunet25d_far sees more frames than nnunet25d"):
        train_default(TINY, cache, second, start=tmp_path / "far.safetensors", device="cpu")
    first.write_bytes(first.read_bytes()[:-8])
    with pytest.raises(WeightsError, match="first.safetensors: damaged"):
        train_default(TINY, cache, second, start=first, device="cpu")


def test_clips_of_both_presets_are_learned_from_and_named(cache, tmp_path):
    for number in range(2):
        write_clip(clip_path(cache, TRAIN_ECHONET, 0, number), number + 7)
    spec = replace(TINY, echonet=2)
    assert spec.numbers() == [(TRAIN, 0), (TRAIN, 1), (TRAIN_ECHONET, 0), (TRAIN_ECHONET, 1)]
    record = train_default(spec, cache, tmp_path / "w.safetensors", device="cpu")
    assert "--echonet-clips 2" in record["command"] and "4 simulated" in record["trained_on"]
    assert "2 of preset wide, 2 of preset echonet" in record["trained_on"]


def test_in_bfloat16_it_learns_what_it_learns_in_float32_up_to_rounding(cache, tmp_path):
    found = []
    for bf16 in (False, True):
        out = tmp_path / f"{bf16}" / "w.safetensors"
        record = train_default(replace(TINY, bf16=bf16), cache, out, device="cpu")
        assert record["spec"]["bf16"] == bf16 == ("--bf16" in record["command"])
        found.append(load_segmenter(None, default=out).model.state_dict())
        for checkpoint in cache.glob("checkpoint-*.pt"):
            checkpoint.unlink()
    first = "network.input_block.conv1.conv.weight"
    assert torch.allclose(found[0][first], found[1][first], atol=1e-2) and not torch.equal(found[0][first], found[1][first])


def test_a_mask_that_is_too_large_costs_what_one_too_small_does():
    masks = torch.zeros((1, 1, 32, 32), dtype=torch.bool)
    masks[..., :16, :16] = True
    large, small = torch.full((1, 1, 32, 32), -20.0), torch.full((1, 1, 32, 32), -20.0)
    large[..., :16, :32] = small[..., :16, :8] = 20.0
    extra = [float(trainer._loss(x, masks, 1.0) - trainer._loss(x, masks, 0.0)) for x in (large, small)]
    assert extra == pytest.approx([np.log(2)] * 2, abs=0.02)
    nothing = torch.zeros_like(masks)
    assert float(trainer._loss(large, nothing, 1.0)) == float(trainer._loss(large, nothing, 0.0))


def test_a_step_can_be_repeated(cache):
    clips = [read_clip(clip_path(cache, TRAIN, 0, number)) for number in range(2)]
    spec = replace(TINY, batch=3)
    (numbers, clip, masks), (_, same, _) = (make_batch(clips, spec, 5, torch.device("cpu")) for _ in range(2))
    assert torch.equal(clip, same) and len(numbers) == 3
    assert clip.shape == masks.shape == (3, 3, 112, 112) and masks.dtype == torch.bool
    assert 0 <= clip.min() and clip.max() <= 1
    assert not torch.equal(clip, make_batch(clips, spec, 6, torch.device("cpu"))[1])


def test_augmentation_moves_picture_and_mask_together():
    """A bright square on its own mask: wherever it goes, the mask goes too."""
    clip = torch.full((6, 4, 112, 112), 0.2)
    masks = torch.zeros((6, 4, 112, 112), dtype=torch.bool)
    masks[:, :, 40:75, 45:70] = True
    clip[masks] = 0.8
    moved, labels = strong_augment(clip, masks, torch.Generator().manual_seed(1))
    assert not torch.equal(labels[0], masks[0])
    for one, label in zip(moved, labels, strict=True):
        best = one.mean((1, 2)).argmax()  # a frame that was not lost
        assert one[best][label[best]].mean() > 1.3 * one[best][~label[best] & (one[best] > 0)].mean()


def test_a_loss_that_is_not_finite_stops_with_its_clips(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "_loss", lambda logits, masks, area: logits.sum() * float("nan"))
    with pytest.raises(TrainingError, match=r"nan at step 0 \(simulated clips [01]\)"):
        train_default(TINY, cache, tmp_path / "default.safetensors", device="cpu")
    assert not (tmp_path / "default.safetensors").exists()


def test_limits_and_damage(cache, tmp_path):
    with pytest.raises(ConfigError, match="MiB"):
        train_default(replace(TINY, width=0.9), cache, tmp_path / "w.safetensors", device="cpu")
    path = clip_path(cache, TRAIN, 0, 0)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match=path.name):
        read_clip(path)
    (cache / "checkpoint-nnunet25d-0.1-3-1-2-0.pt").write_bytes(b"")
    write_clip(path, 0)
    with pytest.raises(Exception, match="checkpoint"):
        train_default(TINY, cache, tmp_path / "w.safetensors", device="cpu")


def test_clips_are_simulated_once(tmp_path):
    said: list[str] = []
    ensure_clips(tmp_path, TRAIN, 0, 1, 8, say=said.append)
    path = clip_path(tmp_path, TRAIN, 0, 0)
    first, when = read_clip(path), path.stat().st_mtime_ns
    assert isinstance(first, WideClip) and first.frames.shape == (8, 112, 112) and first.masks.any((1, 2)).all()
    ensure_clips(tmp_path, TRAIN, 0, 1, 8, say=said.append)
    assert path.stat().st_mtime_ns == when
    (tmp_path / "phantom.txt").write_text("another phantom")
    ensure_clips(tmp_path, TRAIN, 0, 1, 8, say=said.append)
    assert path.stat().st_mtime_ns != when and np.array_equal(read_clip(path).frames, first.frames)
