"""Names, numbers and dates planted in header, pixels and file name; every byte of every output is searched for them."""

from __future__ import annotations

import base64
import gzip
import json
import re

import av
import cv2
import nibabel
import numpy as np
import pytest

from echolib.clinic.cohort import segment_files
from echolib.clinic.reading import open_clip
from echolib.clinic.result import compose
from echolib.clinic.segmentation import segment
from echolib.clinic.viewer import static_viewer
from echolib.data.sector import find_sector
from echolib.data.video import read_video, write_avi
from tests.clinic.clips import beating, stand_in
from tests.clinic.test_reading import dicom

#: Long enough not to turn up by chance in a megabyte of compressed pixels.
SECRETS = ("DOE^JANE", "DOE JANE", "DOE_JANE", "JANE_2024", "MRN774411", "774411", "19610203", "20240517", "St. Elsewhere",
           "1.2.840.999")
HEADER = {"PatientName": "DOE^JANE", "PatientID": "MRN774411", "PatientBirthDate": "19610203", "StudyDate": "20240517",
          "InstitutionName": "St. Elsewhere", "StudyInstanceUID": "1.2.840.999.1", "PatientComments": "DOE JANE",
          "FrameTime": "20"}


@pytest.fixture(scope="module")
def burnt() -> np.ndarray:
    """A clip with a name, a number and a date burnt in, in white, on either side of the cone, and a coloured ECG below."""
    video = np.repeat(beating(50)[0][..., None], 3, -1)
    rng = np.random.default_rng(2)
    for t, frame in enumerate(video):
        cv2.putText(frame, "DOE JANE", (2, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1)
        cv2.putText(frame, "774411", (190, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.35, (240, 240, 240), 1)
        cv2.putText(frame, f"20240517 {t:02d}", (2, 174), cv2.FONT_HERSHEY_SIMPLEX, 0.33, (255, 255, 0), 1)
        frame[176:179, (3 * t) % 230:(3 * t) % 230 + 8] = (0, 255, 0)
        frame[150:152] = np.maximum(frame[150:152], rng.integers(0, 2, (2, 240, 3), dtype=np.uint8))
    return video


def unpacked(content: bytes) -> list[bytes]:
    """A file's bytes and everything packed inside them: gzip, and data URIs of a page."""
    packed_part = rb"base64,[A-Za-z0-9+/=]+"
    found = [re.sub(packed_part, b"", content)]
    if content[:2] == b"\x1f\x8b":
        found.append(gzip.decompress(content))
    for packed in re.findall(rb"base64,([A-Za-z0-9+/=]+)", content):
        found.append(base64.b64decode(packed))
    return found


def assert_clean(content: bytes, where: str) -> None:
    for part in unpacked(content):
        for secret in SECRETS:
            for form in (secret.encode(), secret.encode("utf-16-le"), secret.lower().encode()):
                assert form not in part, f"{secret!r} in {where}"


def test_nothing_planted_reaches_any_output(tmp_path, burnt, capsys):
    path = tmp_path / "in" / "DOE_JANE_19610203.dcm"
    path.parent.mkdir()
    dicom(path, burnt, "RGB", **HEADER)
    damaged = tmp_path / "in" / "JANE_20240517.dcm"
    damaged.write_bytes(path.read_bytes()[:3000])
    rows = segment_files([path, damaged], tmp_path / "out", stand_in(), anonymous=True)
    assert [row.failed for row in rows] == [False, True]
    written = [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert len(written) == 7
    for file in written:
        assert_clean(file.read_bytes(), file.name)
        assert_clean(str(file.relative_to(tmp_path / "out")).encode(), "a file name")
    assert_clean("".join(capsys.readouterr()).encode(), "the log")
    assert json.loads((tmp_path / "out" / "clip-001" / "summary.json").read_text())["clip"] == "clip-001"


def _nifti_of(path, video: np.ndarray) -> None:
    image = nibabel.Nifti1Image(np.ascontiguousarray(video.transpose(2, 1, 0)[:, :, None]), np.eye(4))
    image.header.set_zooms((0.8, 0.8, 1.0, 0.02))
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"], image.header["aux_file"], image.header["db_name"] = b"DOE JANE 19610203", b"20240517", b"MRN774411"
    nibabel.save(image, path)


def _mp4_of(path, video: np.ndarray) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        container.metadata["title"], container.metadata["comment"] = "DOE JANE", "MRN774411 19610203 St. Elsewhere"
        stream = container.add_stream("libx264", rate=50, options={"crf": "12"})
        stream.height, stream.width, stream.pix_fmt = *video.shape[1:3], "yuv420p"
        for frame in video:
            rgb = np.ascontiguousarray(np.repeat(frame[..., None], 3, -1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode())


@pytest.mark.parametrize(("name", "write"), [("DOE_JANE_19610203.nii.gz", _nifti_of), ("DOE_JANE_19610203.mp4", _mp4_of)])
def test_nothing_planted_in_the_header_of_another_format_does(tmp_path, capsys, name, write):
    path = tmp_path / "in" / name
    path.parent.mkdir()
    write(path, beating(50)[0])
    assert any(b"DOE JANE" in part and b"MRN774411" in part for part in unpacked(path.read_bytes())), "planted"
    rows = segment_files([path], tmp_path / "out", stand_in(), anonymous=True)
    assert not rows[0].failed
    written = [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert len(written) == 7
    for file in written:
        assert_clean(file.read_bytes(), file.name)
    assert_clean("".join(capsys.readouterr()).encode(), "the log")


def test_every_picture_is_black_outside_the_cone(tmp_path, burnt):
    """Overlay, stills, sprites: all pixels farther than 3 px of the clip from the cone."""
    write_avi(tmp_path / "clip.avi", burnt, 50)
    segment_files([tmp_path / "clip.avi"], tmp_path / "out", stand_in())
    clip = open_clip(tmp_path / "clip.avi")
    result = segment(clip, clip.fps, weights=stand_in())
    true_cone = burnt[:, :, :, 0].astype(int).std(0) > 1
    sector = find_sector(clip)
    assert not sector.mask[:16, :70].any() and not sector.mask[:16, 185:].any() and not sector.mask[165:, :60].any()
    assert 2 * (sector.mask & true_cone).sum() / (sector.mask.sum() + true_cone.sum()) > 0.9

    near = cv2.dilate(sector.mask.astype(np.uint8), np.ones((7, 7), np.uint8)).astype(np.float32)

    def assert_black(pictures: np.ndarray, what: str) -> None:
        height, width = pictures.shape[1:3]
        zoom = height / result.display.shape[1]
        matrix = compose(np.array([[zoom, 0, 0], [0, zoom, 0]]), result.to_display)
        outside = cv2.warpAffine(near, matrix, (width, height)) < 0.5
        assert outside.mean() > 0.1 and pictures[:, outside].max() < 40, what

    assert_black(read_video(tmp_path / "out" / "clip" / "overlay.mp4"), "overlay")
    page = (tmp_path / "out" / "clip" / "report.html").read_text()
    found = re.findall(r"image/png;base64,([^\"]+)\"", page)
    stills = [cv2.imdecode(np.frombuffer(base64.b64decode(one), np.uint8), 1) for one in found]
    assert len(stills) == 2
    assert_black(np.stack(stills), "stills")
    assert_black(result.display[..., None], "display")
    sprite = re.search(r"image/jpeg;base64,([^)]+)\)", static_viewer(result, frames=1).data)[1]
    assert_black(cv2.imdecode(np.frombuffer(base64.b64decode(sprite), np.uint8), 1)[None], "sprite")
