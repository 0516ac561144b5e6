"""Many clips at once, the command, and where the network comes from."""

from __future__ import annotations

import csv
import json
import tracemalloc

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from echolib import models
from echolib.clinic import weights as clinic_weights
from echolib.clinic.cohort import clip_names, segment_files
from echolib.clinic.command import segment_command
from echolib.clinic.segmentation import segment
from echolib.clinic.weights import load_segmenter, save_segmenter
from echolib.config import ClipSpec, DataSpec, ModelSpec, PhantomSpec, RunSpec, TrainSpec
from echolib.data.video import write_avi
from echolib.errors import WeightsError
from echolib.training.recipe import skeleton
from echolib.training.recipes.clip_dense import ClipDense
from echolib.training.recipes.segment import Segment
from tests.clinic.clips import beating, stand_in


@pytest.fixture
def clips(tmp_path):
    """A good clip, a damaged one, a missing one, one that stands still, and another good one of the same name."""
    folder = tmp_path / "in"
    (folder / "more").mkdir(parents=True)
    write_avi(folder / "good.avi", beating(50, 112, 140)[0], 50)
    (folder / "damaged.dcm").write_bytes(b"\0" * 500)
    np.save(folder / "still.npy", np.full((5, 50, 50), 60, np.uint8))
    write_avi(folder / "more" / "good.avi", beating(50, 112, 140, seed=1)[0], 50)
    return [folder / name for name in ("good.avi", "damaged.dcm", "missing.mp4", "still.npy", "more/good.avi")]


