"""Simulated cohorts in the on-disk layouts of EchoNet-Dynamic and CAMUS, with the truth in a folder of its own.

The readers of the real layouts take these folders like any other; they never look at ``Truth/``. The same
specification gives the same bytes, whatever the number of workers and however often the writing was interrupted.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable
from pathlib import Path
from zipfile import BadZipFile

import nibabel
import numpy as np

from echolib.config import PhantomSpec
from echolib.data.video import write_avi
from echolib.errors import ConfigError, DataError
from echolib.files import write_atomic
from echolib.phantom.clip import SimulatedClip, simulate
from echolib.phantom.folder import TRUTH, claim, missing, run_jobs, sweep, write_truth
from echolib.phantom.presets import QUALITIES, draw
from echolib.phantom.tracing import trace

SPLITS = ("train", "val", "test")
FILE_LIST = ("FileName", "EF", "ESV", "EDV", "FrameHeight", "FrameWidth", "FPS", "NumberOfFrames", "Split")
TRACINGS = ("FileName", "X1", "Y1", "X2", "Y2", "Frame")
VIEWS = ("2CH", "4CH")
CAMUS_SPLITS = {"train": "training", "val": "validation", "test": "testing"}
#: CAMUS half cycles that run from end-systole to end-diastole.
ES_FIRST = 0.15
#: Studies whose end-systole is traced first.
ES_TRACED_FIRST = 0.05
#: First number of every seed of a layout, so that no patient is in both cohorts.
_LAYOUT_SEED = {"echonet": 1, "camus": 2}
_JPEG_QUALITY = 95


def write_echonet(out: Path, spec: PhantomSpec, *, workers: int = 1, progress: bool = True, device: str = "cpu",
                  only: Iterable[str] | None = None, whole: Path | None = None) -> None:
    """Write a cohort in EchoNet-Dynamic's layout: FileList.csv, VolumeTracings.csv, Videos/, and Truth/ beside them.

    EDV, ESV and EF are the analytic ones of the traced beat. Finished studies are kept, so an interrupted call goes on.

    Args:
        out: the folder, empty or holding this cohort.
        spec: how many studies of which kind.
        workers: processes.
        progress: show a progress bar.
        device: torch device that makes the images.
        only: names of the studies to write; None: all. Each is the same bytes as in the whole cohort.
        whole: a folder that may hold the whole cohort: with ``only``, studies that are there are copied.

    Raises:
        ConfigError: the folder holds something else, the specification asks for nothing or for clips too short, or ``only``
            names a study that the cohort does not have.
    """
    out = Path(out)
    _check(spec)
    studies = studies_of(spec)
    if only is not None:
        unknown = sorted(set(only) - studies.keys())
        if unknown or not only:
            raise ConfigError(f"the cohort has no study {unknown[0] if unknown else 'of no name'}; expected names of its "
                              f"{len(studies)} studies, such as {next(iter(studies))}")
        studies = {name: studies[name] for name in studies if name in set(only)}
    claim(out, "echonet", spec, device, "FileList.csv", **({} if only is None else {"only": sorted(studies)}))
    sweep(out)
    if only is not None and whole is not None:
        _copy_studies(whole, out, studies)
    jobs = [(out, spec, split, k, device) for name, (split, k) in studies.items() if missing(_echonet_files(out, name))]
    run_jobs(_echonet_study, jobs, workers=workers, progress=progress, title="simulating")
    if not jobs and not missing([out / "VolumeTracings.csv", out / "FileList.csv"]):
        return
    rows, traces = [], []
    for name in sorted(studies):
        truth = _read(out, name)
        height, width = truth["shape"][1:].tolist()
        rows.append((name, *(repr(float(truth[key])) for key in ("ef", "esv", "edv")), height, width, _number(truth["fps"]),
                     int(truth["shape"][0]), studies[name][0].upper()))
        for frame, chords in zip(truth["traced_frames"].tolist(), truth["tracings"], strict=True):
            traces += [(f"{name}.avi", *map(repr, chord), frame) for chord in chords.tolist()]
    _write_csv(out / "VolumeTracings.csv", TRACINGS, traces)
    _write_csv(out / "FileList.csv", FILE_LIST, rows)


def write_camus(out: Path, spec: PhantomSpec, *, workers: int = 1, progress: bool = True, device: str = "cpu",
                size: tuple[int, int] | None = None) -> None:
    """Write a cohort in CAMUS' layout: database_nifti/patientXXXX/, database_split/, and Truth/ beside them.

    Every patient has both views; both are half cycles with labels 0-3 on every frame. Image qualities come in the data
    set's proportions and 15 % of the half cycles are ES first, both as exactly as the number of patients allows.

    Args:
        size: height and width of the frames, px; None: the data set's 551 x 669.

    The other arguments and the errors are those of :func:`write_echonet`.
    """
    out = Path(out)
    _check(spec)
    claim(out, "camus", spec, device, "database_split/subgroup_testing.txt", size=list(size) if size else None)
    sweep(out)
    order = np.random.default_rng([_LAYOUT_SEED["camus"], spec.seed, 5])
    count = spec.train + spec.val + spec.test
    numbers = 1 + order.permutation(count)  # the official subgroups are not contiguous either
    first = order.permutation(_apportion({"ED": 1 - ES_FIRST, "ES": ES_FIRST}, count))
    quality = {view: order.permutation(_apportion(QUALITIES, count)) for view in VIEWS}
    jobs, groups, k = [], {split: [] for split in SPLITS}, 0
    for split in SPLITS:
        for index in range(getattr(spec, split)):
            patient = f"patient{numbers[k]:04d}"
            groups[split].append(patient)
            if missing(path for view in VIEWS for path in _camus_files(out, patient, view)):
                qualities = {view: str(quality[view][k]) for view in VIEWS}
                jobs.append((out, spec, split, index, patient, str(first[k]), qualities, size, device))
            k += 1
    run_jobs(_camus_patient, jobs, workers=workers, progress=progress, title="simulating")
    for split, patients in groups.items():
        path = out / "database_split" / f"subgroup_{CAMUS_SPLITS[split]}.txt"
        if jobs or not path.is_file():
            write_atomic(path, "".join(f"{p}\n" for p in sorted(patients)))


def studies_of(spec: PhantomSpec) -> dict[str, tuple[str, int]]:
    """(split, number in it) by name, of every study of a cohort in EchoNet-Dynamic's layout; split by split."""
    return {study_name(spec, split, k): (split, k) for split in SPLITS for k in range(getattr(spec, split))}


