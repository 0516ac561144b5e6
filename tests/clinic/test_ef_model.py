"""The ejection fraction of a finished run beside the one from masks: evaluation's number, refusals, short videos, files."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from echolib.clinic.command import segment_command
from echolib.clinic.ef_model import STRIDE, EFModel, in_data_form, load_ef_model
from echolib.clinic.network import BRIGHTNESS
from echolib.clinic.outputs import summary
from echolib.clinic.segmentation import segment
from echolib.config import ClipSpec, DataSpec, ModelSpec, PhantomSpec, RunSpec
from echolib.data.cohort import Cohort, Report, label_table, study_table
from echolib.data.frame_masks import FrameMasks
from echolib.data.sector import Sector, find_sector, framing, is_framed
from echolib.data.store import ClipStore, pack
from echolib.data.video import write_avi
from echolib.errors import EcholibError, RecordError, WeightsError
from echolib.evaluation.evaluation import Inputs
from echolib.evaluation.kinds.number import NumberSpec
from echolib.evaluation.masks import MasksSpec
from echolib.files import write_json
from echolib.ledger import committed
from echolib.ledger.provenance import Provenance
from echolib.ledger.records import Record
from echolib.models import save_weights
from echolib.training.recipe import load_trained, skeleton
from echolib.training.recipes.distil import Distil
from echolib.training.recipes.regress import Regress
from echolib.training.recipes.segment import Segment
from tests.clinic.clips import FPS, beating, stand_in
from tests.training.standin import run_spec

CPU = torch.device("cpu")
PHANTOM = PhantomSpec(train=7, val=1, test=1)
DATA = DataSpec(layout="echonet", size=64, channels=1, phantom=PHANTOM)
SEGMENTER = run_spec(recipe=Segment(), data=DATA, model=ModelSpec(name="nnunet2d", width=0.125), clip=ClipSpec(frames=1))


def regress(**changes) -> RunSpec:
    return run_spec(**{"recipe": Regress(spread=10.0), "data": DATA, "clip": ClipSpec(frames=8, period=2),
                       "model": ModelSpec(name="r2plus1d_18", width=0.125), **changes})


def record_of(spec: RunSpec) -> Record:
    where = Provenance(commit="0", uncommitted_changes=False, code="0", data="0", versions={}, hardware="none", threads=1,
                       finished="now", wall_seconds=0)
    return Record(key=spec.key, spec=spec, parameters=1, steps=1, train_seconds=0, best_epoch=1, validation=None, scores={},
                  provenance=where)


def finished(spec: RunSpec, runs: Path, seed: int = 0) -> Path:
    """A finished run with weights that a seed gives; the EF near 55 %, as it is after training."""
    folder = runs / spec.key
    folder.mkdir(parents=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = skeleton(spec)
    if spec.recipe.gives == "number":
        network.centre(55.0)
    save_weights(network, folder / "weights.safetensors", {"spec": spec.key})
    write_json(folder / "record.json", record_of(spec).model_dump(mode="json"))
    return folder


@pytest.fixture(scope="module")
def sector_and_video() -> tuple[Sector, np.ndarray]:
    """A video in EchoNet-Dynamic's framing, in colour as files give it, black outside its cone."""
    video = np.repeat(beating(45, 112, 112)[0][..., None], 3, -1)
    sector = find_sector(video)
    assert is_framed(sector)
    return sector, np.where(sector.mask[..., None], video, 0).astype(np.uint8)


@dataclass
class OneStudy(Cohort):
    """A cohort of one video."""

    frames: np.ndarray

    def video(self, study: str) -> np.ndarray:
        return self.frames

    def mask(self, study: str, frame: int) -> np.ndarray:
        return np.zeros(self.frames.shape[1:3], bool)


def packed(video: np.ndarray, data: DataSpec, folder: Path) -> ClipStore:
    """The store of a cohort that holds this video alone."""
    studies = study_table([{"study": "s", "split": "test", "patient": "p", "file": "s.avi", "frames": len(video), "fps": 50.0,
                            "height": 112, "width": 112, "ef": 60.0, "edv": 1.0, "esv": 1.0, "spacing_mm": 1.0, "view": "4CH",
                            "quality": "", "ed_frame": 0, "es_frame": 1}])
    labels = label_table([{"study": "s", "frame": 0, "phase": "ED", "area_px": 1}])
    return pack(OneStudy("echonet", folder, studies, labels, Report(), "0" * 64, video), folder / "store", size=data.size,
                channels=data.channels, progress=False)