def test_one_bad_clip_never_stops_the_rest(clips, tmp_path):
    said = []
    rows = segment_files(clips, tmp_path / "out", stand_in(), say=said.append)
    assert [row.failed for row in rows] == [False, True, True, True, False]
    assert len(said) == 5 and all(line.startswith(f"[{n}/5] ") for n, line in enumerate(said, start=1))
    table = list(csv.DictReader((tmp_path / "out" / "cohort.csv").open()))
    assert [row["status"] for row in table] == ["done", "failed", "failed", "failed", "done"]
    assert "damaged.dcm" in table[1]["problem"] and "no such file" in table[2]["problem"] and "cone" in table[3]["problem"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["cohort.csv", "good", "good-2"]
    assert float(table[0]["ef_percent"]) == pytest.approx(57.8, abs=5)


def test_names_are_unique_and_harmless(tmp_path):
    paths = [tmp_path / name for name in ("a.avi", "x/a.mp4", "..", "b/../c d;e.nii.gz", ".avi", "a-2.npy")]
    names = clip_names(paths, anonymous=False)
    assert names == ["a", "a-2", "clip", "c_d_e", "avi", "a-2-2"]
    assert clip_names(paths[:2], anonymous=True) == ["clip-001", "clip-002"]


def test_memory_is_flat(clips, tmp_path):
    write_avi(clips[0], beating(20, 64, 64)[0], 50)
    segment_files(clips[:1], tmp_path / "out", stand_in(), say=lambda _: None)
    tracemalloc.start()
    held = []
    for _ in range(3):
        segment_files(clips[:1], tmp_path / "out", stand_in(), say=lambda _: None)
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[2] - held[0] < 300_000, "bytes kept after each clip"


@pytest.fixture
def command(monkeypatch):
    monkeypatch.setattr("echolib.clinic.weights.load_segmenter", lambda weights: stand_in())
    app = typer.Typer()
    app.command()(segment_command)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def test_the_exit_status_tells_of_failures(command, clips, tmp_path):
    good = command(clips[0], "--out", tmp_path / "out", "--anonymous", "--fps", 25, "--spacing", 0.5)
    assert good.exit_code == 0 and "1 of 1 clip segmented" in good.output and "good" not in good.output.replace("segmented", "")
    told = json.loads((tmp_path / "out" / "clip-001" / "summary.json").read_text())
    assert told["frames_per_second"] == 25 and told["spacing_mm"] == 0.5 and told["edv_ml"] > 0
    assert command(clips[0], clips[1], "--out", tmp_path / "out").exit_code == 1


def test_a_folder_that_cannot_be_written_is_one_sentence(command, clips, tmp_path):
    (tmp_path / "file").write_text("")
    failed = command(clips[0], "--out", tmp_path / "file")
    assert failed.exit_code == 1 and "cannot be written to file" in str(failed.exception)


@pytest.fixture
def saved(tmp_path):
    model = models.build("unet3d_s", width=0.1, frames=16, size=112, seed=3)
    save_segmenter(model, tmp_path / "w" / "default.safetensors", network="unet3d_s", width=0.1, frames=16, period=2, size=112,
                   trained_on="test clips.", record={"steps": 1, "validation": {}}, half=True)
    return model, tmp_path / "w" / "default.safetensors"


def test_a_weights_file_says_what_it_is(saved):
    model, path = saved
    loaded = load_segmenter(path)
    assert (loaded.frames, loaded.period, loaded.size, loaded.trained_on) == (16, 2, 112, "test clips.")
    for name, tensor in model.state_dict().items():
        assert np.allclose(loaded.model.state_dict()[name], tensor, atol=2e-3)
    assert load_segmenter(None, default=path).origin == "the default weights of echolib"


@pytest.mark.parametrize(("error", "said"), [(20.0, {"ef_not_reliable"}), (4.0, {"simulated_clips_alone"}), (None, set())])
def test_weights_that_miss_the_ef_or_know_no_patient_say_so_with_every_result(tmp_path, error, said):
    path = tmp_path / "default.safetensors"
    model = models.build("unet3d_s", width=0.1, frames=16, size=112, seed=3)
    save_segmenter(model, path, network="unet3d_s", width=0.1, frames=16, period=1, size=112, trained_on="test clips.",
                   record={"validation": {"wide": {"ef_mae_points": error}, "echonet": {"ef_mae_points": None}}})
    video = np.random.default_rng(0).rayleigh(40, (20, 112, 112, 1)).clip(0, 255).astype(np.uint8).repeat(3, -1)
    result = segment(video, 50.0, weights=load_segmenter(None, default=path))
    assert {flag.code for flag in result.flags} & {"ef_not_reliable", "simulated_clips_alone"} == said


def test_default_weights_missing_or_exchanged_are_named(saved, tmp_path):
    _, path = saved
    with pytest.raises(WeightsError, match="echolib train-default"):
        load_segmenter(None, default=tmp_path / "none.safetensors")
    models.save_weights(models.build("unet3d_s", width=0.1, frames=16, size=112, seed=4), path, models.load_metadata(path))
    with pytest.raises(WeightsError, match="checksum"):
        load_segmenter(None, default=path)
    path.with_suffix(".json").unlink()
    with pytest.raises(WeightsError, match="record"):
        load_segmenter(None, default=path)


def test_a_run_of_the_ledger(tmp_path):
    spec = RunSpec(recipe=Segment(), model=ModelSpec(name="nnunet2d", width=0.1), clip=ClipSpec(frames=1),
                   data=DataSpec(layout="echonet", phantom=PhantomSpec(train=7, val=1, test=1)),
                   train=TrainSpec(epochs=1))
    run = tmp_path / spec.key
    run.mkdir()
    (run / "spec.json").write_text(json.dumps(spec.model_dump(mode="json")))
    with pytest.raises(WeightsError, match="not finished"):
        load_segmenter(run)
    network = models.build("nnunet2d", width=0.1, frames=1, seed=0)
    models.save_weights(network, run / "weights.safetensors", {"spec": "another"})
    with pytest.raises(WeightsError, match="made by run another"):
        load_segmenter(run)
    models.save_weights(network, run / "weights.safetensors", {"spec": spec.key})
    for given in (run, run / "weights.safetensors"):
        loaded = load_segmenter(given)
        assert loaded.origin == f"run {spec.key} of the ledger" and loaded.frames == 1
        assert "7 simulated clips" in loaded.trained_on


def test_a_run_with_options_of_its_network_and_one_of_half_cycles(tmp_path):
    data = DataSpec(layout="echonet", size=48, phantom=PhantomSpec(train=7, val=1, test=1))
    spec = RunSpec(recipe=ClipDense(network={"fit": "resize", "inner": 96}), model=ModelSpec(name="pkecho_r18", width=0.1),
                   clip=ClipSpec(frames=10, period=2), data=data, train=TrainSpec(epochs=1))
    for one in (spec, spec.model_copy(update={"data": data.model_copy(update={"layout": "camus"})})):
        run = tmp_path / one.key
        run.mkdir()
        (run / "spec.json").write_text(json.dumps(one.model_dump(mode="json")))
        models.save_weights(skeleton(spec), run / "weights.safetensors", {"spec": one.key})
        if one is spec:
            assert load_segmenter(run).model(torch.zeros(1, 3, 10, 48, 48)).shape == (1, 1, 10, 48, 48)
        else:
            with pytest.raises(WeightsError, match="layout of camus, whose frames are squashed.*; expected"):
                load_segmenter(run)


@pytest.mark.parametrize("name, content, said", [
    ("w.ckpt", b"junk", "w.ckpt"), ("w.safetensors", b"junk", "w.safetensors"), ("w.pt", b"\x80\x04cos\nsystem\n.", "w.pt")])
def test_other_files_are_refused(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=said):
        load_segmenter(tmp_path / name)


def test_weights_that_do_not_say_what_they_are_or_lie(saved, tmp_path):
    model, path = saved
    models.save_weights(model, tmp_path / "bare.safetensors", {})
    with pytest.raises(WeightsError, match="does not say what network"):
        load_segmenter(tmp_path / "bare.safetensors")
    for change, said in (({"network": "resnet"}, "describes no network"), ({"frames": "many"}, "not a number"),
                         ({"width": "0.3"}, "another network")):
        models.save_weights(model, tmp_path / "lie.safetensors", models.load_metadata(path) | change)
        with pytest.raises(WeightsError, match=said):
            load_segmenter(tmp_path / "lie.safetensors")
    with pytest.raises(WeightsError, match="no weights at"):
        load_segmenter(tmp_path / "nothing")
    with pytest.raises(WeightsError, match="not a run"):
        load_segmenter(tmp_path)


def test_the_package_keeps_its_weights_small():
    if clinic_weights.DEFAULT.is_file():
        assert clinic_weights.DEFAULT.stat().st_size <= clinic_weights.MOST_BYTES
        assert load_segmenter().trained_on
    else:
        with pytest.raises(WeightsError, match="train-default"):
            load_segmenter()
