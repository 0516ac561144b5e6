"""Every reader of the package, with a small clean input for it: what the fuzzer damages and what it then calls."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pydicom
import torch
from pydicom import examples
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, RLELossless

from echolib import models
from echolib.clinic.reading import open_clip
from echolib.clinic.weights import load_segmenter, save_segmenter
from echolib.config import load_profile
from echolib.data import camus, echonet
from echolib.data.check import check
from echolib.data.cohort import Cohort
from echolib.data.dicom import read_dicom
from echolib.data.nifti import read_labels_nifti, read_video_nifti
from echolib.data.store import ClipStore, pack
from echolib.data.truth import read_truth
from echolib.data.video import damaged_frames, probe, write_avi, write_mp4
from echolib.errors import DataError, EcholibError
from echolib.ledger.records import read_record
from echolib.models.released import load_released
from echolib.models.weights import load_metadata, load_weights
from echolib.pages.notebooks import parameters_of, read_manifest
from echolib.papers.simlvseg.runs import segment_run
from tests.clinic.encodings import ENCODINGS
from tests.clinic.test_reading import dicom, region
from tests.data import fakes

ROOT = Path(__file__).parents[2]
AVI_MARKS = (b"avih", b"strh", b"strf", b"movi", b"idx1", b"00dc", b"LIST", b"RIFF", b"INFO", b"ISFT", b"\xff\xc0", b"\xff\xda",
             b"\xff\xc4")
MP4_MARKS = (b"ftyp", b"moov", b"mvhd", b"tkhd", b"mdhd", b"hdlr", b"stsd", b"avc1", b"avcC", b"stts", b"stsc", b"stsz", b"stco",
             b"elst", b"ctts", b"mdat", b"colr")
DICOM_MARKS = tuple(bytes.fromhex(tag) for tag in (
    "28000800", "28000200", "28000400", "28000600", "28001000", "28001100", "28000001", "28000101", "28000201", "28000301",
    "18006310", "18004000", "18001160", "e07f1000", "feff00e0", "02001000", "18002c60"))
MATROSKA_MARKS = (b"\x1f\x43\xb6\x75", b"\xa3", b"\x16\x54")  # cluster, block, track
NIFTI_MARKS = (b"r\0",)  # "regular": dimensions and types come next


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes:
        name: in results.
        files: what may be damaged, relative to the input's folder.
        make: writes the clean input into an empty folder.
        read: reads it all; gives whatever can be compared, or raises.
        named: an error must name the damaged file itself; else any file of the folder.
        wrapper, marks: see :func:`tests.fuzz.mutate.mutate`.
    """

    name: str
    files: tuple[str, ...]
    make: Callable[[Path], None]
    read: Callable[[Path], object]
    named: bool = True
    wrapper: str | None = None
    marks: tuple[bytes, ...] = ()


def picture() -> np.ndarray:
    """(8, 48, 64) uint8, moving."""
    rows, columns = np.mgrid[:48, :64]
    frames = [60 + rows + 1.5 * columns + 20 * np.sin((columns + 4 * t) / 9) for t in range(8)]
    return np.stack(frames).clip(0, 255).astype(np.uint8)


def walk(path: Path) -> list:
    """Open a clip and decode it all, twice, as segmenting does."""
    clip = open_clip(path)
    shapes = {(frame.shape, str(frame.dtype)) for frame in clip}
    if shapes != {((clip.height, clip.width, 3), "uint8")} or sum(1 for _ in clip) != clip.frames:
        raise AssertionError(f"the clip is not what it says: {shapes}, {clip}")
    return [clip.kind, clip.frames]


def _walk_video(path: Path) -> list:
    found = walk(path)
    return [*found, probe(path).frames, len(damaged_frames(path))]


def _jpeg_dicom(path: Path) -> None:
    dicom(path, picture(), "MONOCHROME2", FrameTime="20")
    data = pydicom.dcmread(path)
    frames = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in picture()]
    data.PixelData = encapsulate([f + b"\0" * (len(f) % 2) for f in frames])
    data["PixelData"].VR = "OB"
    data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    data.save_as(path)


def _rle_dicom(path: Path) -> None:
    dicom(path, np.repeat(picture()[..., None], 3, -1), "RGB", CineRate="33")
    data = pydicom.dcmread(path)
    data.compress(RLELossless)
    data.save_as(path)


def _palette_dicom(path: Path) -> None:
    table = (np.arange(256, dtype=np.uint16) << 8).tobytes()
    tables = {f"{c}PaletteColorLookupTableDescriptor": [256, 0, 16] for c in ("Red", "Green", "Blue")}
    tables |= {f"{c}PaletteColorLookupTableData": table for c in ("Red", "Green", "Blue")}
    dicom(path, picture(), "PALETTE COLOR", FrameTimeVector=[0] + [20] * 7, **tables)


