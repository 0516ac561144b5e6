"""Written cohorts: the layouts to the letter, the truth beside them, the same bytes however they were written."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import av
import nibabel
import numpy as np
import pytest

from echolib.config import PhantomSpec
from echolib.data import camus, echonet
from echolib.data.truth import read_truth
from echolib.data.video import read_video
from echolib.errors import ConfigError, DataError
from echolib.phantom import cohort as module
from echolib.phantom.cohort import CAMUS_SPLITS, VIEWS, study_name, trace_pair, write_camus, write_echonet

SPEC = PhantomSpec(train=3, val=1, test=1, seed=7, frames=(30, 34))
CAMUS_SPEC = PhantomSpec(preset="camus", train=2, val=1, test=1, seed=7, frames=(10, 12))
CAMUS_SIZE = (138, 168)


@pytest.fixture(scope="module")
def echonet_dir(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("cohort") / "echonet"
    write_echonet(out, SPEC, progress=False)
    return out


@pytest.fixture(scope="module")
def camus_dir(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("cohort") / "camus"
    write_camus(out, CAMUS_SPEC, progress=False, size=CAMUS_SIZE)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def forbid_simulation(monkeypatch) -> None:
    def simulate(*_args, **_options):
        raise RuntimeError("this study was finished and must not be made again")
    monkeypatch.setattr(module, "simulate", simulate)


# ---- EchoNet-Dynamic's layout


def test_echonet_file_list(echonet_dir):
    header, *rows = (echonet_dir / "FileList.csv").read_text().splitlines()
    assert header == "FileName,EF,ESV,EDV,FrameHeight,FrameWidth,FPS,NumberOfFrames,Split"
    cells = [row.split(",") for row in rows]
    assert sorted(row[8] for row in cells) == ["TEST", "TRAIN", "TRAIN", "TRAIN", "VAL"]
    for name, ef, esv, edv, height, width, _, frames, _ in cells:
        assert re.fullmatch(r"0X[0-9A-F]{16}", name)
        assert float(ef) == pytest.approx(100 * (float(edv) - float(esv)) / float(edv), abs=1e-9)
        assert (height, width) == ("112", "112") and 30 <= int(frames) <= 34
    assert {row[0] for row in cells} == {p.stem for p in (echonet_dir / "Videos").iterdir()}
    assert [row[0] for row in cells] == sorted(row[0] for row in cells)


def test_echonet_tracings(echonet_dir):
    header, *rows = (echonet_dir / "VolumeTracings.csv").read_text().splitlines()
    assert header == "FileName,X1,Y1,X2,Y2,Frame"
    cells = [row.split(",") for row in rows]
    assert len(rows) == 5 * 2 * 21 and all(row[0].endswith(".avi") for row in cells)
    for start in range(0, len(rows), 21):
        block = cells[start:start + 21]
        assert len({(row[0], row[5]) for row in block}) == 1
        points = np.array([[float(x) for x in row[1:5]] for row in block])
        assert points.min() >= 0 and points.max() <= 111
        assert points[0, 1] < points[0, 3]  # the long axis, apex first
        assert (np.diff((points[1:, 1] + points[1:, 3]) / 2) > 0).all()  # chords from apex to annulus


def test_echonet_videos_are_motion_jpeg(echonet_dir):
    for path in (echonet_dir / "Videos").iterdir():
        with av.open(str(path)) as container:
            assert container.format.name == "avi" and container.streams.video[0].codec_context.name == "mjpeg"
    video = read_video(path)
    assert video.shape[1:] == (112, 112, 3)
    assert np.abs(video[..., 0].astype(int) - video[..., 2]).max() <= 3  # grey


def test_the_reader_finds_nothing_wrong(echonet_dir):
    cohort = echonet.read(echonet_dir)
    assert not cohort.report.findings
    assert len(cohort.studies) == 5 and len(cohort.labels) == 10


def test_tracings_and_ejection_fractions_agree_with_the_truth(echonet_dir):
    cohort = echonet.read(echonet_dir)
    scores, gaps = [], []
    for study, row in cohort.studies.iterrows():
        truth = read_truth(echonet_dir, study)
        assert truth.masks.shape == (row.frames, 112, 112)
        assert (truth.ef, truth.edv, truth.esv) == (row.ef, row.edv, row.esv)
        assert truth.volumes_ml[[row.ed_frame, row.es_frame]].tolist() == [row.edv, row.esv]  # ED and ES found by area
        scores += [overlap(cohort.mask(study, f), truth.masks[f]) for f in (row.ed_frame, row.es_frame)]
        edv, esv = truth.disk_volumes_ml[[row.ed_frame, row.es_frame]]
        gaps.append(abs(100 * (edv - esv) / edv - row.ef))
        assert truth.knobs["preset"] == "echonet" and truth.knobs["frames"] == row.frames
    assert np.mean(scores) > 0.95 and min(scores) < 1  # traced by a hand, but a good one
    assert np.mean(gaps) < 2


# ---- the same bytes


def test_resumed_by_two_processes_gives_the_same_bytes(echonet_dir, tmp_path):
    out = tmp_path / "again"
    shutil.copytree(echonet_dir, out)
    expected = contents(echonet_dir)
    names = sorted(p.stem for p in (out / "Videos").iterdir())
    (out / "FileList.csv").unlink()
    (out / "Videos" / f"{names[0]}.avi").unlink()
    (out / "Truth" / f"{names[1]}.npz").unlink()
    (out / "Videos" / f"{names[1]}.avi").write_bytes(b"cut sho")
    (out / "Videos" / f".{names[0]}.avi.123.part").write_bytes(b"half a file of a killed run")
    kept = (out / "Truth" / f"{names[2]}.npz").stat().st_mtime_ns
    write_echonet(out, SPEC, workers=2, progress=False)
    assert contents(out) == expected
    assert (out / "Truth" / f"{names[2]}.npz").stat().st_mtime_ns == kept


def test_an_interrupted_run_goes_on(echonet_dir, tmp_path, monkeypatch):
    real, calls = module.simulate, []

    def interrupted(parameters, **options):
        if len(calls) == 1:
            raise KeyboardInterrupt
        calls.append(parameters.seed)
        return real(parameters, **options)

    small = SPEC.model_copy(update={"train": 1, "val": 0})
    monkeypatch.setattr(module, "simulate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_echonet(tmp_path / "out", small, progress=False)
    assert not (tmp_path / "out" / "FileList.csv").exists()
    assert len(list((tmp_path / "out" / "Truth").iterdir())) == 1
    monkeypatch.setattr(module, "simulate", real)
    write_echonet(tmp_path / "out", small, progress=False)
    # a study depends on its own number only, so it is the one of the larger cohort
    for split in ("train", "test"):
        name = study_name(small, split, 0)
        for file in (f"Videos/{name}.avi", f"Truth/{name}.npz"):
            assert (tmp_path / "out" / file).read_bytes() == (echonet_dir / file).read_bytes()


def test_a_finished_cohort_is_left_alone(echonet_dir, monkeypatch):
    before = contents(echonet_dir)
    forbid_simulation(monkeypatch)
    write_echonet(echonet_dir, SPEC, progress=False)
    assert contents(echonet_dir) == before


# ---- never mixed


def test_another_cohort_is_refused(echonet_dir, monkeypatch):
    forbid_simulation(monkeypatch)
    before = contents(echonet_dir)
    with pytest.raises(ConfigError, match="holds another simulated cohort: phantom is .*'seed': 7.*'seed': 8"):
        write_echonet(echonet_dir, SPEC.model_copy(update={"seed": 8}), progress=False)
    with pytest.raises(ConfigError, match="layout is echonet, asked for camus"):
        write_camus(echonet_dir, SPEC, progress=False)
    assert contents(echonet_dir) == before


def test_a_folder_of_other_files_is_refused(tmp_path):
    (tmp_path / "FileList.csv").write_text("someone's real data")
    with pytest.raises(ConfigError, match="is not empty and holds no phantom.json"):
        write_echonet(tmp_path, SPEC, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["FileList.csv"]


def test_another_simulator_does_not_finish_what_one_began(echonet_dir, tmp_path, monkeypatch):
    out = tmp_path / "again"
    shutil.copytree(echonet_dir, out)
    about = json.loads((out / "phantom.json").read_text())
    assert str(tmp_path) not in str(about)
    about["made_by"]["simulator"] = "0" * 16
    (out / "phantom.json").write_text(json.dumps(about))
    forbid_simulation(monkeypatch)
    write_echonet(out, SPEC, progress=False)  # finished: it stays what it is
    (out / "FileList.csv").unlink()
    with pytest.raises(ConfigError, match="unfinished and was begun by another version"):
        write_echonet(out, SPEC, progress=False)
    (out / "phantom.json").write_text("{")
    with pytest.raises(ConfigError, match="not readable"):
        write_echonet(out, SPEC, progress=False)


def test_a_damaged_truth_file_is_named(echonet_dir, tmp_path, monkeypatch):
    out = tmp_path / "again"
    shutil.copytree(echonet_dir, out)
    path = next((out / "Truth").iterdir())
    path.write_bytes(path.read_bytes()[:100])
    (out / "FileList.csv").unlink()
    forbid_simulation(monkeypatch)
    with pytest.raises(DataError, match=f"Truth/{path.name}: not a truth file"):
        write_echonet(out, SPEC, progress=False)


@pytest.mark.parametrize(("change", "words"), [
    ({"train": 0, "val": 0, "test": 0}, "no studies"),
    ({"frames": (4, 9)}, "8 frames"),
    ({"frames": (40, 30)}, "shortest and the longest"),
])
def test_impossible_cohorts_are_refused(tmp_path, change, words):
    for write in (write_echonet, write_camus):
        with pytest.raises(ConfigError, match=words):
            write(tmp_path / "out", SPEC.model_copy(update=change), progress=False)
    with pytest.raises(ConfigError, match="0 workers"):
        write_echonet(tmp_path / "out", SPEC, workers=0, progress=False)


# ---- CAMUS' layout


def test_camus_layout(camus_dir):
    patients = [f"patient{k:04d}" for k in range(1, 5)]
    assert sorted(p.name for p in (camus_dir / "database_nifti").iterdir()) == patients
    for patient in patients:
        expected = [f"Info_{view}.cfg" for view in VIEWS]
        expected += [f"{patient}_{view}_{part}{gt}.nii.gz" for view in VIEWS for part in ("ED", "ES", "half_sequence")
                     for gt in ("", "_gt")]
        assert sorted(p.name for p in (camus_dir / "database_nifti" / patient).iterdir()) == sorted(expected)
    listed = [(camus_dir / "database_split" / f"subgroup_{name}.txt").read_text().split() for name in CAMUS_SPLITS.values()]
    assert [len(part) for part in listed] == [2, 1, 1]
    assert sorted(sum(listed, [])) == patients


def test_camus_images(camus_dir):
    first = set()
    for folder in (camus_dir / "database_nifti").iterdir():
        for view in VIEWS:
            info = dict(line.split(": ") for line in (folder / f"Info_{view}.cfg").read_text().splitlines())
            assert list(info) == ["ED", "ES", "NbFrame", "Sex", "Age", "ImageQuality", "EF", "FrameRate"]
            loaded = {}
            for part in ("ED", "ES", "half_sequence"):
                for gt in ("", "_gt"):
                    path = folder / f"{folder.name}_{view}_{part}{gt}.nii.gz"
                    assert path.read_bytes()[4:8] == b"\0\0\0\0"  # gzip's time stamp
                    image = nibabel.load(path)
                    assert image.get_data_dtype() == np.uint8
                    assert image.header.get_zooms()[0] == image.header.get_zooms()[1] > 0
                    loaded[part + gt] = np.asarray(image.dataobj)
            frames = int(info["NbFrame"])
            assert loaded["half_sequence"].shape == loaded["half_sequence_gt"].shape == (168, 138, frames) and 10 <= frames <= 12
            for part in ("ED", "ES"):
                for gt in ("", "_gt"):
                    assert (loaded[part + gt] == loaded["half_sequence" + gt][..., int(info[part]) - 1]).all()
            assert {int(info["ED"]), int(info["ES"])} == {1, frames}
            first.add("ED" if info["ED"] == "1" else "ES")
            labels = loaded["half_sequence_gt"]
            assert np.unique(labels).tolist() == [0, 1, 2, 3] and ((labels == 1).sum((0, 1)) > 0).all()
            assert ((loaded["ED_gt"] == 1).sum() > (loaded["ES_gt"] == 1).sum())
    assert first == {"ED", "ES"}


def test_the_camus_reader_finds_nothing_wrong(camus_dir):
    cohort = camus.read(camus_dir, views=VIEWS)
    assert not cohort.report.findings and len(cohort.studies) == 8
    for study, row in cohort.studies.iterrows():
        truth = read_truth(camus_dir, study)
        assert (cohort.mask(study, row.es_frame) == truth.masks[row.es_frame]).all()
        assert truth.ef == pytest.approx(row.ef, abs=0.051)
    ef = cohort.studies.groupby("patient").ef
    assert (ef.max() - ef.min() < 5).all()  # both views are of one heart


def test_camus_resumes_to_the_same_bytes(camus_dir, tmp_path):
    out = tmp_path / "again"
    shutil.copytree(camus_dir, out)
    patient = (out / "database_split" / "subgroup_testing.txt").read_text().strip()
    shutil.rmtree(out / "database_nifti" / patient)
    (out / "database_split" / "subgroup_testing.txt").unlink()
    write_camus(out, CAMUS_SPEC, progress=False, size=CAMUS_SIZE)
    assert contents(out) == contents(camus_dir)
    with pytest.raises(ConfigError, match="size is"):
        write_camus(out, CAMUS_SPEC, progress=False)


# ---- small parts


def test_qualities_come_in_the_data_sets_proportions():
    shares = {"Good": 260, "Medium": 148, "Poor": 42}
    names = module._apportion(shares, 450).tolist()
    assert [names.count(q) for q in shares] == [260, 148, 42]
    # 500: 288.9, 164.4, 46.7 -> whole parts 288, 164, 46; the two left go to the largest remainders
    names = module._apportion(shares, 500).tolist()
    assert [names.count(q) for q in shares] == [289, 164, 47]
    assert module._apportion(shares, 0).tolist() == []


def test_no_patient_is_in_both_layouts_or_two_splits():
    drawn = {module._draw(SPEC, layout, split, 0)[0].ef for layout in ("echonet", "camus") for split in ("train", "val", "test")}
    assert len(drawn) == 6


def test_names_depend_on_preset_seed_split_and_number():
    base = study_name(SPEC, "train", 0)
    others = [study_name(SPEC, "train", 1), study_name(SPEC, "val", 0),
              study_name(SPEC.model_copy(update={"seed": 8}), "train", 0),
              study_name(SPEC.model_copy(update={"preset": "wide"}), "train", 0)]
    assert len({base, *others}) == 5
    assert study_name(SPEC.model_copy(update={"train": 99, "frames": None}), "train", 0) == base


@dataclass
class Still:
    """A clip whose ED is larger than its ES by one row of pixels: less than the hand strays."""

    labels: np.ndarray
    long_axis: np.ndarray
    ed_frame: int = 0
    es_frame: int = 1


def test_end_systole_never_comes_out_the_larger():
    labels = np.zeros((2, 112, 112), np.uint8)
    y, x = np.mgrid[:112, :112]
    for frame, half_length in ((0, 26), (1, 25)):
        labels[frame][((x - 56) / 16) ** 2 + ((y - 50) / half_length) ** 2 <= 1] = 1
    axis = np.array([[[56.0, 24], [56, 76]], [[56.0, 25], [56, 75]]])
    orders = []
    for seed in range(120):
        frames, tracings = trace_pair(Still(labels, axis), np.random.default_rng(seed))
        areas = {int(f): module._polygon_area(t) for f, t in zip(frames, tracings, strict=True)}
        assert areas[0] > areas[1]
        orders.append(int(frames[0]))
    assert 0 < sum(orders) < 24  # end-systole is listed first in about one study of twenty
