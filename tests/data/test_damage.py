"""Deliberately damaged cohorts: each damage is named by file, row and value, and nothing else is dropped for it."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest

from echolib.data import camus, echonet
from echolib.data.check import check
from echolib.errors import DataError
from tests.data import fakes

LIST, TRACES = "FileList.csv", "VolumeTracings.csv"
AVI = "Videos/0X0001.avi"
PATIENT = "database_nifti/patient0003"
CFG = f"{PATIENT}/Info_4CH.cfg"
SEQUENCE = f"{PATIENT}/patient0003_4CH_half_sequence.nii.gz"
LABELS = f"{PATIENT}/patient0003_4CH_half_sequence_gt.nii.gz"
STUDY = {"echonet": "0X0001", "camus": "patient0003_4CH"}


@dataclass(frozen=True)
class Damage:
    """What is done to a clean folder, and what the report must say. ``study`` None: the finding concerns the folder."""

    name: str
    apply: Callable[[Path], None]
    file: str
    row: int | None = None
    text: str = ""
    action: str = "dropped"
    study: str | None = "own"
    quirk: bool = False


def edit(file: str, row: int, old: str, new: str) -> Callable[[Path], None]:
    """Replace text on a 1-based line."""
    def apply(root: Path) -> None:
        lines = (root / file).read_text().splitlines()
        assert old in lines[row - 1], lines[row - 1]
        lines[row - 1] = lines[row - 1].replace(old, new, 1)
        (root / file).write_text("\n".join(lines) + "\n")
    return apply


def cell(file: str, row: int, column: str, new: str) -> Callable[[Path], None]:
    """Replace a cell of a CSV file on a 1-based line."""
    def apply(root: Path) -> None:
        lines = (root / file).read_text().splitlines()
        cells = lines[row - 1].split(",")
        cells[lines[0].split(",").index(column)] = new
        lines[row - 1] = ",".join(cells)
        (root / file).write_text("\n".join(lines) + "\n")
    return apply


def remove_lines(file: str, keep: Callable[[str], bool]) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        (root / file).write_text("".join(line for line in (root / file).read_text().splitlines(keepends=True) if keep(line)))
    return apply


def without_lines(file: str, gone: range) -> Callable[[Path], None]:
    """Remove 1-based lines."""
    def apply(root: Path) -> None:
        lines = (root / file).read_text().splitlines(keepends=True)
        (root / file).write_text("".join(line for number, line in enumerate(lines, start=1) if number not in gone))
    return apply


def append(file: str, text: str) -> Callable[[Path], None]:
    return lambda root: (root / file).write_text((root / file).read_text() + text)


def delete(file: str) -> Callable[[Path], None]:
    return lambda root: shutil.rmtree(root / file) if (root / file).is_dir() else (root / file).unlink()


def content(file: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda root: (root / file).write_bytes(change((root / file).read_bytes()))


def rename(file: str, new: str) -> Callable[[Path], None]:
    return lambda root: (root / file).rename(root / new)


def nifti(file: str, change: Callable[[np.ndarray], np.ndarray], spacing: float = 0.308) -> Callable[[Path], None]:
    """Change a NIfTI's array, given and returned as (T, H, W)."""
    return lambda root: fakes.save_nifti(root / file, change(np.asarray(nibabel.load(root / file).dataobj).T.copy()), spacing)


def spacing(file: str, zooms: tuple[float, float]) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        array = np.asarray(nibabel.load(root / file).dataobj)
        image = nibabel.Nifti1Image(array, np.eye(4))
        image.header["pixdim"][1:3] = zooms
        nibabel.save(image, root / file)
    return apply


def set_pixel(value: float, dtype: type, frame: int = 4) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array = array.astype(dtype)
        array[frame - 1, 5, 6] = value
        return array
    return change