def _nifti(path: Path) -> None:
    image = nibabel.Nifti1Image(picture().transpose(2, 1, 0)[:, :, None], np.eye(4))
    image.header.set_zooms((0.3, 0.3, 1.0, 0.02))
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)


def _labels(path: Path) -> None:
    fakes.save_nifti(path, (picture() > 150).astype(np.uint8))


def _whole_cohort(cohort: Cohort) -> list:
    """Every video and mask of the cohort; and every finding names a file."""
    unnamed = [f for f in cohort.report.findings if not f.file]
    if unnamed:
        raise AssertionError(f"a finding that names no file: {unnamed[0]}")
    for study in cohort.studies.index:
        try:
            cohort.video(study)
            for frame in cohort.labels.frame[cohort.labels.study == study][:3]:
                cohort.mask(study, int(frame))
        except DataError as error:
            if not error.file:
                raise AssertionError(f"an error that names no file: {error}") from error
    cohort.report.table()
    return [len(cohort.studies), len(cohort.report.findings)]


def _check(root: Path) -> list:
    report = check(root, progress=False)
    if any(not f.file for f in report.findings):
        raise AssertionError("a finding that names no file")
    return [len(report.findings)]


def _echonet(root: Path) -> list:
    return _whole_cohort(echonet.read(root)) + _check(root)


def _camus(root: Path) -> list:
    return _whole_cohort(camus.read(root)) + _check(root)


def _make_store(root: Path) -> None:
    fakes.write_echonet(root / "data", splits=("TRAIN", "VAL", "TEST"))
    pack(echonet.read(root / "data"), root / "store", size=32, channels=1, progress=False)
    shutil.rmtree(root / "data")


def _store(root: Path) -> list:
    store = ClipStore.open(root / "store", verify=True)
    for study in store.studies.index:
        store.clip(study, np.array([-1, 0, len(store.video(study)) - 1]))
    for row in store.labels.itertuples():
        store.mask(row.study, row.frame)
    return [len(store.studies)]


def _make_weights(root: Path) -> None:
    model = models.build("nnunet2d", width=0.0625, frames=2, size=32, seed=0)
    save_segmenter(model, root / "weights.safetensors", network="nnunet2d", width=0.0625, frames=2, period=1, size=32,
                   trained_on="nothing", record={"validation": {"a": {"ef_mae_points": 4.0}}})


def _weights(root: Path) -> list:
    path = root / "weights.safetensors"
    errors = []
    for read in (load_weights, load_metadata, load_segmenter):  # each must answer for itself
        try:
            read(path)
        except EcholibError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return []


def _torch(root: Path, legacy: bool) -> None:
    state = {f"model.encoder{i}.weight": torch.arange(24.0).reshape(2, 3, 4) for i in range(3)}
    torch.save({"state_dict": state, "epoch": 3, "note": "text", "hyper": {"lr": 1e-3}}, root / "released.pt",
               _use_new_zipfile_serialization=not legacy)


def _released(root: Path) -> list:
    path = root / "released.pt"
    try:
        load_released(path, "unet3d_s")
    except EcholibError as error:
        if path.name not in str(error):
            raise AssertionError(f"an error that names no file: {error}") from error
    return [len(load_weights(path))]


def _make_truth(root: Path) -> None:
    (root / "Truth").mkdir()
    count = 8
    curve = np.linspace(100, 50, count)
    np.savez_compressed(root / "Truth" / "0X0000.npz", masks=np.packbits(picture() > 150), shape=np.array((8, 48, 64)),
                        volumes_ml=curve, disk_volumes_ml=curve, phase=np.linspace(0, 1, count),
                        knobs=np.array(json.dumps({"gain": 1.0})), ef=50.0,
                        edv=100.0, esv=50.0, spacing_mm=0.3)


def _make_record(root: Path) -> None:
    profile = load_profile(ROOT / "profiles" / "smoke.yml")
    spec = segment_run(profile, "unet3d", seed=0, pretrained=True)
    score = {"mean": 0.9, "low": 0.8, "high": 0.95, "pooled": 0.91, "pooled_low": 0.9, "pooled_high": 0.92,
             "frames": 32, "patients": 16}
    (root / "run").mkdir()
    (root / "run" / "record.json").write_text(json.dumps({
        "key": spec.key, "spec": spec.model_dump(mode="json"), "parameters": 5, "steps": 3, "train_seconds": 1.5, "best_epoch": 1,
        "validation": 0.8, "scores": dict.fromkeys(("overall", "ES", "ED"), score),
        "provenance": {"commit": "0" * 12, "uncommitted_changes": False, "code": "0" * 16, "data": "0" * 16,
                       "versions": {"torch": "2"}, "hardware": "2 cores", "threads": 2,
                       "finished": "2026-01-01 00:00 UTC", "wall_seconds": 2.0}}, indent=1))


