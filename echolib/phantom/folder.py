"""A folder of simulated studies: made by any number of processes, resumed after a kill, never mixed.

``phantom.json`` is written first and says what the folder holds; a folder that holds something else is refused. Each
study ends with its truth file, so a study with all its files is whole and is not made again. The tables of the layout
come last.
"""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from echolib.config import PhantomSpec
from echolib.errors import ConfigError
from echolib.files import write_atomic, write_json
from echolib.phantom.clip import SimulatedClip

ABOUT = "phantom.json"
TRUTH = "Truth"


#: modules that look at finished clips only
_LOOK_ON = ("borders.py", "statistics.py")


def simulator_fingerprint() -> str:
    """16 hex digits over the sources of the simulator: other sources may give other bytes for the same seed."""
    digest = hashlib.sha256()
    for path in sorted(path for path in Path(__file__).parent.glob("*.py") if path.name not in _LOOK_ON):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def claim(out: Path, layout: str, spec: PhantomSpec, device: str, last: str, **options: object) -> None:
    """Make sure that ``out`` is empty, or holds this very cohort, and say so in ``phantom.json``.

    Args:
        out: the folder.
        layout: ``echonet`` or ``camus``.
        spec: the cohort.
        device: torch device that makes the images. It and the simulator's sources are only compared while the folder is
            unfinished: a finished cohort is data, whatever made it.
        last: name of the table that is written last; a folder without it is unfinished.
        options: what else decides the bytes.

    Raises:
        ConfigError: the folder holds other files, another cohort, or an unfinished cohort that was made otherwise.
    """
    about = {"layout": layout, "phantom": spec.model_dump(mode="json"), **options, "echolib": version("echolib")}
    made_by = {"simulator": simulator_fingerprint(), "device": device.split(":")[0]}
    path = out / ABOUT
    if not path.is_file():
        if out.exists() and any(out.iterdir()):
            raise ConfigError(f"{out.name} is not empty and holds no {ABOUT}: a phantom is never written into other files")
        write_json(path, {**about, "made_by": made_by})
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        found_maker = found.pop("made_by", None)
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError):
        raise ConfigError(f"{out.name}/{ABOUT} is not readable; delete the folder and write it anew") from None
    if found != about:
        differing = sorted(k for k in about.keys() | found.keys() if about.get(k) != found.get(k))
        raise ConfigError(f"{out.name} holds another simulated cohort: "
                          + "; ".join(f"{k} is {found.get(k)}, asked for {about.get(k)}" for k in differing)
                          + ". Choose another folder or delete this one")
    if found_maker != made_by and not (out / last).is_file():
        raise ConfigError(f"{out.name} is unfinished and was begun by another version of the simulator or on another kind of "
                          f"device ({found_maker}, now {made_by}); delete it and write it anew")


def sweep(out: Path) -> None:
    """Remove the temporary files that a killed run left."""
    for part in out.rglob(".*.part"):
        part.unlink(missing_ok=True)


def run_jobs(function: Callable, jobs: list, *, workers: int, progress: bool, title: str) -> None:
    """``function(*job)`` for every job, in this process or in ``workers`` new ones (spawned, one torch thread each).

    Raises:
        ConfigError: ``workers`` is below 1, or a worker process died.
    """
    if workers < 1:
        raise ConfigError(f"{workers} workers; expected 1 or more")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not progress or not jobs) as bar:
        if workers == 1 or len(jobs) < 2:
            for job in bar.track(jobs, description=title):
                function(*job)
            return
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context, initializer=torch.set_num_threads, initargs=(1,))
        try:
            futures = [pool.submit(function, *job) for job in jobs]
            for future in bar.track(as_completed(futures), total=len(jobs), description=title):
                future.result()
        except BrokenProcessPool:
            raise ConfigError("a process of the simulator died, perhaps for lack of memory; run again with fewer workers: "
                              "finished studies are kept") from None
        finally:
            pool.shutdown(cancel_futures=True)


def write_truth(path: Path, clip: SimulatedClip, **more: np.ndarray) -> None:
    """The truth of a clip as an ``.npz`` without pickles; the same clip gives the same bytes.

    Holds ``masks`` (``np.packbits`` of ``(T, H, W)`` bool) and its ``shape``, ``volumes_ml``, ``disk_volumes_ml`` and
    ``phase`` per frame, the anatomical boundary as ``tissue (T, P, 2)`` px and ``tissue_volumes_ml``, ``knobs`` as JSON, ``ef``,
    ``edv``, ``esv``, ``ed_frame``, ``es_frame``, ``fps`` and ``spacing_mm``.
    """
    cavity = clip.labels == 1
    buffer = io.BytesIO()
    np.savez_compressed(buffer, masks=np.packbits(cavity, axis=None), shape=np.array(cavity.shape), volumes_ml=clip.volumes_ml,
                        disk_volumes_ml=clip.disk_volumes_ml, phase=clip.phase, long_axis=clip.long_axis,
                        tissue=clip.tissue, tissue_volumes_ml=clip.tissue_volumes_ml,
                        knobs=np.array(json.dumps(clip.knobs, sort_keys=True)), ef=clip.ef, edv=clip.edv, esv=clip.esv,
                        ed_frame=clip.ed_frame, es_frame=clip.es_frame, fps=clip.fps, spacing_mm=clip.spacing_mm, **more)
    write_atomic(path, buffer.getvalue())


def missing(files: Iterable[Path]) -> bool:
    """Is any of these files not there?"""
    return any(not path.is_file() for path in files)