def study_name(spec: PhantomSpec, split: str, index: int) -> str:
    """A name like EchoNet-Dynamic's, ``0X`` and 16 hex digits, that tells nothing but is the same for the same study."""
    return "0X" + hashlib.sha256(f"{spec.preset}/{spec.seed}/{split}/{index}".encode()).hexdigest()[:16].upper()


def trace_pair(clip: SimulatedClip, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Trace end-diastole and end-systole of a clip.

    The hand strays, but not so far that end-systole comes out the larger: it is then traced again, more steadily.

    Returns:
        ``frames (2,)`` int and ``tracings (2, 21, 4)`` px, in the order in which they are listed.
    """
    frames = np.array([clip.ed_frame, clip.es_frame])
    for steadiness in (1.0, 0.5, 0.25, 0.0):
        tracings = np.stack([trace(clip.labels[f] == 1, clip.long_axis[f], rng, steadiness) for f in frames])
        if _polygon_area(tracings[0]) > _polygon_area(tracings[1]):
            break
    tracings = tracings.round(6)
    swapped = rng.random() < ES_TRACED_FIRST
    return (frames[::-1], tracings[::-1]) if swapped else (frames, tracings)


def _check(spec: PhantomSpec) -> None:
    if spec.train + spec.val + spec.test == 0:
        raise ConfigError("the phantom has no studies: train, val and test are all 0")
    if spec.frames is not None and not 8 <= spec.frames[0] <= spec.frames[1]:
        raise ConfigError(f"phantom frames {spec.frames}: expected the shortest and the longest clip, 8 frames or more")


def _draw(spec: PhantomSpec, layout: str, split: str, index: int, **options: object):
    """Knobs of a study: its own seed, so that neither the other studies nor their number matter."""
    seed = (_LAYOUT_SEED[layout], spec.seed, SPLITS.index(split), index)
    frames = None
    if spec.frames is not None:
        frames = int(np.random.default_rng([*seed, 3]).integers(spec.frames[0], spec.frames[1] + 1))
    return draw(spec.preset, seed, frames=frames, layout=layout, **options), np.random.default_rng([*seed, 4])


def _echonet_files(out: Path, name: str) -> list[Path]:
    return [out / "Videos" / f"{name}.avi", out / TRUTH / f"{name}.npz"]


def _copy_studies(whole: Path, out: Path, names: Iterable[str]) -> None:
    for name in names:
        here, there = _echonet_files(whole, name), _echonet_files(out, name)
        if missing(there) and not missing(here):
            for source, target in zip(here, there, strict=True):  # the truth last: it marks the study as whole
                write_atomic(target, source.read_bytes())


def _echonet_study(out: Path, spec: PhantomSpec, split: str, index: int, device: str) -> None:
    parameters, rng = _draw(spec, "echonet", split, index)
    clip = simulate(parameters, device=device)
    video, truth = _echonet_files(out, study_name(spec, split, index))
    frames, tracings = trace_pair(clip, rng)
    write_avi(video, clip.frames, _frame_rate(clip), quality=_JPEG_QUALITY)
    write_truth(truth, clip, traced_frames=frames, tracings=tracings)  # last: it marks the study as whole


def _camus_files(out: Path, patient: str, view: str) -> list[Path]:
    folder = out / "database_nifti" / patient
    images = [folder / f"{patient}_{view}_{part}{gt}.nii.gz" for part in ("ED", "ES", "half_sequence") for gt in ("", "_gt")]
    return [*images, folder / f"Info_{view}.cfg", out / TRUTH / f"{patient}_{view}.npz"]


def _camus_patient(out: Path, spec: PhantomSpec, split: str, index: int, patient: str, first: str, quality: dict[str, str],
                   size: tuple[int, int] | None, device: str) -> None:
    for view in VIEWS:
        parameters, _ = _draw(spec, "camus", split, index, view=view, quality=quality[view], first=first, size=size)
        clip = simulate(parameters, device=device)
        *images, info, truth = _camus_files(out, patient, view)
        for path, frames in zip(images, (part for f in (clip.ed_frame, clip.es_frame, slice(None))
                                         for part in (clip.frames[f], clip.labels[f])), strict=True):
            write_atomic(path, nifti_bytes(frames, clip.spacing_mm))
        person = np.random.default_rng([_LAYOUT_SEED["camus"], spec.seed, SPLITS.index(split), index, 6])
        sex, age = str(person.choice(["F", "M"])), int(np.clip(person.normal(65, 13), 18, 95))
        values = {"ED": clip.ed_frame + 1, "ES": clip.es_frame + 1, "NbFrame": len(clip.frames), "Sex": sex, "Age": age,
                  "ImageQuality": quality[view], "EF": f"{clip.ef:.1f}", "FrameRate": f"{clip.fps:.1f}"}
        write_atomic(info, "".join(f"{key}: {value}\n" for key, value in values.items()))
        write_truth(truth, clip)  # last: it marks the view as whole


def nifti_bytes(frames: np.ndarray, spacing_mm: float) -> bytes:
    """A gzip'ed NIfTI of ``(T, H, W)`` or ``(H, W)`` uint8, axes stored (W, H[, T]); no time stamp, so bytes repeat."""
    image = nibabel.Nifti1Image(np.ascontiguousarray(frames.transpose()), np.diag([spacing_mm, spacing_mm, 1.0, 1.0]))
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), 6, mtime=0)


