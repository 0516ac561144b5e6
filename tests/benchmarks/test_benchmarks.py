"""The benchmarks' own parts: the reference does what it says, ratios point the right way, rooflines are bounds."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import all as table
from benchmarks import opencv_loader, read_augment, record, reference, roofline, segment_cohort
from echolib.clinic.reading import open_clip
from echolib.config import AugmentSpec
from echolib.data import echonet, plain
from echolib.data.augment import normalise, to_float
from echolib.data.draws import Draw
from echolib.data.video import read_video
from echolib.errors import DataError
from echolib.evaluation.inference import segment_video
from echolib.losses import dice_frame
from echolib.models import build
from echolib.pages.speed import BENCHED, Result

ROOFLINE = roofline.Roofline({"float32": 100.0, "bfloat16": 200.0}, 10.0)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> tuple[Path, list[Path]]:
    root = tmp_path_factory.mktemp("bench") / "cohort"
    return root, reference.write_cohort(root, 4, 64)


def test_the_cohort_is_read_without_a_complaint(cohort):
    read = echonet.read(cohort[0])
    assert len(read.studies) == 4 and not read.report.findings


def test_decoding_is_that_of_the_package(cohort):
    assert np.abs(reference.decode(cohort[1][0]).astype(int) - read_video(cohort[1][0])).max() <= 4  # two JPEG decoders


def test_a_clip_is_normalised_as_ours_is(cohort):
    frames = reference.decode(cohort[1][0])[:4]
    wanted = normalise(to_float(torch.from_numpy(frames[None])))[0]
    torch.testing.assert_close(reference.to_tensor(frames / np.float32(255)), wanted, atol=1e-5, rtol=1e-5)


def test_whole_videos_agree_with_ours(cohort):
    model = build("unet3d", width=0.125, frames=16, size=112, seed=0)
    got = segment_video(model, reference.decode(cohort[1][0])[:20], 16, 1, device="cpu", precision="float32")
    reference_decode, reference.decode = reference.decode, lambda path: reference_decode(path)[:20]
    try:
        masks = reference.segment(model, cohort[1][0], 16)
    finally:
        reference.decode = reference_decode
    assert (masks == (got >= 0.5)).mean() > 0.999


def test_the_loader_of_the_reference_reads_what_decoding_the_video_gives(cohort):
    frames = opencv_loader.read(cohort[1][1], 20, 7)
    assert np.abs(np.stack(frames).astype(int) - reference.decode(cohort[1][1])[20:27]).max() <= 4  # two JPEG decoders
    wanted = reference.to_tensor(np.stack(frames) / np.float32(255))
    torch.testing.assert_close(opencv_loader.normalise(np.stack(frames)), wanted, atol=1e-5, rtol=1e-5)


#: A draw that changes nothing.
STILL = Draw(brightness=1, contrast=1, saturation=1, hue=0, order=(0, 1, 2, 3), clahe=None, degrees=0, shift=(0, 0))


@pytest.mark.parametrize(("change", "mean", "most"), [
    ({}, 0, 0), ({"brightness": 1.15}, 0.5, 1), ({"contrast": 0.85}, 0.7, 1), ({"saturation": 0.8}, 0.6, 1.5),
    ({"hue": 0.1}, 1.5, 5), ({"clahe": 2.0}, 2.5, 100), ({"degrees": 12.0}, 0.5, 4), ({"shift": (-3, 5)}, 0, 0),
    ({"brightness": 0.9, "contrast": 1.2, "order": (1, 0, 2, 3)}, 1, 2)])  # CLAHE tears neighbouring levels of dark pixels apart
def test_the_loader_of_the_reference_does_on_bytes_what_the_plain_path_does(cohort, change, mean, most):
    draw, frames = replace(STILL, **change), (reference.decode(cohort[1][0])[:2] * np.float32(reference.TINT)).astype(np.uint8)
    mask = np.zeros((112, 112), bool)
    mask[30:80, 40:70] = True
    clip, turned = opencv_loader.augment(frames, mask, draw)
    wanted, of = plain.augment_clip(frames, mask, draw)
    difference = np.abs(clip - 255 * wanted)
    assert difference.mean() <= mean + 1e-4 and difference.max() <= most + 1e-4
    assert (turned != of).mean() < 0.002
    assert bool(change) == (not np.array_equal(clip, frames))


def test_both_sides_of_read_augment_see_the_same_clips(tmp_path):
    cohort = read_augment.Cohort(tmp_path, False, 1)
    still = AugmentSpec(jitter=0, jitter_p=0, clahe_p=0, rotation=0)
    (ours, masks), (usual, others) = cohort.ours(3, still), cohort.usual(3, still)
    assert (ours - usual).abs().max() < 4.1 / 255 / 0.19 and torch.equal(masks, others), "two JPEG decoders apart"
    changed = cohort.usual(3, AugmentSpec())[0]
    assert (changed - usual).abs().mean() > 0.1


def test_the_reference_trains(cohort):
    masks = [np.eye(112, dtype=bool)] * 2
    clips = reference.TrainingClips(cohort[1][:2], masks, 16, 64)
    clip, mask, position = clips[1]
    assert clip.shape == (3, 16, 112, 112) and mask.shape == (112, 112) and 0 <= position < 16
    model = build("unet3d", width=0.125, frames=16, size=112, seed=0)
    before = [p.clone() for p in model.parameters()]
    losses = list(reference.training_steps(model, clips, 2, 0, dice_frame, "cpu"))
    assert len(losses) == 1 and 0 < losses[0] < 1.01
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_ratios_say_how_many_times_better():
    fast, slow = record.side([1.0, 3.0], 10), record.side([100.0])
    assert (fast.mean, fast.n, slow.sd) == (20, 2, 0) and fast.sd == pytest.approx(14.142, abs=1e-3)
    assert record.row("k", "w", "ms", fast, slow).ratio == 5
    assert record.row("k", "w", "clips/s", fast, slow, higher_is_better=True).ratio == 0.2


def test_both_sides_run_in_turn():
    seen = []
    times = record.in_turn(lambda: seen.append("a"), lambda: seen.append("b"), 2)
    assert seen == ["a", "b"] * 3 and [len(t) for t in times] == [2, 2]


def test_the_roofline_is_the_slower_of_the_two():
    assert ROOFLINE.seconds(gmac=100) == 1 and ROOFLINE.seconds(gmac=1, gigabytes=20) == 2
    measured = roofline.measure()
    assert measured.copy_gb_s > 0 and min(measured.matmul_gflops.values()) > 0


@pytest.mark.parametrize(("load", "busy"), [(0.0, False), (99.0, True)])
def test_a_record_says_whether_the_machine_was_busy(tmp_path, capsys, load, busy):
    chosen = argparse.Namespace(device="cpu", record=False, json=tmp_path / "x.json")
    record.report("inference", chosen, load, ROOFLINE, [record.row("k", "what", "ms", record.side([1.0]), record.side([3.0]))])
    assert Result.model_validate(json.loads((tmp_path / "x.json").read_text())).busy == busy
    shown = capsys.readouterr().out
    assert ("BUSY" in shown) == busy and "ratio 3.00" in shown


def test_the_table_shows_what_is_missing():
    lines = table.lines({})
    command = "python benchmarks/inference.py --device cuda --record"
    assert any(f"not yet measured (no GPU here): {command}" in line[1] for line in lines)


def test_the_slope_of_memory_leaves_the_warm_up_out():
    assert segment_cohort.slope([500.0] * 10 + [1000 + 0.05 * k for k in range(40)]) == pytest.approx(5.0)


def test_a_watched_command_gives_a_number_a_line():
    program = "import time\nfor k in range(3):\n print(f'[{k}/3] clip\\nother', flush=True); time.sleep(0.3)\nraise SystemExit(3)"
    memory, seconds, status = segment_cohort.watched([sys.executable, "-c", program], {})
    assert len(memory) == len(seconds) == 3 and min(memory) > 1 and status == 3


def test_the_clips_of_the_cohort_are_sound_or_damaged_as_they_say(tmp_path):
    inputs, bad = segment_cohort.lay_out(tmp_path / "in", 60, 8, 9)
    assert len(inputs) == 60 and len(bad) == 3
    kinds = {open_clip(path).kind for path in inputs if path not in bad}
    assert kinds == {"video", "nifti", "npy", "dicom"}
    for path in bad:
        with pytest.raises(DataError, match=path.name[:5]):
            list(open_clip(path))


def test_every_header_is_a_contract():
    for path in (record.ROOT / "benchmarks" / f"{name}.py" for name in (*BENCHED, "all", "roofline", "segment_cohort")):
        head = path.read_text().split('"""')[1]
        assert all(f"{word}:" in head for word in ("Command", "Needs", "Takes", "Prints")), path.name
