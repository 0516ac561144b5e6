"""EchoNet-Dynamic's layout: quirks, masks, phases, fingerprint."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from echolib.data import echonet
from echolib.data.echonet import polygon_mask
from echolib.errors import DataError
from tests.data import fakes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return fakes.write_echonet(tmp_path_factory.mktemp("echonet") / "data")


@pytest.mark.parametrize("avi_in_list", [False, True])
@pytest.mark.parametrize("avi_in_tracings", [False, True])
def test_file_names_with_and_without_extension(tmp_path, folder, avi_in_list, avi_in_tracings):
    shutil.copytree(folder, tmp_path / "data")
    for name, wanted in (("FileList.csv", avi_in_list), ("VolumeTracings.csv", avi_in_tracings)):
        head, *rows = (tmp_path / "data" / name).read_text().replace(".avi", "").splitlines()
        rows = [row.replace(",", ".avi,", 1) if wanted else row for row in rows]
        (tmp_path / "data" / name).write_text("\n".join([head, *rows]) + "\n")
    cohort, plain = echonet.read(tmp_path / "data"), echonet.read(folder)
    assert cohort.report.findings == []
    assert cohort.studies.equals(plain.studies) and cohort.labels.equals(plain.labels)


def test_the_table_of_studies(folder):
    cohort = echonet.read(folder)
    assert list(cohort.studies.index) == [f"0X{n:04d}" for n in range(5)]
    row = cohort.studies.loc["0X0003"]
    assert (row.split, row.patient, row.file, row.frames, row.fps) == ("test", "0X0003", "Videos/0X0003.avi", 38, 50)
    assert (row.height, row.width, row.edv, row.esv, row["view"], row.quality) == (112, 112, 103, 45, "4CH", "")
    assert row.ef == pytest.approx(100 * 58 / 103) and np.isnan(row.spacing_mm)
    assert cohort.studies["split"].tolist() == ["train", "train", "val", "test", "test"]
    assert cohort.video("0X0003").shape == (38, 112, 112, 3)


@pytest.mark.parametrize("es_first", [False, True])
def test_the_larger_area_is_end_diastole_whatever_the_order(tmp_path, es_first):
    cohort = echonet.read(fakes.write_echonet(tmp_path / "data", es_first=es_first, splits=("TRAIN", "VAL", "TEST")))
    assert cohort.studies["ed_frame"].tolist() == [4] * 3 and cohort.studies["es_frame"].tolist() == [14] * 3
    assert cohort.labels["phase"].tolist() == ["ED", "ES"] * 3
    for row in cohort.labels.itertuples():
        assert cohort.mask(row.study, row.frame).sum() == row.area_px


@pytest.mark.parametrize("chords", [5, 12, 30])
def test_any_number_of_chords_is_read_and_noted_as_a_known_quirk(tmp_path, chords):
    cohort = echonet.read(fakes.write_echonet(tmp_path / "data", chords=chords, splits=("TRAIN", "VAL", "TEST")))
    assert len(cohort.studies) == 3 and not cohort.report.unusable
    assert len(cohort.report.findings) == 6 and all(f.action == "noted" and f.known_quirk for f in cohort.report.findings)


def test_quirks_of_the_published_set_do_not_make_it_unusable(tmp_path):
    """An orphan name and an untraced video of odd size: left out, reported, no damage."""
    root = fakes.write_echonet(tmp_path / "data")
    fakes.write_avi(root / "Videos" / "0XODD0.avi", fakes.video(30, 80, 101, 9)[0], 50)
    with open(root / "FileList.csv", "a") as stream:
        stream.write("0XODD0,55,45,100,80,101,50,30,TRAIN\n")
    with open(root / "VolumeTracings.csv", "a") as stream:
        stream.write("0XORPHAN.avi,1,2,3,4,5\n")
    cohort = echonet.read(root)
    assert {(f.study, f.action, f.known_quirk) for f in cohort.report.findings} == {
        ("0XODD0", "dropped", True), ("0XORPHAN", "dropped", True)}
    assert not cohort.report.unusable and len(cohort.studies) == 5


def test_a_video_of_odd_size_that_is_traced_is_used(tmp_path):
    root = fakes.write_echonet(tmp_path / "data", splits=("TRAIN", "VAL", "TEST"))
    frames, shapes = fakes.video(30, 81, 103, 9, shift=4)
    fakes.write_avi(root / "Videos" / "0XODD0.avi", frames, 50)
    with open(root / "FileList.csv", "a") as stream:
        stream.write("0XODD0,55,45,100,81,103,50,30,TRAIN\n")
    with open(root / "VolumeTracings.csv", "a") as stream:
        for frame in (4, 14):
            stream.writelines(f"0XODD0.avi,{','.join(map(str, row))},{frame}\n" for row in shapes[frame].trace())
    cohort = echonet.read(root)
    assert cohort.report.findings == []
    assert cohort.video("0XODD0").shape == (30, 81, 103, 3) and cohort.mask("0XODD0", 4).shape == (81, 103)


def test_polygon_mask_by_hand():
    """Two chords of a 4 x 2 rectangle: rows 1-3 and columns 2-6, all points on the border being inside."""
    traces = np.array([[4.0, 1, 4, 3], [2, 1, 6, 1], [2, 3, 6, 3]])
    mask = polygon_mask(traces, 6, 9)
    expected = np.zeros((6, 9), bool)
    expected[1:4, 2:7] = True
    assert np.array_equal(mask, expected)


def test_polygon_mask_rounds_half_to_even():
    """2.5 -> 2, 6.5 -> 6, 0.5 -> 0, 3.5 -> 4 : the same as whole numbers would give."""
    half = np.array([[4.0, 1, 4, 3], [2.5, 0.5, 6.5, 0.5], [2.5, 3.5, 6.5, 3.5]])
    whole = np.array([[4.0, 1, 4, 3], [2, 0, 6, 0], [2, 4, 6, 4]])
    assert np.array_equal(polygon_mask(half, 8, 9), polygon_mask(whole, 8, 9))
    assert not np.array_equal(polygon_mask(np.floor(half + 0.5), 8, 9), polygon_mask(whole, 8, 9))


def even_odd_mask(traces: np.ndarray, height: int, width: int) -> np.ndarray:
    """Brute-force twin: even-odd rule per pixel, border points inside."""
    chords = traces[1:]
    x = [round(v) for v in [*chords[:, 0], *chords[::-1, 2]]]  # Python rounds half to even too
    y = [round(v) for v in [*chords[:, 1], *chords[::-1, 3]]]
    mask = np.zeros((height, width), bool)
    for r in range(height):
        for c in range(width):
            inside = False
            for k in range(len(x)):
                x0, y0, x1, y1 = x[k - 1], y[k - 1], x[k], y[k]
                cross = (x1 - x0) * (r - y0) - (y1 - y0) * (c - x0)
                if cross == 0 and min(x0, x1) <= c <= max(x0, x1) and min(y0, y1) <= r <= max(y0, y1):
                    inside = True
                    break
                if (y0 > r) != (y1 > r) and c < (x1 - x0) * (r - y0) / (y1 - y0) + x0:
                    inside = not inside
            mask[r, c] = inside
    return mask


@pytest.mark.parametrize("seed", range(4))
def test_polygon_mask_equals_the_even_odd_rule(seed):
    rng = np.random.default_rng([seed, 5])
    ventricle = fakes.Ellipse(*rng.uniform(20, 28, 2), rng.uniform(6, 11), rng.uniform(12, 18))
    traces = np.array(ventricle.trace(int(rng.integers(4, 20))))
    traces += rng.normal(0, 0.4, traces.shape)
    assert np.array_equal(polygon_mask(traces, 48, 48), even_odd_mask(traces, 48, 48))


def test_polygon_mask_clips_at_the_border():
    traces = np.array([[4.0, 1, 4, 3], [-4, -2, 20, -2], [-4, 30, 20, 30]])
    assert polygon_mask(traces, 6, 9).all()


def test_polygon_mask_follows_a_shift_by_whole_pixels():
    traces = np.array(fakes.Ellipse(20.3, 22.1, 7, 13).trace())
    moved = polygon_mask(traces + [5, 3, 5, 3], 60, 60)
    assert np.array_equal(np.roll(polygon_mask(traces, 60, 60), (3, 5), axis=(0, 1)), moved)


def test_a_frame_without_trace_or_an_unknown_study_is_an_error(folder):
    cohort = echonet.read(folder)
    with pytest.raises(DataError, match="0X0001.avi, row 6: the frame has no trace"):
        cohort.mask("0X0001", 5)
    with pytest.raises(DataError, match="no such study"):
        cohort.video("0X9999")


def test_the_fingerprint_does_not_depend_on_the_place_but_on_the_content(tmp_path, folder):
    shutil.copytree(folder, tmp_path / "elsewhere")
    first = echonet.read(folder).fingerprint
    assert len(first) == 64 and echonet.read(tmp_path / "elsewhere").fingerprint == first
    file = tmp_path / "elsewhere" / "VolumeTracings.csv"
    text = file.read_text()
    at = text.index("\n0X0000.avi,") + len("\n0X0000.avi,")
    file.write_text(text[:at] + ("3" if text[at] != "3" else "4") + text[at + 1:])  # the same size
    assert echonet.read(tmp_path / "elsewhere").fingerprint != first


def test_the_reader_never_looks_at_the_truth(tmp_path, folder):
    shutil.copytree(folder, tmp_path / "data")
    (tmp_path / "data" / "Truth").mkdir()
    (tmp_path / "data" / "Truth" / "0X0000.npz").write_bytes(b"garbage")
    cohort = echonet.read(tmp_path / "data")
    assert cohort.report.findings == [] and cohort.fingerprint == echonet.read(folder).fingerprint