def without_label(frame: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array[frame - 1][array[frame - 1] == 1] = 0
        return array
    return change


def break_jpeg(data: bytes, frame: int = 3) -> bytes:
    """Cut the image data of a frame short by overwriting its end."""
    starts = [i for i in range(len(data) - 2) if data[i:i + 3] == b"\xff\xd8\xff"]
    end = data.index(b"\xff\xd9", starts[frame - 1])
    return data[:end] + b"\x00\x00" + data[end + 2:]


def scramble_jpeg(data: bytes, frame: int = 3) -> bytes:
    starts = [i for i in range(len(data) - 2) if data[i:i + 3] == b"\xff\xd8\xff"]
    at = starts[frame - 1] + 900
    return data[:at] + np.random.default_rng(3).integers(0, 255, 200, dtype=np.uint8).tobytes() + data[at + 200:]


def on_a_line(root: Path) -> None:
    """All points of study 0X0001's ED trace on one vertical line."""
    for row in range(44, 65):
        cell(TRACES, row, "X1", "40.2")(root)
        cell(TRACES, row, "X2", "40.2")(root)


def other_video(root: Path) -> None:
    fakes.write_avi(root / AVI, fakes.video(20, 112, 112, 5)[0], 50)


def longer_video(root: Path) -> None:
    fakes.write_avi(root / AVI, fakes.video(36, 112, 112, 5)[0], 50)


def odd_untraced(root: Path) -> None:
    """What the public data set has six of."""
    fakes.write_avi(root / AVI, fakes.video(34, 96, 128, 5)[0], 50)
    cell(LIST, 3, "FrameHeight", "96")(root)
    cell(LIST, 3, "FrameWidth", "128")(root)
    remove_lines(TRACES, lambda line: not line.startswith("0X0001"))(root)


# study 0X0001 is line 3 of FileList.csv; its traces in VolumeTracings.csv are lines 44-64 (ED, frame 4) and 65-85 (ES, frame 14)
ECHONET = [
    Damage("missing file list", delete(LIST), LIST, text="missing", study=None),
    Damage("misnamed file list", rename(LIST, "filelist.csv"), LIST, text="filelist.csv", study=None),
    Damage("missing tracings", delete(TRACES), TRACES, text="missing", study=None),
    Damage("missing videos folder", delete("Videos"), "Videos", text="missing", study=None),
    Damage("list without a column", edit(LIST, 1, "Split", "Part"), LIST, 1, "Part", study=None),
    Damage("tracings with a wrong header", edit(TRACES, 1, "X2", "Z2"), TRACES, 1, "Z2", study=None),
    Damage("list with a column twice", edit(LIST, 1, "EDV", "ESV"), LIST, 1, "lacks EDV", study=None),
    Damage("list that is empty", content(LIST, lambda _: b""), LIST, 1, "lacks FileName", study=None),
    Damage("list that is not text", content(LIST, lambda d: d[:200] + b"\xff\xfe\x00" + d[200:]), LIST, text="UTF-8", study=None),
    Damage("list with an open quote", edit(LIST, 3, "0X0001", '"0X0001'), LIST, 6, "not CSV", study=None),
    Damage("an extra column", lambda root: (root / LIST).write_text("".join(f"{line},7\n" if n else f"{line},Age\n" for n, line in
           enumerate((root / LIST).read_text().splitlines()))), LIST, 1, "'Age'", "noted", study=None),
    Damage("row with too few fields", edit(LIST, 3, ",TRAIN", ""), LIST, 3, "0X0001,", study=None),
    Damage("missing video", delete(AVI), AVI, text="no such video"),
    Damage("misnamed video", rename(AVI, "Videos/0X0001_copy.avi"), AVI, text="no such video"),
    Damage("video of zero bytes", content(AVI, lambda _: b""), AVI, text="0 bytes"),
    Damage("video that is no video", content(AVI, lambda _: b"hello" * 500), AVI, text="does not decode"),
    Damage("truncated video", content(AVI, lambda d: d[:len(d) // 2]), AVI, text="expected 34 frames"),
    Damage("video cut in its last frame", content(AVI, lambda d: d[:len(d) - 4000]), AVI, text="expected 34 frames"),
    Damage("video whose header is cut", content(AVI, lambda d: d[:150]), AVI, text="does not decode"),
    Damage("frame that is no whole JPEG", content(AVI, break_jpeg), AVI, 3, "not a whole JPEG"),
    Damage("frame with scrambled data", content(AVI, scramble_jpeg), AVI, 3, "[3]", "noted"),
    Damage("video shorter than the list says", other_video, AVI, text="'20 frames'"),
    Damage("list says more frames", cell(LIST, 3, "NumberOfFrames", "40"), AVI, text="expected 40 frames"),
    Damage("video longer than the list says", longer_video, LIST, 3, "'34'", "repaired"),
    Damage("frame count that is no number", cell(LIST, 3, "NumberOfFrames", "many"), LIST, 3, "'many'", "repaired"),
    Damage("frame height of another video", cell(LIST, 3, "FrameHeight", "120"), LIST, 3, "'120'", "repaired"),
    Damage("frame rate of zero", cell(LIST, 3, "FPS", "0"), LIST, 3, "'0'", "repaired"),
    Damage("EF that is no number", cell(LIST, 3, "EF", "high"), LIST, 3, "'high'", "noted"),
    Damage("EF that is NaN", cell(LIST, 3, "EF", "NaN"), LIST, 3, "'NaN'", "noted"),
    Damage("EF above 100", cell(LIST, 3, "EF", "155.4"), LIST, 3, "'155.4'", "noted"),
    Damage("EF that contradicts the volumes", cell(LIST, 3, "EF", "61.0"), LIST, 3, "'61.0'", "noted"),
    Damage("ESV above EDV", cell(LIST, 3, "ESV", "145"), LIST, 3, "'145'", "noted"),
    Damage("unknown split", cell(LIST, 3, "Split", "TRIAN"), LIST, 3, "'TRIAN'"),
    Damage("empty split", edit(LIST, 4, "VAL", "TRAIN"), LIST, text="'val' is empty", study=None),
    Damage("study listed twice", append(LIST, "0X0001,1,2,3,112,112,50,34,TEST\n"), LIST, 7, "first in row 3"),
    Damage("row repeated", lambda root: append(LIST, (root / LIST).read_text().splitlines()[2] + "\n")(root), LIST, 7,
           "same values", "repaired"),
    Damage("file name that climbs out", cell(LIST, 3, "FileName", "../0X0001"), LIST, 3, "'../0X0001'", study=None),
    Damage("file name with a backslash", cell(LIST, 3, "FileName", "..\\0X0001"), LIST, 3, "climbs out", study=None),
    Damage("absolute file name", cell(LIST, 3, "FileName", "/tmp/0X0001.avi"), LIST, 3, "'/tmp/0X0001.avi'", study=None),
    Damage("empty file name", cell(LIST, 3, "FileName", ""), LIST, 3, "empty", study=None),
    Damage("traced file name that climbs out", cell(TRACES, 50, "FileName", "../../0X0001.avi"), TRACES, 50, "climbs out",
           study=None),
    Damage("orphan name in the tracings", append(TRACES, "0XFFFF.avi,1,2,3,4,5\n"), TRACES, 212, "'0XFFFF'",
           study="0XFFFF", quirk=True),
    Damage("video that is not listed", lambda root: shutil.copy(root / AVI, root / "Videos/0XAAAA.avi"), "Videos/0XAAAA.avi",
           text="not in FileList.csv", action="noted", study=None),
    Damage("no trace", remove_lines(TRACES, lambda line: not line.startswith("0X0001")), TRACES, text="no trace"),
    Damage("no trace, odd size", odd_untraced, TRACES, text="no trace", quirk=True),
    Damage("one traced frame", remove_lines(TRACES, lambda x: not (x.startswith("0X0001") and x.endswith(",14\n"))), TRACES,
           text="only one frame"),
    Damage("a third traced frame", append(TRACES, "".join(f"0X0001.avi,{x},{y},{u},{v},9\n" for x, y, u, v in
                                                           fakes.Ellipse(56, 56, 15, 28).trace())), TRACES, text="[4, 9, 14]",
           action="noted"),
    Damage("a chord lost", without_lines(TRACES, range(50, 51)), TRACES, 44, "found 20", "noted", quirk=True),
    Damage("trace outside the frame", cell(TRACES, 50, "X2", "140.5"), TRACES, 50, "'140.5'"),
    Damage("trace left of the frame", cell(TRACES, 50, "X1", "-3"), TRACES, 50, "'-3'"),
    Damage("trace below the frame", cell(TRACES, 84, "Y1", "500"), TRACES, 84, "'500'"),
    Damage("trace over the border", cell(TRACES, 50, "X2", "112.6"), TRACES, 50, "'112.6'", "noted"),
    Damage("trace after the video", cell(TRACES, 65, "Frame", "34"), TRACES, 65, "'34'"),
    Damage("trace before the video", cell(TRACES, 50, "Frame", "-1"), TRACES, 50, "'-1'"),
    Damage("half a frame", cell(TRACES, 50, "Frame", "4.5"), TRACES, 50, "'4.5'"),
    Damage("coordinate that is no number", cell(TRACES, 50, "Y1", "n/a"), TRACES, 50, "'n/a'"),
    Damage("coordinate that is NaN", cell(TRACES, 50, "Y1", "nan"), TRACES, 50, "'nan'"),
    Damage("coordinate that is missing", cell(TRACES, 50, "Y1", ""), TRACES, 50, "''"),
    Damage("infinite coordinate", cell(TRACES, 50, "X1", "inf"), TRACES, 50, "'inf'"),
    Damage("trace without a chord", without_lines(TRACES, range(45, 65)), TRACES, text="no pixel"),
    Damage("trace with one chord", without_lines(TRACES, range(46, 65)), TRACES, text="no pixel"),
    Damage("trace that is a line", on_a_line, TRACES, text="no pixel"),
    Damage("traced row repeated", lambda root: append(TRACES, (root / TRACES).read_text().splitlines()[49] + "\n")(root), TRACES,
           212, "repeats", "repaired"),
]

CAMUS = [
    Damage("missing database", delete("database_nifti"), "database_nifti", text="missing", study=None),
    Damage("missing split file", delete("database_split/subgroup_testing.txt"), "database_split/subgroup_testing.txt",
           text="missing", study=None),
    Damage("empty split", content("database_split/subgroup_validation.txt", lambda _: b""),
           "database_split/subgroup_validation.txt", text="'val' is empty", study=None),
    Damage("split name that climbs out", append("database_split/subgroup_testing.txt", "../patient0009\n"),
           "database_split/subgroup_testing.txt", 2, "'../patient0009'", study=None),
    Damage("split name that is no patient", append("database_split/subgroup_testing.txt", "johndoe\n"),
           "database_split/subgroup_testing.txt", 2, "'johndoe'", study=None),
    Damage("patient without a folder", append("database_split/subgroup_testing.txt", "patient0077\n"),
           "database_split/subgroup_testing.txt", 2, "'patient0077'", study="patient0077"),
    Damage("patient in two splits", append("database_split/subgroup_testing.txt", "patient0003\n"),
           "database_split/subgroup_testing.txt", 2, "two splits", study="patient0003"),
    Damage("patient listed twice", append("database_split/subgroup_training.txt", "patient0003\n"),
           "database_split/subgroup_training.txt", 3, "listed twice", "repaired", study="patient0003"),
    Damage("patient in no split", remove_lines("database_split/subgroup_training.txt", lambda x: "0003" not in x), PATIENT,
           text="'patient0003'", study=None),
    Damage("missing cfg", delete(CFG), CFG, text="missing"),
    Damage("cfg without ED", remove_lines(CFG, lambda line: not line.startswith("ED")), CFG, text="key ED is missing"),
    Damage("cfg without NbFrame", remove_lines(CFG, lambda line: not line.startswith("NbFrame")), CFG, text="key NbFrame"),
    Damage("cfg without quality", remove_lines(CFG, lambda line: not line.startswith("Image")), CFG, text="key ImageQuality"),
    Damage("cfg line without a colon", edit(CFG, 2, ":", ""), CFG, 2, "'ES 12'"),
    Damage("cfg key given twice", append(CFG, "ED: 3\n"), CFG, 9, "ED is given twice"),
    Damage("ED of zero", edit(CFG, 1, "ED: 1", "ED: 0"), CFG, 1, "'0'"),
    Damage("ES after the sequence", edit(CFG, 2, "12", "13"), CFG, 2, "'13'"),
    Damage("ED that is no number", edit(CFG, 1, "1", "one"), CFG, 1, "'one'"),
    Damage("ED and ES the same", edit(CFG, 2, "12", "1"), CFG, 2, "same frame"),
    Damage("ED and ES swapped", lambda root: (edit(CFG, 1, "1", "12")(root), edit(CFG, 2, "12", "1")(root)), CFG, 1, "not larger",
           "noted"),
    Damage("unknown quality", edit(CFG, 6, "Poor", "Fair"), CFG, 6, "'Fair'"),
    Damage("EF that is no number", edit(CFG, 7, "53", "n/a"), CFG, 7, "'n/a'", "noted"),
    Damage("EF that is NaN", edit(CFG, 7, "53", "nan"), CFG, 7, "'nan'", "noted"),
    Damage("frame rate that is missing", remove_lines(CFG, lambda line: "FrameRate" not in line), CFG, text="FrameRate",
           action="noted"),
    Damage("cfg says more frames", edit(CFG, 3, "12", "15"), SEQUENCE, text="'12 frames'"),
    Damage("cfg says fewer frames", edit(CFG, 3, "12", "11"), CFG, 3, "found 11", "repaired"),
    Damage("missing sequence", delete(SEQUENCE), SEQUENCE, text="missing"),
    Damage("missing labels", delete(LABELS), LABELS, text="missing"),
    Damage("sequence of zero bytes", content(SEQUENCE, lambda _: b""), SEQUENCE, text="empty"),
    Damage("sequence that is no NIfTI", content(SEQUENCE, lambda _: gzip.compress(b"hello" * 200)), SEQUENCE, text="not a NIfTI"),
    Damage("sequence that is not compressed", content(SEQUENCE, lambda d: b"junk" * 100), SEQUENCE, text="not a NIfTI"),
    Damage("truncated sequence", content(SEQUENCE, lambda d: d[:len(d) // 2]), SEQUENCE, text="does not decode"),
    Damage("truncated labels", content(LABELS, lambda d: d[:len(d) // 2]), LABELS, text="does not decode"),
    Damage("sequence that is a still", nifti(SEQUENCE, lambda a: a[0]), SEQUENCE, text="three axes"),
    Damage("mask of another shape", nifti(LABELS, lambda a: a[:, :-2]), LABELS, text="(12, 78, 64)"),
    Damage("mask with a frame less", nifti(LABELS, lambda a: a[:-1]), LABELS, text="(11, 80, 64)"),
    Damage("label beyond 3", nifti(LABELS, set_pixel(4, np.uint8)), LABELS, 4, "found 4"),
    Damage("label below 0", nifti(LABELS, set_pixel(-1, np.int16)), LABELS, 4, "found -1"),
    Damage("label that is a fraction", nifti(LABELS, set_pixel(1.5, np.float32)), LABELS, 4, "found 1.5"),
    Damage("grey value above 255", nifti(SEQUENCE, set_pixel(300, np.int16)), SEQUENCE, 4, "found 300"),
    Damage("grey value that is NaN", nifti(SEQUENCE, set_pixel(np.nan, np.float32)), SEQUENCE, 4, "found nan"),
    Damage("ES frame without a ventricle", nifti(LABELS, without_label(12)), LABELS, 12, "no left ventricle"),
    Damage("a frame without a ventricle", nifti(LABELS, without_label(5)), LABELS, 5, "[5]", "noted"),
    Damage("pixels that are not square", spacing(SEQUENCE, (0.3, 0.5)), SEQUENCE, text="not square", action="noted"),
    Damage("pixel spacing of zero", spacing(SEQUENCE, (0.0, 0.0)), SEQUENCE, text="spacing", action="noted"),
    Damage("missing ED still", delete(f"{PATIENT}/patient0003_4CH_ED.nii.gz"), f"{PATIENT}/patient0003_4CH_ED.nii.gz",
           text="missing", action="noted"),
    Damage("ED still of another shape", nifti(f"{PATIENT}/patient0003_4CH_ED_gt.nii.gz", lambda a: a[1:]),
           f"{PATIENT}/patient0003_4CH_ED_gt.nii.gz", text="(79, 64)", action="noted"),
]


@pytest.fixture(scope="session")
def clean(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clean")
    return {"echonet": fakes.write_echonet(folder / "echonet"), "camus": fakes.write_camus(folder / "camus", views=("4CH",))}


@pytest.mark.parametrize("layout", ["echonet", "camus"])
def test_a_clean_cohort_has_no_finding(clean, layout):
    report = check(clean[layout], progress=False)
    assert report.findings == [] and not report.unusable and report.table().empty


@pytest.mark.parametrize(("layout", "damage"), [pytest.param(layout, d, id=f"{layout}: {d.name}")
                                                for layout, all_ in (("echonet", ECHONET), ("camus", CAMUS)) for d in all_])
def test_damage_is_named(clean, tmp_path, layout, damage):
    root = tmp_path / "cohort"
    shutil.copytree(clean[layout], root)
    damage.apply(root)
    report = check(root, progress=False)
    shown = report.table().to_string()
    hits = [f for f in report.findings if f.file == damage.file and damage.text in f.problem and f.action == damage.action]
    assert hits, shown
    assert any(f.row == damage.row for f in hits), shown
    study = STUDY[layout] if damage.study == "own" else damage.study
    assert any(f.study == study for f in hits), shown
    assert any(f.known_quirk == damage.quirk for f in hits), shown
    assert report.unusable == (damage.action == "dropped" and not damage.quirk), shown
    others = {f.study for f in report.findings if f.action == "dropped"} - {study, None, STUDY[layout]}
    assert not others, shown
    assert "/tmp" not in shown.replace("'/tmp/0X0001.avi'", "") and str(tmp_path) not in shown
    if damage.study == "own" and damage.action == "dropped":
        check_that_the_others_are_read(root, layout, damage)


def check_that_the_others_are_read(root: Path, layout: str, damage: Damage) -> None:
    """`read` gives everything that is whole; what shows only on decoding is an error of `video`."""
    read = {"echonet": echonet.read, "camus": camus.read}[layout]
    cohort, study = read(root), STUDY[layout]
    with pytest.raises(DataError) as caught:
        cohort.video(study)
    if study in cohort.studies.index:
        assert (caught.value.file, caught.value.row) == (damage.file, damage.row) and damage.text in str(caught.value)
    else:
        assert "it was dropped" in str(caught.value)
    whole = {"echonet": {f"0X{n:04d}" for n in range(5)}, "camus": {f"patient{n:04d}_4CH" for n in range(1, 5)}}[layout]
    assert set(cohort.studies.index) | {study} == whole
    assert set(cohort.labels["study"]) == set(cohort.studies.index)


@pytest.mark.parametrize("damage", [d for d in ECHONET + CAMUS if d.study is None and d.name.startswith(("missing", "misnamed"))],
                         ids=lambda d: d.name)
def test_a_folder_that_cannot_be_read_raises(clean, tmp_path, damage):
    layout = "camus" if damage in CAMUS else "echonet"
    root = tmp_path / "cohort"
    shutil.copytree(clean[layout], root)
    damage.apply(root)
    with pytest.raises(DataError) as caught:
        {"echonet": echonet.read, "camus": camus.read}[layout](root)
    assert caught.value.file == damage.file


def test_a_folder_without_a_layout_is_named(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"x")
    report = check(tmp_path, progress=False)
    assert report.unusable and "holiday.jpg" in report.findings[0].problem
    assert check(tmp_path / "nowhere", progress=False).findings[0].problem.startswith("no such folder; expected ")


def test_both_layouts_in_one_folder_is_an_error(tmp_path):
    fakes.write_echonet(tmp_path / "both", splits=("TRAIN",))
    (tmp_path / "both" / "database_nifti").mkdir()
    assert "both layouts" in check(tmp_path / "both", progress=False).findings[0].problem