def evaluated(run: RunSpec, runs: Path, store: ClipStore, folder: Path) -> tuple[float, float, int]:
    """Mean, standard deviation and number of clips by evaluation's own path, masks from the product of the run's parent."""
    def inputs(spec: RunSpec, beside: Callable = lambda: None) -> Inputs:
        return Inputs(store=store, truth=None, cohort=lambda: None, model=lambda: load_trained(
            spec, runs / spec.key / "weights.safetensors"), shown=lambda items, total: iter(items), beside=beside)

    masks = None
    if "masks" in run.parents:
        (folder / "masks").mkdir()
        MasksSpec(run=run.parents["masks"], data=run.data).make(inputs(run.parents["masks"]), folder / "masks")
        masks = FrameMasks.open(folder / "masks", store)
        share = masks.clip("s", np.arange(45)).mean()
        assert 0.01 < share < 0.99, "masks that say something"
    row = NumberSpec(run=run, data=run.data).compute(inputs(run, lambda: masks)).tables["studies"].iloc[0]
    return row.predicted_ef, row.clip_sd, row.clips


# -- the number -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("masks", "size", "channels"), [(False, 64, 1), (True, 64, 1), (False, 112, 3), (True, 128, 3)])
def test_a_video_of_the_store_gives_evaluation_s_number(sector_and_video, tmp_path, masks, size, channels):
    sector, video = sector_and_video
    data = DATA.model_copy(update={"size": size, "channels": channels})
    segmenter = SEGMENTER.model_copy(update={"data": data})
    run = regress(data=data, parents={"masks": segmenter} if masks else {})
    folder = finished(run, tmp_path)
    if masks:
        finished(segmenter, tmp_path, seed=3)
    store = packed(video, data, tmp_path)
    assert np.array_equal(in_data_form(video, sector, data), store.video("s"))
    found, flags = load_ef_model(folder).measure(video, sector, CPU)
    ef, sd, clips = evaluated(run, tmp_path, store, tmp_path)
    assert (found.ef, found.sd, found.clips) == (ef, sd, clips) and clips == 3 and sd > 0 and not flags
    assert load_ef_model(folder).read(np.asarray(store.video("s")), CPU)[0] == found


def test_masks_are_those_of_the_parent(sector_and_video, tmp_path):
    sector, video = sector_and_video
    run = regress(parents={"masks": SEGMENTER})
    folder = finished(run, tmp_path)
    finished(SEGMENTER, tmp_path, seed=3)
    model = load_ef_model(folder)
    alone = replace(model, segmenter=(SEGMENTER, _Constant()))
    assert model.measure(video, sector, CPU)[0].ef != alone.measure(video, sector, CPU)[0].ef
    assert model.described()["masks"] == f"those of run {SEGMENTER.key}, {SEGMENTER.label}"


class _Constant(torch.nn.Module):
    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(clip[:, :1])


def test_the_stride_is_that_of_evaluations():
    assert NumberSpec.model_fields["stride"].default == STRIDE