def _make_manifest(root: Path) -> None:
    import hashlib
    (root / "page.ipynb").write_text("{}")
    (root / "page.manifest.json").write_text(json.dumps({
        "notebook": "notebooks/page.ipynb", "notebook_sha256": "0" * 64, "parameters": {"profile": "smoke"}, "inputs": [],
        "code": "0" * 16, "executed_sha256": hashlib.sha256(b"{}").hexdigest()}, indent=1))


def _copy(source: Path, name: str) -> Callable[[Path], None]:
    return lambda root: shutil.copyfile(source, root / name)


def _clip(name: str, file: str, write: Callable[[Path], None], **options) -> Reader:
    return Reader(name, (file,), lambda root: write(root / file), lambda root: walk(root / file), **options)


#: Encodings of a clip beside those above, with the wrapper and the marks that their damage looks for.
MORE: dict[str, tuple[str | None, tuple[bytes, ...]]] = {
    "raw.avi": (None, AVI_MARKS), "h264.mov": (None, MP4_MARKS), "deep-grey.mkv": (None, MATROSKA_MARKS),
    "vp9.webm": (None, MATROSKA_MARKS), "windows-media.wmv": (None, (b"\xa1\xdc\xab\x8c", b"WMV2")),
    "mpeg2.mpg": (None, (b"\0\0\x01\xba", b"\0\0\x01\xe0", b"\0\0\x01\xb3", b"\0\0\x01\0")),
    "broadcast.ts": (None, (b"\x47\x41",)),
    "animated.gif": (None, (b"!\xf9\x04", b",\0\0")), "animated.png": (None, (b"IHDR", b"acTL", b"fcTL", b"fdAT", b"IDAT")),
    "pages.tif": (None, (b"II*\0", b"\0\x01\x03\0", b"\x11\x01")), "stills.zip": ("zip", (b"PK\x01\x02", b"PK\x03\x04", b"JFIF")),
    "deep.dcm": (None, DICOM_MARKS), "lossless.dcm": (None, DICOM_MARKS),
    "deep-window.dcm": (None, DICOM_MARKS), "deep.nii": (None, NIFTI_MARKS),
    "deep.npy": (None, (b"shape", b"descr", b"NUMPY")), "clip.npz": ("zip", (b"shape", b"descr", b"PK\x01\x02", b"PK\x03\x04")),
    "clip.mhd": (None, (b"DimSize", b"ElementType", b"Data")), "clip.mha": (None, (b"DimSize", b"ElementType", b"Data")),
    "clip.nrrd": (None, (b"sizes", b"type", b"encoding", b"kinds", b"dimension")),
}


def _encoding(name: str) -> Reader:
    encoding = next(e for e in ENCODINGS if e.name == name)
    wrapper, marks = MORE[name]
    return _clip(f"clip {name}", name, lambda path: encoding.write(path, picture()), wrapper=wrapper, marks=marks)


def _stills(root: Path) -> None:
    next(e for e in ENCODINGS if e.name == "folder of png").write(root / "stills", picture())