def _read(out: Path, name: str) -> dict[str, np.ndarray]:
    path = out / TRUTH / f"{name}.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {key: stored[key] for key in ("ef", "edv", "esv", "shape", "fps", "traced_frames", "tracings")}
    except (ValueError, OSError, KeyError, BadZipFile):
        raise DataError("not a truth file; delete it and run again", file=f"{TRUTH}/{path.name}") from None


def _frame_rate(clip: SimulatedClip) -> float:
    return round(clip.fps, 3)  # three decimals are kept exactly by the AVI's fraction


def _number(fps: np.ndarray) -> str:
    return f"{round(float(fps), 3):g}" if float(fps).is_integer() else repr(round(float(fps), 3))


def _polygon_area(tracing: np.ndarray) -> float:
    x = np.concatenate([tracing[1:, 0], tracing[:0:-1, 2]])
    y = np.concatenate([tracing[1:, 1], tracing[:0:-1, 3]])
    return float(abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2)


def _apportion(shares: dict[str, float], count: int) -> np.ndarray:
    """``count`` names in the proportions of ``shares``, by largest remainder."""
    exact = np.array(list(shares.values()), float) / sum(shares.values()) * count
    whole = np.floor(exact).astype(int)
    for k in np.argsort(-(exact - whole), kind="stable")[:count - whole.sum()]:
        whole[k] += 1
    return np.repeat(list(shares), whole)


def _write_csv(path: Path, header: tuple[str, ...], rows: list[tuple]) -> None:
    write_atomic(path, "".join(",".join(map(str, row)) + "\n" for row in (header, *rows)))
