"""Simulated clips for the default weights: the phantom's presets ``wide`` and ``echonet``, kept on disk.

Every clip is one ``.npz`` with its frames and the exact mask of every frame. Each is written to a temporary name and
then renamed, so a stopped run goes on where it was; a change of the phantom's code makes all of them anew.
"""

from __future__ import annotations

import io
import multiprocessing
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from echolib.errors import DataError
from echolib.files import DAMAGED_ARRAY, write_atomic

#: First numbers of the seeds: what is trained on, what is held out and what intervals are calibrated on can never be the
#: same clip.
TRAIN, HELD_OUT, HELD_OUT_ECHONET, CALIBRATE, CALIBRATE_ECHONET, TRAIN_ECHONET = range(70_001, 70_007)
PRESETS = {TRAIN: "wide", TRAIN_ECHONET: "echonet", HELD_OUT: "wide", HELD_OUT_ECHONET: "echonet", CALIBRATE: "wide",
           CALIBRATE_ECHONET: "echonet"}


@dataclass(frozen=True)
class WideClip:
    """A simulated clip: ``frames`` (T, 112, 112) uint8, ``masks`` (T, 112, 112) bool LV cavity, and its exact EF in %."""

    frames: np.ndarray
    masks: np.ndarray
    fps: float
    spacing_mm: float
    ef: float
    ed_frame: int
    es_frame: int


def clip_path(cache: Path, stream: int, seed: int, number: int) -> Path:
    """Where a clip lies; the name holds its whole seed."""
    return cache / "clips" / f"{stream}-{seed}-{number:05d}.npz"


def ensure_clips(cache: Path, stream: int, seed: int, count: int, length: int, *, workers: int = 1, device: str = "cpu",
                 say: Callable[[str], None] = print) -> None:
    """Simulate the clips that are not there yet.

    Args:
        cache: folder.
        stream: one of :data:`PRESETS`.
        seed: of the whole set.
        count: clips number 0 to ``count - 1``.
        length: frames a clip.
        workers: processes; the clips do not depend on it.
        device: where the images are made.
        say: takes lines of progress.
    """
    _forget_other_phantoms(cache, length)
    missing = [number for number in range(count) if not clip_path(cache, stream, seed, number).is_file()]
    if not missing:
        return
    say(f"simulating {len(missing)} of {count} clips")
    jobs = [(cache, stream, seed, number, length, device) for number in missing]
    for done, _ in enumerate(_run(jobs, workers), start=1):
        if done % 50 == 0 or done == len(jobs):
            say(f"simulated {done} of {len(jobs)}")


def _run(jobs: list[tuple], workers: int) -> Iterator[None]:
    if workers == 1:
        yield from map(_make, jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_make, jobs)


def _forget_other_phantoms(cache: Path, length: int) -> None:
    """Remove clips that another state of the phantom's code, or another length, has made."""
    from echolib.ledger.code import code_fingerprint

    stamp, now = cache / "phantom.txt", f"{code_fingerprint(('phantom',))} {length}"
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != now:
        shutil.rmtree(cache / "clips", ignore_errors=True)
        write_atomic(stamp, now)


def _make(job: tuple) -> None:
    from echolib.phantom.clip import simulate
    from echolib.phantom.presets import draw

    cache, stream, seed, number, length, device = job
    clip = simulate(draw(PRESETS[stream], [stream, seed, number], frames=length), device=device)
    stream_out = io.BytesIO()
    np.savez_compressed(stream_out, frames=clip.frames, masks=np.packbits(clip.labels == 1), fps=clip.fps, ef=clip.ef,
                        spacing_mm=clip.spacing_mm, ed_frame=clip.ed_frame, es_frame=clip.es_frame)
    write_atomic(clip_path(cache, stream, seed, number), stream_out.getvalue())


def read_clip(path: Path) -> WideClip:
    """Read one clip.

    Raises:
        DataError: the file is missing or damaged; deleting it makes it anew.
    """
    try:
        with np.load(path, allow_pickle=False) as held:
            frames = held["frames"]
            masks = np.unpackbits(held["masks"], count=frames.size).reshape(frames.shape).astype(bool)
            return WideClip(frames, masks, float(held["fps"]), float(held["spacing_mm"]), float(held["ef"]),
                            int(held["ed_frame"]), int(held["es_frame"]))
    except (*DAMAGED_ARRAY, AttributeError) as error:
        raise DataError(f"a damaged simulated clip ({type(error).__name__})", file=path.name,
                        expected="a whole file; delete it and it is made anew") from None