CFG = "database_nifti/patient0001/Info_4CH.cfg"
SEQUENCE = "database_nifti/patient0001/patient0001_4CH_half_sequence"
READERS: tuple[Reader, ...] = (
    Reader("AVI", ("clip.avi",), lambda root: write_avi(root / "clip.avi", picture(), 40),
           lambda root: _walk_video(root / "clip.avi"), marks=AVI_MARKS),
    Reader("MP4", ("clip.mp4",), lambda root: write_mp4(root / "clip.mp4", picture(), 40),
           lambda root: _walk_video(root / "clip.mp4"), marks=MP4_MARKS),
    _clip("DICOM grey", "clip.dcm", lambda path: dicom(path, picture(), "MONOCHROME2", FrameTime="20",
                                                       SequenceOfUltrasoundRegions=region(0.04, 64, 48)), marks=DICOM_MARKS),
    _clip("DICOM RLE colour", "clip.dcm", _rle_dicom, marks=DICOM_MARKS),
    _clip("DICOM JPEG", "clip.dcm", _jpeg_dicom, marks=DICOM_MARKS),
    _clip("DICOM palette", "clip.dcm", _palette_dicom, marks=DICOM_MARKS),
    Reader("DICOM of pydicom", ("clip.dcm",), _copy(Path(examples.get_path("ybr_color")), "clip.dcm"),
           lambda root: len(read_dicom(root / "clip.dcm").video), marks=DICOM_MARKS),
    _clip("NIfTI", "clip.nii", _nifti, marks=NIFTI_MARKS),
    _clip("NIfTI compressed", "clip.nii.gz", _nifti, marks=NIFTI_MARKS, wrapper="gzip"),
    Reader("NIfTI video of CAMUS", ("clip.nii.gz",), lambda root: fakes.save_nifti(root / "clip.nii.gz", picture()),
           lambda root: read_video_nifti(root, "clip.nii.gz").shape[0], marks=NIFTI_MARKS, wrapper="gzip"),
    Reader("NIfTI labels of CAMUS", ("clip.nii",), lambda root: _labels(root / "clip.nii"),
           lambda root: read_labels_nifti(root, "clip.nii").shape[0], marks=NIFTI_MARKS),
    _clip("NPY", "clip.npy", lambda path: np.save(path, picture()), marks=(b"shape", b"descr", b"NUMPY")),
    *(_encoding(name) for name in MORE),
    Reader("clip of stills", ("stills/Bild 3.png",), _stills, lambda root: walk(root / "stills"), marks=(b"IHDR", b"IDAT")),
    Reader("NPZ truth", ("Truth/0X0000.npz",), _make_truth, lambda root: read_truth(root, "0X0000").masks.shape[0], wrapper="zip",
           marks=(b"shape", b"descr", b"PK\x01\x02", b"PK\x03\x04")),
    Reader("safetensors weights", ("weights.safetensors",), _make_weights, _weights, wrapper="safetensors"),
    Reader("record of default weights", ("weights.json",), _make_weights,
           lambda root: load_segmenter(default=root / "weights.safetensors").size),
    Reader("torch checkpoint", ("released.pt",), lambda root: _torch(root, False), _released, wrapper="zip",
           marks=(b"PK\x01\x02", b"PK\x03\x04", b"storage")),
    Reader("torch checkpoint, old form", ("released.pt",), lambda root: _torch(root, True), _released,
           marks=(b"storage", b"FloatStorage")),
    Reader("EchoNet folder", ("FileList.csv", "VolumeTracings.csv", "FileList.csv", "VolumeTracings.csv", "Videos/0X0001.avi"),
           lambda root: fakes.write_echonet(root / "data", splits=("TRAIN", "VAL", "TEST")) and None,
           lambda root: _echonet(root / "data"), named=False, marks=AVI_MARKS),
    Reader("CAMUS folder", (CFG, CFG, "database_split/subgroup_training.txt", f"{SEQUENCE}.nii.gz", f"{SEQUENCE}_gt.nii.gz"),
           lambda root: fakes.write_camus(root / "data", views=("4CH",), height=40, width=32) and None,
           lambda root: _camus(root / "data"), named=False, marks=NIFTI_MARKS, wrapper="gzip"),
    Reader("clip store", tuple(f"store/{name}" for name in ("manifest.json", "manifest.json", "frames.npy", "masks.npy",
                                                            "studies.parquet", "labels.parquet", "report.parquet")),
           _make_store, _store, named=False),
    Reader("run record", ("run/record.json",), _make_record, lambda root: read_record(root / "run" / "record.json").key),
    Reader("profile", ("smoke.yml",), _copy(ROOT / "profiles" / "smoke.yml", "smoke.yml"),
           lambda root: load_profile(root / "smoke.yml").name),
    Reader("notebook", ("page.ipynb",), _copy(ROOT / "notebooks" / "simlvseg_table1.ipynb", "page.ipynb"),
           lambda root: sorted(parameters_of(root / "page.ipynb"))),
    Reader("notebook manifest", ("page.manifest.json",), _make_manifest,
           lambda root: sorted(read_manifest(root / "page.ipynb")), named=False),
)
_IN_DATA = {"EchoNet folder", "CAMUS folder"}
TEXT_ENDINGS = (".csv", ".cfg", ".txt", ".json", ".yml", ".ipynb")


def target(reader: Reader, file: str) -> str:
    """Where a file of ``reader.files`` lies in the input's folder."""
    return f"data/{file}" if reader.name in _IN_DATA else file


def make(reader: Reader, folder: Path) -> None:
    """Write the clean input of a reader into a new folder."""
    folder.mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reader.make(folder)
