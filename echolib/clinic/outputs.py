"""The files of one clip: masks, beats, area curve, summary, overlay, report. Names, dates and headers go into none of them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Header

from echolib import __version__
from echolib.clinic.folders import finished_folder
from echolib.clinic.pictures import overlay_frames
from echolib.clinic.report import write_report
from echolib.clinic.result import Segmentation
from echolib.data.video import write_mp4_frames
from echolib.files import write_atomic

DISCLAIMER = ("For research. Not a medical device: not tested or approved for diagnosis or treatment. Every outline and number "
              "here was made automatically, and nobody has checked it.")


def write_outputs(segmentation: Segmentation, folder: Path) -> None:
    """Write everything about one clip; ``folder`` is replaced as a whole or left as it was.

    Files: ``report.html``, ``summary.json``, ``beats.csv``, ``area.csv``, ``overlay.mp4``, ``masks.nii.gz``.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    with finished_folder(folder) as part:
        write_mp4_frames(part / "overlay.mp4", overlay_frames(segmentation), segmentation.fps, crf=21, preset="veryfast")
        _write_masks(segmentation, part / "masks.nii.gz")
        write_atomic(part / "beats.csv", beats_csv(segmentation))
        write_atomic(part / "area.csv", _area_csv(segmentation))
        text = json.dumps(summary(segmentation), indent=1, ensure_ascii=False, allow_nan=False)
        write_atomic(part / "summary.json", text + "\n")
        write_report(segmentation, part / "overlay.mp4", part / "report.html", DISCLAIMER)


def summary(segmentation: Segmentation) -> dict:
    """All numbers of a clip as plain JSON types; what is not known is null."""
    sd, low, high = segmentation.ef_spread
    between, way = segmentation.interval, segmentation.orientation
    beat = segmentation.main_beat
    return {
        "clip": segmentation.name, "frames": len(segmentation.frames), "frames_per_second": _number(segmentation.fps, 3),
        "height_px": segmentation.source_shape[0], "width_px": segmentation.source_shape[1],
        "spacing_mm": _number(segmentation.spacing_mm, 5), "refused": segmentation.refused or None,
        "orientation": None if segmentation.refused else {
            "file": way.name, "probability": _number(way.probability, 3), "given_by_user": way.given, "text": way.words},
        "ef_percent": {"mean": _number(segmentation.ef, 1), "sd": _number(sd, 1), "low": _number(low, 1),
                       "high": _number(high, 1), "beats": len(segmentation.beats), "whole_beats": segmentation.complete,
                       "interval": None if between is None else {
                           "level_percent": between.level, "low": _number(between.low, 1), "high": _number(between.high, 1),
                           "useful": between.useful, "largest_doubt": between.largest,
                           "doubts_points": {name: _number(value, 2) for name, value in vars(between.doubts).items()}}},
        "ef_regressed_percent": None if segmentation.regressed is None else {
            "mean": _number(segmentation.regressed.ef, 1), "sd": _number(segmentation.regressed.sd, 1),
            "clips": segmentation.regressed.clips, "text": segmentation.regressed.words,
            "network": segmentation.regressed.network},
        "edv_ml": _number(np.mean([b.edv for b in segmentation.beats]) if segmentation.beats else math.nan, 1),
        "esv_ml": _number(np.mean([b.esv for b in segmentation.beats]) if segmentation.beats else math.nan, 1),
        "heart_rate_per_minute": _number(segmentation.heart_rate, 1),
        "ed_frame": beat.ed if beat else None, "es_frame": beat.es if beat else None,
        "flags": [{"code": f.code, "severity": f.severity, "text": f.text} for f in segmentation.flags],
        "network": segmentation.network, "software": f"echolib {__version__}", "notice": DISCLAIMER,
    }


def _number(value: float, digits: int) -> float | None:
    return round(float(value), digits) if math.isfinite(value) else None


def beats_csv(segmentation: Segmentation) -> str:
    """One row a beat; empty cells are not known."""
    unit = "cm2" if segmentation.has_scale else "px2"
    rows = [["beat", "ed_frame", "es_frame", "ed_s", "es_s", "rr_s", "edv_ml", "esv_ml", f"ed_area_{unit}", f"es_area_{unit}",
             "ef_percent"]]
    for number, b in enumerate(segmentation.beats, start=1):
        values = (_number(b.ed_s, 4), _number(b.es_s, 4), _number(b.rr_s, 4), _number(b.edv, 2), _number(b.esv, 2),
                  _number(b.ed_area, 3), _number(b.es_area, 3), _number(b.ef, 2))
        rows.append([number, b.ed, b.es, *("" if v is None else v for v in values)])
    return _csv(rows)


def _area_csv(segmentation: Segmentation) -> str:
    area, unit = segmentation.areas
    known = segmentation.has_scale
    rows = [["frame", "time_s", f"area_{unit.replace('²', '2')}", "volume_ml" if known else "volume_1000px3"]]
    for t, (time, one, volume) in enumerate(zip(segmentation.times, area, segmentation.volumes, strict=True)):
        rows.append([t, round(float(time), 4), round(float(one), 3), round(float(volume), 3)])
    return _csv(rows)


def _csv(rows: list[list]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def _write_masks(segmentation: Segmentation, path: Path) -> None:
    """NIfTI-1 (x, y, 1, t) uint8 in the clip's own pixels, written frame by frame; the header holds sizes and nothing else."""
    height, width = segmentation.source_shape
    spacing = segmentation.spacing_mm if segmentation.has_scale else 1.0
    header = Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((width, height, 1, len(segmentation.masks)))
    header.set_zooms((spacing, spacing, 1.0, 1.0 / segmentation.fps))
    header.set_xyzt_units("mm" if segmentation.has_scale else "unknown", "sec")
    header["vox_offset"] = 352
    header["cal_max"] = 1
    with path.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0) as stream:
        stream.write(header.binaryblock + b"\0\0\0\0")
        for mask in segmentation.source_masks():  # NIfTI stores x fastest, as a C-ordered (H, W) frame does
            stream.write(mask.astype(np.uint8).tobytes())
