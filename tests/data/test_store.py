"""The store gives back what went in, survives interruption, and tells when a byte has changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from echolib.data import camus, echonet, store
from echolib.data.store import ClipStore, pack
from echolib.errors import DataError
from echolib.files import write_json
from tests.data import fakes


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return echonet.read(fakes.write_echonet(tmp_path_factory.mktemp("cohort") / "data"))


@pytest.fixture(scope="module")
def packed(cohort, tmp_path_factory) -> Path:
    return pack(cohort, tmp_path_factory.mktemp("store") / "store", progress=False).path


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_frames_and_masks_are_those_of_the_cohort(cohort, packed):
    store = ClipStore.open(packed, verify=True)
    assert store.frames.shape == (32 + 34 + 36 + 38 + 40, 112, 112, 3) and store.frames.dtype == np.uint8
    assert (store.size, store.channels, store.layout, store.fingerprint) == (112, 3, "echonet", cohort.fingerprint)
    assert store.studies.drop(columns="first").equals(cohort.studies)
    assert store.studies["first"].tolist() == [0, 32, 66, 102, 140]
    assert store.labels.drop(columns="row").equals(cohort.labels)
    for study in cohort.studies.index:
        assert np.array_equal(store.video(study), cohort.video(study))
    for row in cohort.labels.itertuples():
        assert np.array_equal(store.mask(row.study, row.frame), cohort.mask(row.study, row.frame))


@pytest.mark.parametrize("indices", [range(32), [5, 3, 3, 30], range(0, 32, 7), [-1, -1, 0, 1, -1], [-1], []])
def test_a_clip_is_frames_by_index_and_black_for_minus_one(packed, indices):
    store = ClipStore.open(packed)
    indices = np.array(list(indices), dtype=int)
    clip = store.clip("0X0001", indices)
    assert clip.shape == (len(indices), 112, 112, 3) and clip.dtype == np.uint8 and type(clip) is np.ndarray
    for frame, index in zip(clip, indices, strict=True):
        assert np.array_equal(frame, store.video("0X0001")[index] if index >= 0 else np.zeros((112, 112, 3)))
    clip[...] = 7  # a copy: the store does not change
    assert ClipStore.open(packed, verify=True)


@pytest.mark.parametrize("index", [-2, 34])
def test_a_frame_that_is_not_there_is_an_error(packed, index):
    store = ClipStore.open(packed)
    with pytest.raises(DataError, match=f"found {index}.*-1 to 33"):
        store.clip("0X0001", np.array([0, index]))
    with pytest.raises(DataError, match="no label"):
        store.mask("0X0001", 5)
    with pytest.raises(DataError, match="no such study"):
        store.video("0X0099")


def test_grey_is_kept_exactly_with_one_channel(cohort, tmp_path):
    store = pack(cohort, tmp_path / "s", channels=1, progress=False)
    video = cohort.video("0X0000")
    assert store.frames.shape[-1] == 1
    grey = (video == video[..., :1]).all(axis=-1)
    assert grey.mean() > 0.5 and np.array_equal(store.video("0X0000")[..., 0][grey], video[..., 0][grey])


def test_other_sizes_are_resized(tmp_path):
    """By area when they shrink, masks by nearest neighbour; the area of the mask scales with the frame."""
    cohort = camus.read(fakes.write_camus(tmp_path / "data", views=("4CH",), height=160, width=128))
    store = pack(cohort, tmp_path / "s", size=64, channels=1, progress=False)
    assert store.frames.shape[1:] == (64, 64, 1)
    expected = cv2.resize(cohort.video("patient0001_4CH")[3, ..., 0], (64, 64), interpolation=cv2.INTER_AREA)
    assert np.array_equal(store.video("patient0001_4CH")[3, ..., 0], expected)
    for row in cohort.labels.itertuples():
        mask = store.mask(row.study, row.frame)
        assert mask.sum() == pytest.approx(row.area_px * 64 * 64 / (160 * 128), rel=0.03)
        rows, columns = np.nonzero(mask)
        assert rows.mean() == pytest.approx(31.5, abs=0.6) and columns.mean() == pytest.approx(31.5, abs=0.6)
    grown = pack(cohort, tmp_path / "g", size=176, progress=False)
    assert grown.frames.shape[1:] == (176, 176, 3)


class Interrupted(RuntimeError):
    pass


@pytest.mark.parametrize("stop_after", [0, 1, 3, 4])
def test_packing_resumes_to_the_same_bytes(cohort, packed, tmp_path, monkeypatch, stop_after):
    asked = []
    video = echonet.EchonetCohort.video

    def dies(self, study):
        if len(asked) == stop_after:
            raise Interrupted
        asked.append(study)
        return video(self, study)

    monkeypatch.setattr(echonet.EchonetCohort, "video", dies)
    with pytest.raises(Interrupted):
        pack(cohort, tmp_path / "s", progress=False)
    with pytest.raises(DataError, match="packing was interrupted"):
        ClipStore.open(tmp_path / "s")
    again = []
    monkeypatch.setattr(echonet.EchonetCohort, "video", lambda self, study: again.append(study) or video(self, study))
    pack(cohort, tmp_path / "s", progress=False)
    assert asked + again == list(cohort.studies.index)  # nothing is decoded twice
    assert content(tmp_path / "s") == content(packed)


def interrupted_store(cohort, folder: Path, monkeypatch, after: int) -> None:
    video, count = echonet.EchonetCohort.video, iter(range(100))

    def dies(self, study):
        if next(count) == after:
            raise Interrupted
        return video(self, study)

    with monkeypatch.context() as patch:
        patch.setattr(echonet.EchonetCohort, "video", dies)
        with pytest.raises(Interrupted):
            pack(cohort, folder, progress=False)


def test_what_an_interruption_damaged_is_packed_again(cohort, packed, tmp_path, monkeypatch):
    interrupted_store(cohort, tmp_path / "s", monkeypatch, after=3)
    frames = tmp_path / "s" / "frames.npy.part"
    data = bytearray(frames.read_bytes())
    data[128 + 40 * 112 * 112 * 3] ^= 1  # in the second study
    frames.write_bytes(data)
    with open(tmp_path / "s" / "packing.jsonl", "a") as journal:
        journal.write('{"study": "0X0003", "sha')  # a line that was cut short
    pack(cohort, tmp_path / "s", progress=False)
    assert content(tmp_path / "s") == content(packed)


def test_an_unfinished_store_of_something_else_is_started_anew(cohort, packed, tmp_path, monkeypatch):
    interrupted_store(cohort, tmp_path / "s", monkeypatch, after=2)
    journal = tmp_path / "s" / "packing.jsonl"
    journal.write_text(journal.read_text().replace(cohort.fingerprint, "0" * 64))
    pack(cohort, tmp_path / "s", progress=False)
    assert content(tmp_path / "s") == content(packed)


@pytest.mark.parametrize("written", [False, True])
def test_an_interruption_around_the_manifest(cohort, packed, tmp_path, monkeypatch, written):
    """Just before the manifest is written there is no store; just after, the folder is what an undisturbed packing leaves."""
    def dies(path, manifest):
        if written:
            write_json(path, manifest)
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(store, "write_json", dies)
        with pytest.raises(Interrupted):
            pack(cohort, tmp_path / "s", progress=False)
    if written:
        assert content(tmp_path / "s") == content(packed)
    else:
        with pytest.raises(DataError, match="not a store"):
            ClipStore.open(tmp_path / "s")
    pack(cohort, tmp_path / "s", progress=False)
    assert content(tmp_path / "s") == content(packed)


def test_threads_give_the_same_bytes(cohort, packed, tmp_path):
    pack(cohort, tmp_path / "s", progress=False, workers=3)
    assert content(tmp_path / "s") == content(packed)


def test_a_finished_store_is_opened_not_made_again(cohort, packed, tmp_path, monkeypatch):
    shutil.copytree(packed, tmp_path / "s")
    monkeypatch.setattr(echonet.EchonetCohort, "video", lambda self, study: pytest.fail("decoded again"))
    assert pack(cohort, tmp_path / "s", progress=False).fingerprint == cohort.fingerprint


def test_a_store_of_something_else_is_not_overwritten_unasked(cohort, packed, tmp_path):
    shutil.copytree(packed, tmp_path / "s")
    with pytest.raises(DataError, match="another cohort, size or number of channels"):
        pack(cohort, tmp_path / "s", size=64, progress=False)
    assert content(tmp_path / "s") == content(packed)
    assert pack(cohort, tmp_path / "s", size=64, progress=False, replace=True).size == 64
    assert sorted(content(tmp_path / "s")) == sorted(content(packed))


@pytest.mark.parametrize(("file", "offset", "study"), [("frames.npy", 128 + 70 * 112 * 112 * 3 + 5, "0X0002"),
                                                       ("frames.npy", -1, "0X0004"), ("masks.npy", 128 + 3 * 1568 + 7, "0X0001")])
def test_a_flipped_bit_is_found_and_its_study_named(packed, tmp_path, file, offset, study):
    shutil.copytree(packed, tmp_path / "s")
    data = bytearray((tmp_path / "s" / file).read_bytes())
    data[offset] ^= 1
    (tmp_path / "s" / file).write_bytes(data)
    with pytest.raises(DataError, match=study):
        ClipStore.open(tmp_path / "s", verify=True)


@pytest.mark.parametrize("file", ["studies.parquet", "labels.parquet", "report.parquet", "frames.npy", "masks.npy",
                                  "manifest.json"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_missing_or_cut_file_is_named_without_verify(packed, tmp_path, file, damage):
    shutil.copytree(packed, tmp_path / "s")
    if damage == "missing":
        (tmp_path / "s" / file).unlink()
    else:
        (tmp_path / "s" / file).write_bytes((tmp_path / "s" / file).read_bytes()[:-20])
    with pytest.raises(DataError) as caught:
        ClipStore.open(tmp_path / "s")
    assert file in str(caught.value)


def test_a_store_of_another_format_is_refused(packed, tmp_path):
    shutil.copytree(packed, tmp_path / "s")
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    (tmp_path / "s" / "manifest.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(DataError, match="another format .found 99"):
        ClipStore.open(tmp_path / "s")


@pytest.mark.parametrize("lost", ["fingerprint", "layout", "tables", "studies", "frames", "format"])
def test_a_manifest_that_lacks_an_entry_is_named(packed, tmp_path, lost):
    shutil.copytree(packed, tmp_path / "s")
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    del manifest[lost]
    (tmp_path / "s" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="manifest.json: the manifest is damaged"):
        ClipStore.open(tmp_path / "s")


def test_a_video_that_does_not_decode_stops_packing_and_is_named(tmp_path):
    root = fakes.write_echonet(tmp_path / "data")
    file = root / "Videos" / "0X0002.avi"
    data = bytearray(file.read_bytes())
    end = data.index(b"\xff\xd9")
    data[end:end + 2] = b"\0\0"
    file.write_bytes(data)
    with pytest.raises(DataError, match="Videos/0X0002.avi, row 1"):
        pack(echonet.read(root), tmp_path / "s", progress=False)
    assert not (tmp_path / "s" / "manifest.json").exists()


def test_an_empty_cohort_or_a_strange_number_of_channels_is_refused(cohort, tmp_path):
    root = fakes.write_echonet(tmp_path / "data", splits=("TRAIN",))
    (root / "Videos" / "0X0000.avi").unlink()
    with pytest.raises(DataError, match="no usable study"):
        pack(echonet.read(root), tmp_path / "s", progress=False)
    with pytest.raises(ValueError, match="channels"):
        pack(cohort, tmp_path / "s", channels=2, progress=False)
    assert not (tmp_path / "s").exists()


def test_the_report_travels_with_the_store(tmp_path):
    root = fakes.write_echonet(tmp_path / "data")
    (root / "Videos" / "0X0001.avi").unlink()
    store = pack(echonet.read(root), tmp_path / "s", progress=False)
    assert store.report[["study", "file", "action"]].to_numpy().tolist() == [["0X0001", "Videos/0X0001.avi", "dropped"]]
    assert "0X0001" not in store.studies.index
