"""What a reader had to decide is said: files cut short, frame rates that cannot be, missing stills, other parts of the screen."""

from __future__ import annotations

import gzip
import math
import zipfile
from fractions import Fraction

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.pixels import get_decoder
from pydicom.uid import JPEGLSLossless

from echolib.clinic.clip_file import ClipFile
from echolib.clinic.reading import open_clip
from echolib.clinic.segmentation import segment
from echolib.data.video import write_avi
from echolib.errors import DataError
from tests.clinic.clips import beating, stand_in
from tests.clinic.encodings import ENCODINGS, dicom_jpeg, film, meta, still, stills
from tests.clinic.test_reading import dicom


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return beating(20, 96, 112)[0]


def codes(clip: ClipFile) -> list[str]:
    return [note.code for note in clip.notes]


#: Kinds that hold whole frames when their end is missing. A film whose index stands at its end, and a ZIP file, do not.
CUT = ("motion-jpeg.avi", "raw.avi", "divx.avi", "h264.mp4", "ffv1.mkv", "vp9.webm", "windows-media.wmv", "mpeg1.mpg",
       "broadcast.ts", "flash.flv", "animated.gif", "animated.png", "pages.tif", "grey.dcm", "rgb.dcm", "jpeg.dcm", "rle.dcm",
       "lossless.dcm", "deep-window.dcm",
       "clip.nii.gz", "deep.nii", "clip.npy", "deep.npy",
       "clip.mha")


@pytest.mark.parametrize("name", CUT)
def test_a_file_cut_short_gives_the_frames_that_are_there(tmp_path, frames, name):
    path = tmp_path / name
    next(e for e in ENCODINGS if e.name == name).write(path, frames)
    whole = open_clip(path).video
    path.write_bytes(path.read_bytes()[:int(0.6 * path.stat().st_size)])
    clip = open_clip(path)
    assert 6 <= clip.frames < 20 and "cut_short" in codes(clip)
    if "deep" not in name or "window" in name:
        assert np.array_equal(clip.video, whole[:clip.frames])
    assert "cut_short" in [flag.code for flag in segment(clip, 50, weights=stand_in()).flags]


@pytest.mark.parametrize("name", ["h264.mov", "stills.zip", "clip.npz", "clip.nrrd"])
def test_what_is_lost_with_its_end_is_named(tmp_path, frames, name):
    path = tmp_path / name
    next(e for e in ENCODINGS if e.name == name).write(path, frames)
    path.write_bytes(path.read_bytes()[:int(0.6 * path.stat().st_size)])
    with pytest.raises(DataError, match=name) as caught:
        open_clip(path)
    assert "cut short" in str(caught.value) or "too short" in str(caught.value)


def test_a_hole_in_the_middle_is_refused(tmp_path, frames):
    """Time would jump there; only an end may be missing."""
    path = tmp_path / "clip.avi"
    write_avi(path, frames, 50)
    data = bytearray(path.read_bytes())
    place = -1
    for _ in range(8):  # the eighth picture's first bytes
        place = data.find(b"\xff\xd8", place + 1)
    data[place:place + 2] = b"\0\0"
    path.write_bytes(data)
    with pytest.raises(DataError, match="clip.avi, row 8: a frame in the middle does not decode"):
        open_clip(path)


@pytest.mark.parametrize(("name", "codec", "rate"), [("clip.mkv", "ffv1", 1000), ("clip.avi", "mjpeg", 1000),
                                                     ("clip.mp4", "mpeg4", 2)])
def test_a_frame_rate_that_cannot_be_a_hearts_is_not_believed(tmp_path, frames, name, codec, rate):
    path = tmp_path / name
    film(codec, {"ffv1": "gray", "mjpeg": "yuvj420p", "mpeg4": "yuv420p"}[codec], rate)(path, frames)
    clip = open_clip(path)
    assert math.isnan(clip.fps) and codes(clip) == ["frame_rate_not_believed"] and f"{rate}" in clip.notes[0].text
    told = {flag.code for flag in segment(clip, clip.fps, weights=stand_in()).flags}
    assert {"frame_rate_not_believed", "frame_rate_assumed"} <= told
    told = {flag.code for flag in segment(clip, 40, weights=stand_in()).flags}
    assert not {code for code in told if code.startswith("frame_rate")}, "the user knows better"


def test_a_dicom_that_says_10_000_frames_per_second_is_not_believed(tmp_path, frames):
    dicom(tmp_path / "clip.dcm", frames, "MONOCHROME2", FrameTime="0.1")
    clip = open_clip(tmp_path / "clip.dcm")
    assert math.isnan(clip.fps) and codes(clip) == ["frame_rate_not_believed"]