def test_a_screen_is_cut_to_the_cone_and_brightened():
    video = np.repeat((beating(10)[0] // 2)[..., None], 3, -1)
    video[:, 4:14, 4:60] = 220  # still text in a corner
    sector = find_sector(video)
    for channels in (1, 3):
        frames = in_data_form(video, sector, DATA.model_copy(update={"channels": channels}))
        assert frames.shape == (10, 64, 64, channels) and frames.dtype == np.uint8
        assert np.percentile(frames[frames > 4], 95) == pytest.approx(BRIGHTNESS, abs=3)
        tip = framing(sector, 64) @ [sector.tip, sector.top, 1]
        assert tip == pytest.approx([59 * 64 / 112, 7 * 64 / 112]), "EchoNet-Dynamic's place of the tip"
        assert not frames[:, :3].any(), "the text is gone"


def test_the_orientation_that_was_found_or_given_is_used(clip, tmp_path):
    model = load_ef_model(finished(regress(), tmp_path))
    upright = segment(clip[0], FPS, weights=stand_in(), orientation="upright", ef_model=model)
    turned = segment(clip[0][:, ::-1, ::-1], FPS, weights=stand_in(), orientation="both", ef_model=model)
    wrong = segment(clip[0][:, :, ::-1], FPS, weights=stand_in(), orientation="upright", ef_model=model)
    assert turned.regressed.ef == pytest.approx(upright.regressed.ef, abs=1e-3)
    assert abs(wrong.regressed.ef - upright.regressed.ef) > 1e-3


def test_a_short_video_gives_one_clip_that_ends_in_black_and_says_so(sector_and_video, tmp_path):
    sector, video = sector_and_video
    run = regress(clip=ClipSpec(frames=16, period=4))
    model = load_ef_model(finished(run, tmp_path))
    found, flags = model.measure(video, sector, CPU)
    assert [flag.code for flag in flags] == ["ef_model_short"] and flags[0].severity == "note"
    assert "45 frames and a clip of the EF network spans 61: its one clip ends in black frames" in flags[0].text
    assert found.clips == 1 and math.isnan(found.sd)
    store = packed(video, DATA, tmp_path)
    assert found.ef == evaluated(run, tmp_path, store, tmp_path)[0]


def test_what_is_no_ejection_fraction_is_said(sector_and_video, tmp_path):
    sector, video = sector_and_video
    model = load_ef_model(finished(regress(), tmp_path))
    model.model.centre(130.0)
    assert [flag.code for flag in model.measure(video, sector, CPU)[1]] == ["ef_model_impossible"]


def test_a_refused_clip_has_no_regressed_ef(tmp_path):
    video, masks = beating(30)
    noise = np.random.default_rng(5).rayleigh(70, video.shape).clip(0, 255).astype(np.uint8)
    found = segment(np.where(masks, noise, video), FPS, weights=stand_in(), ef_model=finished(regress(), tmp_path))
    assert found.refused and found.regressed is None and summary(found)["ef_regressed_percent"] is None


def test_what_it_learnt_from_is_said():
    def words(**changes) -> str:
        return EFModel(regress(**changes), None, None, "0").words
    assert words() == "The regressed EF comes from a network that learnt from simulated clips; it is no diagnosis."
    real = DataSpec(layout="echonet", size=64)
    assert words(data=real).endswith("learnt from the training split of EchoNet-Dynamic; it is no diagnosis.")
    assert "simulated clips" in words(data=real, parents={"masks": SEGMENTER}), "the masks come from simulated clips"


# -- where it comes from ----------------------------------------------------------------------------------------------

def test_a_student_needs_no_segmenter(tmp_path):
    teacher = regress(parents={"masks": SEGMENTER})
    student = regress(recipe=Distil(), parents={"teacher": teacher, "masks": SEGMENTER})
    model = load_ef_model(finished(student, tmp_path))
    assert model.segmenter is None and model.model.stem[0].in_channels == 3 and model.described()["masks"] == "none"


def test_committed_runs_and_a_parent_in_the_other_folder(tmp_path):
    run, build, results = regress(parents={"masks": SEGMENTER}), tmp_path / "build/tiny/runs", tmp_path / "results/tiny/runs"
    local = finished(run, build)

    def commit(spec: RunSpec, folder: Path, *, weights: bool = True) -> None:
        content = (folder / "weights.safetensors").read_bytes()
        sums = {} if weights else {committed.WEIGHTS: "0" * 64}
        committed.put(results, spec.key, {"json": committed.as_json(record_of(spec)),
                                          **({committed.WEIGHTS: content} if weights else {})}, sums)

    commit(SEGMENTER, finished(SEGMENTER, tmp_path / "elsewhere", seed=3))
    commit(run, local)
    one = load_ef_model(local)
    for given in (results / run.key, results / f"{run.key}.json"):
        assert load_ef_model(given).described() == one.described()
    commit(run, local, weights=False)
    with pytest.raises(RecordError, match=rf"{run.key}.weights.safetensors was not committed; compute it"):
        load_ef_model(results / run.key)


def refusals(tmp_path: Path):
    runs = tmp_path / "runs"
    yield runs / "nothing", r"no finished run at 'nothing'; expected the folder of a finished run of recipe .*regress"
    unfinished = finished(regress(seed=1), runs)
    (unfinished / "record.json").unlink()
    yield unfinished, f"no finished run at '{unfinished.name}'"
    yield finished(SEGMENTER, runs), f"{SEGMENTER.key}: a run of recipe 'segment', which gives masks and no EF; expected"
    camus = regress(data=DataSpec(layout="camus", size=64, phantom=PHANTOM))
    yield finished(camus, runs), "half cycles in the layout of camus; expected one that learnt from videos"
    alone = SEGMENTER.model_copy(update={"seed": 5})
    teacher = finished(regress(parents={"masks": alone}), runs)
    yield teacher, (rf"{teacher.name}: the run takes the masks of run {alone.key} \(nnunet2d 1x1 seed5\), which is not there or "
                    f"not finished; expected the folder {alone.key} of that run beside {teacher.name}")
    other = finished(regress(seed=2), runs)
    save_weights(skeleton(regress()), other / "weights.safetensors", {"spec": "another"})
    yield other, f"made by run another, but the specification builds on run {other.name}"
    narrow = finished(regress(seed=3), runs)
    network = skeleton(regress(model=ModelSpec(name="r2plus1d_18", width=0.25)))
    save_weights(network, narrow / "weights.safetensors", {"spec": narrow.name})
    yield narrow, f"{narrow.name}/weights.safetensors: weights of another network"
    gone = finished(regress(seed=4), runs)
    (gone / "weights.safetensors").unlink()
    yield gone, f"{gone.name}: the run has no weights.safetensors beside its record; expected"


def test_refusals_name_what_was_found_and_what_would_do(tmp_path):
    count = 0
    for folder, said in refusals(tmp_path):
        with pytest.raises(WeightsError, match=said) as caught:
            load_ef_model(folder)
        assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)
        count += 1
    assert count == 8
    damaged = finished(regress(seed=6), tmp_path / "runs")
    (damaged / "record.json").write_text("{")
    with pytest.raises(EcholibError, match=f"{damaged.name}/record.json: not a record of a run"):
        load_ef_model(damaged)


def test_runs_are_loaded_in_a_process_that_has_loaded_nothing_else(tmp_path):
    run, segmenter = finished(regress(parents={"masks": SEGMENTER}), tmp_path), finished(SEGMENTER, tmp_path)
    write_json(segmenter / "spec.json", SEGMENTER.model_dump(mode="json"))
    done = subprocess.run([sys.executable, "-m", "echolib", "segment", "none.avi", "--weights", segmenter, "--ef-model", run,
                           "--out", tmp_path / "out"], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1 and "none: FAILED: none.avi: no such file" in done.stdout, done.stdout + done.stderr


# -- what is shown ----------------------------------------------------------------------------------------------------

def test_line_table_summary_and_report_hold_it(tmp_path, monkeypatch):
    monkeypatch.setattr("echolib.clinic.weights.load_segmenter", lambda weights: stand_in())
    app = typer.Typer()
    app.command()(segment_command)
    write_avi(tmp_path / "a.avi", beating(50, 112, 140)[0], 50)
    run = finished(regress(), tmp_path / "runs")

    def told(*words: object) -> tuple[str, dict[str, str], dict, str]:
        done = CliRunner().invoke(app, [str(word) for word in (tmp_path / "a.avi", "--out", tmp_path / "out", *words)])
        assert done.exit_code == 0, done.output
        out = tmp_path / "out" / "a"
        row = next(csv.DictReader((tmp_path / "out" / "cohort.csv").open()))
        return done.output, row, json.loads((out / "summary.json").read_text()), (out / "report.html").read_text()

    line, row, numbers, page = told("--ef-model", run, "--orientation", "upright")
    found = numbers["ef_regressed_percent"]
    assert found["clips"] == 4 and 40 < found["mean"] < 70 and found["sd"] >= 0
    assert f"regressed EF {found['mean']:.0f} % (4 clips, SD {found['sd']:.1f})" in line and "EF 5" in line
    assert (float(row["ef_regressed_percent"]), float(row["ef_regressed_sd"]), row["ef_regressed_clips"]) == (
        found["mean"], found["sd"], "4")
    sentence = "The regressed EF comes from a network that learnt from simulated clips; it is no diagnosis."
    assert found["text"] == sentence and sentence in page and found["network"]["origin"].startswith(f"run {run.name} of")
    assert sentence in line and "Ejection fraction, from outlines" in page and "Regressed EF" in page
    assert f"mean of 4 clips, SD {found['sd']:.1f}" in page and run.name in page
    line, row, numbers, page = told("--orientation", "upright")
    assert "regressed" not in line and row["ef_regressed_percent"] == "" and numbers["ef_regressed_percent"] is None
    assert "egressed EF" not in page
    words = (tmp_path / "missing.avi", "--ef-model", tmp_path / "none", "--out", tmp_path / "no")
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert isinstance(done.exception, WeightsError) and not (tmp_path / "no").exists(), "refused before any clip is read"
