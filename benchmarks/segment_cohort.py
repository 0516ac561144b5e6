"""``echolib segment`` on many clips at once, unattended: does it end, does a damaged clip stop it, does its memory grow?

Command:  python benchmarks/segment_cohort.py [--record]                 (--n 40 --frames 12 24 for a first look)
Needs:    nothing; it simulates its clips: AVI, MP4, NIfTI, NPY and DICOM, and among them damaged ones
Takes:    15 to 30 minutes for 500 clips on 2 quiet cores; a third of that with a narrow network (--weights) and --frames 8 14
Aim:      resident memory grows by less than 2 MB per 100 clips; every clip is done or refused by name
Prints:   clips done and refused, the errors, seconds per clip, memory after a tenth, half and all of the clips, its slope after
          the first fifth, and whether the outputs are complete. One real command on all clips, in a process of its own;
          memory is the resident set of that process and its children, read when a clip's line appears. A record that names
          other weights than the package's has all of the command but the network's own cost as ever
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import psutil
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage, generate_uid

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import record  # noqa: E402
from benchmarks.roofline import measure  # noqa: E402
from echolib.clinic.cohort import clip_names  # noqa: E402
from echolib.data.video import write_avi, write_mp4  # noqa: E402
from echolib.pages.speed import Curve  # noqa: E402
from echolib.phantom.clip import SimulatedClip, simulate  # noqa: E402
from echolib.phantom.presets import draw  # noqa: E402

OUTPUTS = {"report.html", "summary.json", "beats.csv", "area.csv", "overlay.mp4", "masks.nii.gz"}
#: Share of the clips before which memory is still warming up.
WARM = 0.2
MB = 1e6
#: Bytes that are left of a damaged file.
HEAD = 300


def write_clips(folder: Path, shortest: int, longest: int) -> tuple[list[Path], list[Path]]:
    """Eight sound clips of five formats and of lengths between the two, and three files cut in their headers: of a file cut later
    the frames that are there are used."""
    lengths = np.linspace(shortest, longest, 8).round().astype(int)
    clips = [simulate(draw("echonet", [31, k], frames=int(frames))) for k, frames in enumerate(lengths)]
    writers = (_avi, _mp4, _nifti, _npy, _dicom, _avi, _nifti, _dicom)
    sound = [write(folder / f"sound{k}", clip) for k, (write, clip) in enumerate(zip(writers, clips, strict=True))]
    damaged = []
    for k, path in enumerate((sound[0], sound[2], sound[4])):
        damaged.append(folder / f"damaged{k}{''.join(path.suffixes)}")
        damaged[-1].write_bytes(path.read_bytes()[:HEAD])
    return sound, damaged


def _avi(path: Path, clip: SimulatedClip) -> Path:
    write_avi(path.with_suffix(".avi"), clip.frames, clip.fps)
    return path.with_suffix(".avi")


def _mp4(path: Path, clip: SimulatedClip) -> Path:
    write_mp4(path.with_suffix(".mp4"), clip.frames, clip.fps)
    return path.with_suffix(".mp4")


def _npy(path: Path, clip: SimulatedClip) -> Path:
    np.save(path.with_suffix(".npy"), clip.frames)
    return path.with_suffix(".npy")


def _nifti(path: Path, clip: SimulatedClip) -> Path:
    image = nibabel.Nifti1Image(np.ascontiguousarray(clip.frames.transpose(2, 1, 0)[:, :, None]), np.eye(4))
    image.header.set_zooms((clip.spacing_mm, clip.spacing_mm, 1.0, 1 / clip.fps))
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path.with_suffix(".nii.gz"))
    return path.with_suffix(".nii.gz")


def _dicom(path: Path, clip: SimulatedClip) -> Path:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UltrasoundMultiFrameImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.NumberOfFrames, data.Rows, data.Columns = map(int, clip.frames.shape)
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
    data.FrameTime = f"{1000 / clip.fps:.6g}"
    data.PixelData = clip.frames.tobytes()
    data.save_as(path.with_suffix(".dcm"), enforce_file_format=True)
    return path.with_suffix(".dcm")


def lay_out(folder: Path, n: int, shortest: int, longest: int) -> tuple[list[Path], set[Path]]:
    """``n`` inputs, hard links to a few clips, every twentieth to a damaged one; and which are damaged."""
    (folder / "kinds").mkdir(parents=True)
    sound, damaged = write_clips(folder / "kinds", shortest, longest)
    inputs, bad = [], set()
    for k in range(n):
        source = damaged[k // 20 % len(damaged)] if k % 20 == 10 else sound[k % len(sound)]
        inputs.append(folder / f"{k:04d}-{source.name}")
        os.link(source, inputs[-1])
        if source in damaged:
            bad.add(inputs[-1])
    return inputs, bad


def watched(command: list[str], environment: dict[str, str]) -> tuple[list[float], list[float], int]:
    """Run a command that prints a line a clip: memory in MB and seconds since the start at each line, and how it ended."""
    memory, seconds = [], []
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        process = psutil.Process(child.pid)
        for line in child.stdout:
            if line.startswith("["):
                family = [process, *process.children(recursive=True)]
                memory.append(sum(one.memory_info().rss for one in family) / MB)
                seconds.append(time.perf_counter() - began)
                if len(memory) % 50 == 0:
                    print(f"{seconds[-1]:.0f} s, {memory[-1]:.0f} MB: {line.rstrip()}", flush=True)
    return memory, seconds, child.returncode


def slope(memory: list[float]) -> float:
    """MB per 100 clips by least squares, after the warm-up."""
    first = int(WARM * len(memory))
    return 100 * float(np.polyfit(np.arange(first, len(memory)), memory[first:], 1)[0])


def main() -> None:
    """Measure and report."""
    parser = record.options("Many clips through `echolib segment`, in one process.", device=False)
    parser.add_argument("--n", type=int, default=500, help="clips, at least 20")
    parser.add_argument("--frames", type=int, nargs=2, default=(24, 60), help="shortest and longest clip")
    parser.add_argument("--weights", help="passed on to the command; default: the weights that come with the package")
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder that is removed")
    chosen = parser.parse_args()
    if chosen.n < 20:
        parser.error("--n must be at least 20")
    started, roofline = record.load(), measure()
    base = Path(tempfile.mkdtemp(dir=chosen.folder))
    try:
        inputs, bad = lay_out(base / "in", chosen.n, *chosen.frames)
        out = base / "out"
        words = ["segment", *map(str, inputs), "--out", str(out), "--device", "cpu"]
        words += ["--weights", chosen.weights] if chosen.weights else []
        environment = os.environ | {"PYTHONPATH": str(record.ROOT), "PYTHONUNBUFFERED": "1"}
        memory, seconds, status = watched([sys.executable, "-m", "echolib", *words], environment)
        with (out / "cohort.csv").open() as stream:
            rows = list(csv.DictReader(stream))
        names = clip_names(inputs, False)
        good = {name for path, name in zip(inputs, names, strict=True) if path not in bad}
        done = {row["clip"] for row in rows if row["status"] == "done"}
        whole = {name for name in done if (out / name).is_dir() and {p.name for p in (out / name).iterdir()} == OUTPUTS}
        strays = sorted(p.name for p in out.iterdir() if p.name not in done | {"cohort.csv"})
        errors = Counter(row["problem"].split(": ", 1)[-1].split(" (")[0] for row in rows if row["status"] == "failed")
    finally:
        shutil.rmtree(base)
    each = np.diff(seconds)
    each = each[[name in done for name in names[1:]]]
    tenth, half = chosen.n // 10, chosen.n // 2
    checks = {"every sound clip is done": done == good, "every damaged one is refused": len(rows) - len(done) == len(bad),
              "every done clip has all its files": whole == done, "nothing else lies there": not strays,
              "the exit status says that some failed": status == (1 if bad else 0), "one line a clip": len(memory) == chosen.n}
    network = "the packaged weights" if chosen.weights is None else f"weights of {Path(chosen.weights).name}"
    notes = [f"{network}; {chosen.n} clips of {chosen.frames[0]} to {chosen.frames[1]} frames, 112 x 112 px: {len(done)} done, "
             f"{len(rows) - len(done)} refused: " + "; ".join(f"{count} x {text}" for text, count in sorted(errors.items()))]
    notes += [f"{what}: {'yes' if held else 'NO'}" for what, held in checks.items()]
    picked = [tenth, chosen.n // 4, half, 3 * chosen.n // 4, chosen.n]
    record.report("segment_cohort", chosen, started, roofline, [
        record.row("clip", "a clip, file to report", "s", record.side([float(value) for value in each])),
        record.row("early", f"resident memory after {tenth} clips", "MB", record.side([memory[tenth - 1]])),
        record.row("half", f"resident memory after {half} clips", "MB", record.side([memory[half - 1]])),
        record.row("end", f"resident memory after {chosen.n} clips", "MB", record.side([memory[-1]])),
        record.row("slope", f"growth of memory per 100 clips, after the first {int(WARM * chosen.n)}", "MB",
                   record.side([slope(memory)])),
    ], curves=[Curve(x_label="clips", y_label="resident memory, MB", x=[float(k) for k in picked],
                     y=[round(memory[k - 1], 1) for k in picked])], notes=notes)
    if not all(checks.values()):
        sys.exit("not as it should be: " + "; ".join(what for what, held in checks.items() if not held))


if __name__ == "__main__":
    main()