def test_time_stamps_that_jump_are_told(tmp_path, frames):
    path = tmp_path / "clip.mkv"
    film("ffv1", "gray", times=[t if t < 10 else t + 15 for t in range(20)])(path, frames)
    film("ffv1", "gray", times=[t + t // 3 for t in range(20)])(tmp_path / "uneven.mkv", frames)
    assert codes(open_clip(tmp_path / "uneven.mkv")) == ["frame_rate_varies"]
    assert open_clip(path).fps == pytest.approx(50 * 19 / 34, rel=0.01)


def test_a_stream_that_begins_in_the_middle(tmp_path, frames):
    path = tmp_path / "clip.ts"
    film("libx264", "yuv420p", g="6")(path, frames)
    whole, data = open_clip(path).video, path.read_bytes()
    path.write_bytes(data[188 * (2 * len(data) // 5 // 188):])
    clip = open_clip(path)
    assert 3 <= clip.frames < 16 and codes(clip) == ["cut_short"]
    assert np.array_equal(clip.video, whole[-clip.frames:])


def test_what_players_correct_is_told(tmp_path, frames):
    film("libx264", "yuv420p", aspect=Fraction(4, 3))(tmp_path / "wide.mp4", frames)
    film("mpeg2video", "yuv420p", flags="+ildct+ilme")(tmp_path / "woven.mpg", frames)
    assert codes(open_clip(tmp_path / "wide.mp4")) == ["pixels_not_square"]
    assert codes(open_clip(tmp_path / "woven.mpg")) == ["interlaced"]


@pytest.mark.parametrize("jpeg", [False, True])
@pytest.mark.parametrize("says", [None, 1, 30])
def test_a_dicom_that_counts_its_frames_wrongly(tmp_path, frames, jpeg, says):
    path = tmp_path / "clip.dcm"
    if jpeg:
        dicom_jpeg(path, frames, colour=False)
    else:
        dicom(path, frames, "MONOCHROME2", FrameTime="20")
    data = pydicom.dcmread(path)
    if says is None:
        del data.NumberOfFrames
    else:
        data.NumberOfFrames = str(says)
    data.save_as(path)
    if jpeg and says == 30:  # its pixel data is closed: nothing was cut off, the count is wrong
        with pytest.raises(DataError, match="clip.dcm"):
            list(open_clip(path))
        return
    clip = open_clip(path)
    assert clip.frames == 20 and codes(clip) == ["cut_short" if says == 30 else "more_frames"]
    assert np.abs(clip.video[..., 0].astype(int) - frames).mean() < 4


@pytest.mark.skipif(get_decoder(JPEGLSLossless).is_available, reason="a decoder is installed")
def test_a_dicom_in_a_compression_that_cannot_be_decoded(tmp_path, frames):
    dicom_jpeg(tmp_path / "clip.dcm", frames, colour=False)
    data = pydicom.dcmread(tmp_path / "clip.dcm")
    data.file_meta.TransferSyntaxUID = JPEGLSLossless
    data.save_as(tmp_path / "clip.dcm")
    with pytest.raises(DataError, match=r"clip.dcm: no decoder.*JPEG-LS Lossless.*gdcmconv --raw"):
        list(open_clip(tmp_path / "clip.dcm"))


@pytest.mark.parametrize(("step", "unit", "fps", "told"), [
    (20.0, "sec", 50.0, ["frame_rate_unit"]), (20.0, "unknown", 50.0, ["frame_rate_unit"]),
    (0.02, "unknown", 50.0, ["frame_rate_unit"]), (0.02, "sec", 50.0, []), (1.0, "sec", math.nan, ["frame_rate_not_believed"]),
    (1.0, "unknown", math.nan, []), (0.0, "sec", math.nan, [])])
def test_the_time_step_of_a_4d_file(tmp_path, frames, step, unit, fps, told):
    image = nibabel.Nifti1Image(frames.transpose(2, 1, 0)[:, :, None], np.eye(4))
    image.header.set_zooms((0.3, 0.3, 1.0, step))
    image.header.set_xyzt_units("mm", unit)
    nibabel.save(image, tmp_path / "clip.nii")
    clip = open_clip(tmp_path / "clip.nii")
    assert clip.fps == pytest.approx(fps, nan_ok=True) and codes(clip) == told


def test_stills_that_are_not_one_clip(tmp_path, frames):
    def refused(pattern: str) -> None:
        with pytest.raises(DataError, match=f"^stills.*{pattern}"):
            open_clip(folder)
        with pytest.raises(DataError, match=f"^clip-001.*{pattern}") as caught:
            open_clip(folder, shown_as="clip-001")
        assert "Bild" not in str(caught.value) and "DOE" not in str(caught.value)

    folder = tmp_path / "stills"
    stills("png")(folder, frames)
    assert open_clip(folder).name == "stills" and not open_clip(folder).notes
    (folder / "Bild 7.png").rename(folder / "DOE.txt")
    assert codes(open_clip(folder)) == ["stills_missing"] and open_clip(folder).frames == 19
    (folder / "Bild 7.png").write_bytes(still(frames[6], "png")[:400])
    refused("does not decode")
    (folder / "Bild 7.png").write_bytes(still(frames[6, 2:], "png"))
    refused("another size")
    (folder / "Bild 7.png").write_bytes(still(frames[6], "png"))
    (folder / "DOE 7.png").write_bytes(still(frames[6], "png"))
    refused("several clips")
    for path in folder.glob("*.png"):
        path.rename(path.with_suffix(".avi"))
    refused("without stills")


def test_zip_files_that_are_no_clips(tmp_path, frames):
    path = tmp_path / "clip.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("clip.avi", b"RIFF")
    with pytest.raises(DataError, match="clip.zip: a ZIP file without stills"):
        open_clip(path)
    with zipfile.ZipFile(path, "w") as archive:
        for view in "ab":
            archive.writestr(f"{view}/1.png", still(frames[0], "png"))
    with pytest.raises(DataError, match="clip.zip: stills of several clips"):
        open_clip(path)


def test_an_npz_file_with_several_arrays(tmp_path, frames):
    path = tmp_path / "clip.npz"
    np.savez(path, one=frames, two=frames)
    with pytest.raises(DataError, match=r"clip.npz: several arrays.*\(20, 96, 112\)"):
        open_clip(path)
    np.savez(path, video=frames.astype(np.uint16) * 100, two=frames, fps=1000)
    clip = open_clip(path)
    assert math.isnan(clip.fps) and sorted(codes(clip)) == ["frame_rate_not_believed", "grey_window"]
    np.savez(path, ef=55.0)
    with pytest.raises(DataError, match="clip.npz: no array that is a clip"):
        open_clip(path)


@pytest.mark.parametrize("named", ["../secret.raw", "/etc/passwd", "LIST", "frame%03d.raw 1 9 1"])
def test_a_header_cannot_have_other_files_read(tmp_path, frames, named):
    meta(tmp_path / "clip.mhd", frames)
    text = (tmp_path / "clip.mhd").read_text().replace("clip.raw", named)
    (tmp_path / "clip.mhd").write_text(text)
    with pytest.raises(DataError, match="clip.mhd: the header names data in another folder"):
        open_clip(tmp_path / "clip.mhd")


@pytest.mark.parametrize(("old", "new", "said"), [
    ("MET_UCHAR", "DOE_JANE", "other than MET_UCHAR"), ("DimSize = 112 96 20", "DimSize = 112 96 20 2", "112 x 96 x 20 x 2"),
    ("DimSize = 112 96 20", "DimSize = 112 96 2000000", "size of an echo clip"),
    ("BinaryData = True", "BinaryData = False", "text"),
    ("clip.raw", "gone.raw", "not there"), ("DimSize = 112 96 20", "DimSize = DOE JANE", "header")])
def test_a_header_that_does_not_fit_is_named(tmp_path, frames, old, new, said):
    meta(tmp_path / "clip.mhd", frames)
    text = (tmp_path / "clip.mhd").read_text()
    assert old in text
    (tmp_path / "clip.mhd").write_text(text.replace(old, new))
    with pytest.raises(DataError, match=f"clip.mhd: .*{said}") as caught:
        open_clip(tmp_path / "clip.mhd")
    assert "DOE" not in str(caught.value) and "JANE" not in str(caught.value)


@pytest.mark.parametrize(("name", "content", "said"), [
    ("a.jpg", still(np.zeros((40, 40), np.uint8), "jpg"), "a single JPEG picture"),
    ("a.png", still(np.zeros((40, 40), np.uint8), "png"), "a still image"),
    ("a.pdf", b"%PDF-1.7", "a PDF document"), ("a.h5", b"\x89HDF\r\n", "HDF5"), ("a.rar", b"Rar!\x1a", "unpacked"),
    ("a.gz", gzip.compress(b"hello" * 99, mtime=0), "no NIfTI in it"),
    ("a.avi", b"#EXTM3U\n#EXTINF:1,\nb.ts\n", "cannot be opened"),
    ("a.mov", b"ffconcat version 1.0\nfile b.avi\n", "cannot be opened"),
    ("a.bin", b"hello", "68 65 6c 6c 6f")], ids=lambda value: value if isinstance(value, str) else "bytes")
def test_what_else_people_have_is_named(tmp_path, frames, name, content, said):
    write_avi(tmp_path / "b.avi", frames, 50)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"^{name}: .*{said}") as caught:
        open_clip(tmp_path / name)
    assert "; expected" in str(caught.value)


def test_the_part_of_the_screen_that_was_measured_is_told(frames):
    def told(screen: np.ndarray) -> dict[str, str]:
        return {flag.code: flag.text for flag in segment(screen, 50, weights=stand_in()).flags}

    cone, other = beating(20, 160, 220)[0], beating(20, 160, 220, seed=1)[0]
    strip = np.random.default_rng(0).rayleigh(40, (20, 80, 220)).clip(0, 255).astype(np.uint8)
    black = np.zeros((20, 30, 220), np.uint8)
    assert not {"several_regions", "not_a_cone"} & set(told(cone))
    assert "columns" in told(np.concatenate([cone, other], 2))["several_regions"]
    assert "several_regions" in told(np.concatenate([cone, black, strip], 1))
    assert "not_a_cone" in told(np.concatenate([cone, strip], 1))
    assert "not_a_cone" in told(np.concatenate([cone[:, :, 30:-30], other[:, :, 30:-30]], 2))
