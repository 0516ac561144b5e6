"""Every format, written here and read back; every kind of damage, named."""

from __future__ import annotations

import math
import pickle

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom import examples
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, UltrasoundMultiFrameImageStorage, generate_uid

from echolib.clinic.reading import open_clip
from echolib.data.video import write_avi, write_mp4
from echolib.errors import DataError


@pytest.fixture(scope="module")
def grey() -> np.ndarray:
    """(8, 48, 64) uint8, smooth enough for lossy codecs, moving, and unlike its own mirror images."""
    rows, columns = np.mgrid[:48, :64]
    frames = [60 + rows + 1.5 * columns + 20 * np.sin((columns + 4 * t) / 9) for t in range(8)]
    return np.stack(frames).clip(0, 255).astype(np.uint8)


def dicom(path, pixels: np.ndarray, kind: str, **entries) -> None:
    """Write (T, H, W) or (T, H, W, 3) uint8 as an ultrasound clip."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UltrasoundMultiFrameImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.NumberOfFrames, data.Rows, data.Columns = str(pixels.shape[0]), pixels.shape[1], pixels.shape[2]
    data.SamplesPerPixel, data.PhotometricInterpretation = (3 if pixels.ndim == 4 else 1), kind
    if pixels.ndim == 4:
        data.PlanarConfiguration = 0
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    data.PixelData = pixels.tobytes()
    for name, value in entries.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)


def region(delta: float, columns: int, rows: int) -> pydicom.Sequence:
    item = pydicom.Dataset()
    item.RegionLocationMinX0 = item.RegionLocationMinY0 = 0
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = columns - 1, rows - 1
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaX = item.PhysicalDeltaY = delta
    return pydicom.Sequence([item])


@pytest.mark.parametrize("write, ending", [(write_avi, "avi"), (write_mp4, "mp4")])
def test_videos(tmp_path, grey, write, ending):
    path = tmp_path / f"a clip.{ending}"
    write(path, grey, 40.0)
    clip = open_clip(path)
    assert (clip.name, clip.frames, clip.height, clip.width, clip.kind) == ("a clip", 8, 48, 64, "video")
    assert clip.fps == pytest.approx(40.0, rel=1e-3) and math.isnan(clip.spacing_mm)
    assert np.abs(clip.video.astype(int) - grey[..., None]).mean() < 4
    assert np.array_equal(clip.video, np.stack(list(clip))), "a clip can be walked through twice"


def test_a_clip_is_known_by_its_content_not_its_name(tmp_path, grey):
    write_avi(tmp_path / "IM_0001", grey, 30.0)
    assert open_clip(tmp_path / "IM_0001").kind == "video"


@pytest.mark.parametrize("kind", ["MONOCHROME2", "MONOCHROME1", "RGB", "RLE", "PALETTE COLOR"])
def test_dicom(tmp_path, grey, kind):
    path = tmp_path / "clip.dcm"
    colour = np.stack([grey, grey // 2, 255 - grey], -1)
    if kind == "RLE":
        dicom(path, colour, "RGB", FrameTime="20.0")
        data = pydicom.dcmread(path)
        data.compress(RLELossless)
        data.save_as(path)
        expected = colour
    elif kind == "RGB":
        dicom(path, colour, "RGB", FrameTime="20.0")
        expected = colour
    elif kind == "PALETTE COLOR":
        table = (np.arange(256, dtype=np.uint16) << 8)
        tables = {f"{c}PaletteColorLookupTableDescriptor": [256, 0, 16] for c in ("Red", "Green", "Blue")}
        tables |= {f"{c}PaletteColorLookupTableData": table.tobytes() for c in ("Red", "Green", "Blue")}
        dicom(path, grey, kind, FrameTime="20.0", **tables)
        expected = np.repeat(grey[..., None], 3, -1)
    else:
        dicom(path, 255 - grey if kind == "MONOCHROME1" else grey, kind, FrameTime="20.0")
        expected = np.repeat(grey[..., None], 3, -1)
    clip = open_clip(path)
    assert clip.kind == "dicom" and clip.fps == 50.0 and math.isnan(clip.spacing_mm)
    assert np.array_equal(clip.video, expected)


def test_dicom_frame_rate_and_spacing(tmp_path, grey):
    path = tmp_path / "clip.dcm"
    dicom(path, grey, "MONOCHROME2", CineRate="33", SequenceOfUltrasoundRegions=region(0.04, 64, 48))
    clip = open_clip(path)
    assert clip.fps == 33.0 and clip.spacing_mm == pytest.approx(0.4)
    dicom(path, grey, "MONOCHROME2", FrameTimeVector=[0, 20, 30], SequenceOfUltrasoundRegions=region(0.04, 640, 480))
    clip = open_clip(path)
    assert clip.fps == 40.0 and math.isnan(clip.spacing_mm), "a region that does not fit the frame gives no spacing"


def test_the_jpeg_clip_of_pydicom():
    clip = open_clip(examples.get_path("ybr_color"))
    assert (clip.frames, clip.height, clip.width) == (30, 240, 320) and clip.fps == pytest.approx(30, abs=0.01)
    assert next(iter(clip)).max() > 100


@pytest.mark.parametrize("four, unit, fps", [(False, "sec", math.nan), (True, "sec", 50.0), (True, "msec", 50.0),
                                             (True, "unknown", 50.0)])
def test_nifti(tmp_path, grey, four, unit, fps):
    data = grey.transpose(2, 1, 0)
    image = nibabel.Nifti1Image(data[:, :, None] if four else data, np.eye(4))
    step = 0.02 * (1000 if unit == "msec" else 1)
    image.header.set_zooms((0.308, 0.308, 1.0, step) if four else (0.308, 0.308, 1.0))
    image.header.set_xyzt_units("mm", unit)
    path = tmp_path / "patient0001_4CH_half_sequence.nii.gz"
    nibabel.save(image, path)
    clip = open_clip(path)
    assert clip.name == "patient0001_4CH_half_sequence" and clip.spacing_mm == pytest.approx(0.308)
    assert clip.fps == pytest.approx(fps, nan_ok=True)
    assert np.array_equal(clip.video[..., 0], grey)


@pytest.mark.parametrize("change", ["grey", "channel", "colour", "unit interval", "int16"])
def test_npy(tmp_path, grey, change):
    array = {"grey": grey, "channel": grey[..., None], "colour": np.repeat(grey[..., None], 3, -1), "unit interval": grey / 255.0,
             "int16": grey.astype(np.int16)}[change]
    np.save(tmp_path / "clip.npy", array)
    clip = open_clip(tmp_path / "clip.npy")
    assert np.array_equal(clip.video, np.repeat(grey[..., None], 3, -1))
    assert math.isnan(clip.fps) and math.isnan(clip.spacing_mm)


@pytest.mark.parametrize("array, said", [
    (np.zeros((2, 4, 4), object), "ValueError"), (np.zeros((9, 48)), "not a clip"), (np.full((3, 20, 20), 300), "grey levels"),
    (np.full((3, 20, 20), np.nan), "grey levels"), (np.zeros((1, 20, 20), np.uint8), "still image"),
    (np.zeros((3, 4, 4), np.uint8), "size")])
def test_arrays_that_are_no_clips(tmp_path, array, said):
    np.save(tmp_path / "clip.npy", array, allow_pickle=True)
    with pytest.raises(DataError, match=said) as caught:
        open_clip(tmp_path / "clip.npy")
    assert "clip.npy" in str(caught.value)


@pytest.mark.parametrize("name, content", [
    ("clip.avi", b""), ("clip.txt", b"hello"), ("clip.dcm", b"\0" * 400), ("clip.mp4", b"\0" * 90),
    ("clip.nii.gz", b"\x1f\x8b\x08\0broken"), ("clip.pkl", pickle.dumps({"a": 1})),
    ("clip.npy", b"\x93NUMPY\x01\x00v\x00{'descr'"), ("clip.nii", b"\0" * 344 + b"n+1\0" + b"\0" * 9)])
def test_damage_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        list(open_clip(tmp_path / name))


def test_a_missing_file_and_another_name(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        open_clip(tmp_path / "none.avi")
    (tmp_path / "DOE_JANE.avi").write_bytes(b"RIFF")
    with pytest.raises(DataError) as caught:
        list(open_clip(tmp_path / "DOE_JANE.avi", shown_as="clip-001"))
    assert "DOE" not in str(caught.value) and "clip-001" in str(caught.value)


def test_mutated_dicoms_are_named_errors_or_clips(tmp_path, grey):
    """Random bytes exchanged in header and pixels: nothing but a DataError may come out."""
    dicom(tmp_path / "whole.dcm", grey, "MONOCHROME2", FrameTime="20", SequenceOfUltrasoundRegions=region(0.04, 64, 48))
    whole = (tmp_path / "whole.dcm").read_bytes()
    rng = np.random.default_rng(3)
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        for place in rng.integers(0, 1200, 3):
            damaged[place] = rng.integers(256)
        path = tmp_path / "damaged.dcm"
        path.write_bytes(damaged)
        try:
            assert all(frame.dtype == np.uint8 for frame in open_clip(path))
        except DataError:
            refused += 1
    assert 0 < refused < 150
