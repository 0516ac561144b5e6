"""Networks counted and timed side by side: parameters, operations and time of a pass, measured once and kept.

Counts need no data and no particular machine. A time belongs to a device; what can be compared is the order on one of them. All
networks of a page are timed in turn, round by round, in one go. A measurement is kept in the build folder, and those of a quiet
machine are committed beside the records, in ``results/<profile>/times.json``. Taken are this machine's own, then the committed
ones, while code, versions and what is asked for are the same; a page says which machine it was. ``echolib times`` measures here.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

from scipy.stats import t as student
from scipy.stats import ttest_ind_from_stats

from echolib import models
from echolib.evaluation.complexity import Complexity, hardware, measure, times_in_turn
from echolib.files import locked, write_json
from echolib.hardware import cores
from echolib.ledger.code import code_fingerprint
from echolib.ledger.committed import anew_asked
from echolib.ledger.provenance import collect, short, versions
from echolib.ledger.workspace import Workspace
from echolib.pages.verdict import Verdict, count_verdict

#: Fewest timed runs from which an order is decided.
MIN_RUNS = 3
#: Rounds on a processor and on a GPU.
RUNS = {"cpu": 3, "cuda": 200}
#: Operations grow with the side of a frame as a polynomial of second degree: edges and kernels are linear and constant. So three
#: small frames count a large one.
COUNTED_PX = (96, 128, 160)
#: What a count or a time depends on.
_CODE = ("models", "evaluation/complexity.py", "hardware.py")


@dataclass(frozen=True)
class Pass:
    """One forward pass of a network at its published width.

    Attributes:
        name: on the page.
        model: of ``models.build``.
        frames: of its clip.
        size: of a frame, px.
        options: of the network.
        built: frames that the network is built for; None: those of the pass.
        counted: frames of the clip on which operations are counted; None: those of the pass.
        batch: clips in one call when it is timed; operations are counted for one.
    """

    name: str
    model: str
    frames: int
    size: int
    options: Mapping[str, object] = field(default_factory=dict)
    built: int | None = None
    counted: int | None = None
    batch: int = 1


@dataclass(frozen=True)
class Timing:
    """Time of a pass in ms per frame: mean and sd over runs, each a call with ``batch`` clips of ``frames`` frames; ``load`` is
    the load average when the measurement began."""

    name: str
    frames: int
    size: int
    mean: float
    sd: float
    runs: int
    hardware: str
    load: float
    finished: str
    commit: str
    batch: int = 1

    @property
    def fps(self) -> float:
        """Frames per second."""
        return 1000 / self.mean


def wait_until_quiet(most: float = 180.0) -> float:
    """Wait until what ran before, our own last measurement too, has left the load average, at most so many seconds; the load."""
    end = time.monotonic() + most
    while too_busy(load := os.getloadavg()[0]) and time.monotonic() < end:
        time.sleep(2)
    return load


class Timed(Protocol):
    """What an order is decided from."""

    mean: float
    sd: float
    runs: int
    hardware: str
    load: float


class NotMeasured(Exception):
    """A time is asked for that is not kept, where nothing may be measured."""


@dataclass
class _Asked:
    """How times are taken in a block, and the keys of those that were: "kept": only kept ones; "anew": measured here, once."""

    how: str
    keys: list[str] = field(default_factory=list)


_asked: ContextVar[_Asked | None] = ContextVar("_asked", default=None)


@contextmanager
def _asking(how: str) -> Iterator[_Asked]:
    token = _asked.set(_Asked(how))
    try:
        yield _asked.get()
    finally:
        _asked.reset(token)


def is_known(measure: Callable[[], object]) -> bool:
    """Would ``measure`` find all its times kept?"""
    with _asking("kept"):
        try:
            measure()
        except NotMeasured:
            return False
    return True


@contextmanager
def anew() -> Iterator[None]:
    """In this block every time is measured on this machine, once, whatever is kept."""
    with _asking("anew"):
        yield


def too_busy(load: float) -> bool:
    """Did the machine do so much else that its times are no measurement? By the load average when it began."""
    return load > 1 + max(0.5, cores() / 4)  # of which 1 is our own: what else ran took turns with it, or its caches


def timed(workspace: Workspace, passes: Iterable[Pass], *, device: str, runs: int | None = None) -> dict[str, Timing]:
    """Times of all passes, by name; measured together where they are not kept."""
    passes, runs = list(passes), runs or RUNS[device]
    cache, code = workspace.build.parent / "timing.json", code_fingerprint(_CODE)
    stamp = {"code": code, "versions": versions(), "hardware": hardware(device)}
    key, asked = json.dumps([[asdict(one) for one in passes], runs, device], sort_keys=True), _asked.get() or _Asked("")
    with locked(cache.with_name(".timing.lock")):
        own = _kept(cache, stamp)
        found = own.get(key)
        if found is None and not anew_asked():
            found = _committed(workspace, code).get(key)
        if asked.how == "anew" and key not in asked.keys:
            found = None
        asked.keys.append(key)
        if found is None:
            if asked.how == "kept":
                raise NotMeasured
            own[key] = found = [asdict(one) for one in _measured(workspace, passes, runs, device, code)]
            write_json(cache, {"stamp": stamp, "found": own})
    return {one["name"]: Timing(**one) for one in found}


def _measured(workspace: Workspace, passes: list[Pass], runs: int, device: str, code: str) -> list[Timing]:
    built = {one.name: (_built(one), (one.batch, one.frames, one.size)) for one in passes}
    load, began = os.getloadavg()[0], time.perf_counter()
    found = times_in_turn(built, runs=runs, device=device)
    source = collect(workspace.root, "none: black clips", time.perf_counter() - began, code)
    return [Timing(one.name, one.frames, one.size, found[one.name].ms_per_frame, found[one.name].sd, runs,
                   found[one.name].hardware, round(load, 1), source.finished, source.commit, one.batch) for one in passes]


def _shelf(workspace: Workspace) -> Path:
    return workspace.root / "results" / workspace.build.name / "times.json"


def _committed(workspace: Workspace, code: str) -> dict[str, list[dict]]:
    """Committed times of today's code and versions, of whatever machine."""
    path = _shelf(workspace)
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return kept["found"] if (kept.get("code"), kept.get("versions")) == (code, versions()) else {}


def keep_times(workspace: Workspace, measures: Mapping[str, Callable[[], object]]
               ) -> dict[str, tuple[bool | None, str]]:
    """Commit this machine's own times, those of a quiet machine: ``results/<profile>/times.json``.

    Committed times that this machine has not measured stay, while code and versions are the same; what no page asks for goes.

    Args:
        workspace: the profile's folders.
        measures: what measures the times of each page.

    Returns:
        by page: was anything written (None: its times, or newer ones, are not kept)?; why not.
    """
    code, out = code_fingerprint(_CODE), {}
    own = json.loads(cache.read_text(encoding="utf-8")) if (cache := workspace.build.parent / "timing.json").is_file() else {}
    fits = (own.get("stamp", {}).get("code"), own.get("stamp", {}).get("versions")) == (code, versions())
    before, kept = _committed(workspace, code), {}
    for page, times in measures.items():
        with _asking("kept") as asked:
            try:
                times()
            except NotMeasured:
                out[page] = None, "not measured; `echolib times` does"
                continue
        out[page] = False, ""
        for key in asked.keys:
            new = own["found"].get(key) if fits else None
            load = max(one["load"] for one in new) if new else 0.0
            if new and too_busy(load):
                out[page] = None, f"the machine was busy (load {load:g}); `echolib times` measures anew"
            elif new and new != before.get(key):
                out[page] = True, ""
            found = before.get(key) if new is None or too_busy(load) else new
            if found is not None:
                kept[key] = found
    if kept:
        write_json(_shelf(workspace), {"code": code, "versions": versions(), "found": kept})
    return out


def counted(workspace: Workspace, passes: Iterable[Pass]) -> dict[str, Complexity]:
    """Parameters and operations of all passes, by name; counted where they are not kept."""
    cache = workspace.build.parent / "counted.json"
    stamp, out = {"code": code_fingerprint(_CODE), "versions": versions()}, {}
    with locked(cache.with_name(".counted.lock")):
        known = _kept(cache, stamp)
        for one in passes:
            frames = one.counted or one.frames
            key = json.dumps([one.model, one.built or one.frames, frames, one.size, dict(one.options)], sort_keys=True)
            if key not in known:
                known[key] = asdict(_count(one, frames))
                write_json(cache, {"stamp": stamp, "found": known})
            whole = one.frames / frames
            each = Complexity(**known[key])
            out[one.name] = Complexity(each.parameters, each.gflops * whole, each.gflops_per_frame)
    return out


def _count(one: Pass, frames: int) -> Complexity:
    """Counted directly, or where the frames are larger than :data:`COUNTED_PX` from these."""
    if one.size <= max(COUNTED_PX):
        return measure(_built(one), frames, one.size)
    model = models.build(one.model, frames=one.built or one.frames, size=max(COUNTED_PX), seed=0, options=one.options)
    found = [measure(model, frames, px) for px in COUNTED_PX]
    total = sum(each.gflops * math.prod((one.size - other) / (px - other) for other in COUNTED_PX if other != px)
                for each, px in zip(found, COUNTED_PX, strict=True))
    return Complexity(found[0].parameters, total, total / frames)


def _kept(cache, stamp: dict) -> dict:
    known = json.loads(cache.read_text(encoding="utf-8")) if cache.is_file() else {}
    return known["found"] if known.get("stamp") == stamp else {}


def _built(one: Pass):
    return models.build(one.model, frames=one.built or one.frames, size=one.size, seed=0, options=one.options)


def printed_verdict(published: float, ours: float, decimals: int, note: str = "") -> Verdict:
    """Compare a count with the printed one, whether its further digits were rounded or cut off."""
    verdict = count_verdict(published, ours, decimals)
    if verdict.status == "differs" and round(math.floor(ours * 10 ** decimals) / 10 ** decimals, decimals) == published:
        return Verdict("exact", f"counted {ours:.{decimals + 2}f}, printed {published:.{decimals}f}: cut off, not rounded")
    return Verdict(verdict.status, verdict.why + (f": {note}" if note and verdict.status == "differs" else ""))


def faster_verdict(faster: Timed, slower: Timed) -> Verdict:
    """Is ``faster`` faster than ``slower``? Welch's t-test over the runs, p < 0.05, at least :data:`MIN_RUNS` runs of each."""
    where = faster.hardware if faster.hardware == slower.hardware else f"{faster.hardware} and {slower.hardware}"
    seen = f"{faster.mean:.3g} against {slower.mean:.3g} ms per frame on {where}"
    if min(faster.runs, slower.runs) < MIN_RUNS:
        return Verdict("undecided", f"{seen}; at least {MIN_RUNS} timed runs are needed")
    load = max(faster.load, slower.load)
    if too_busy(load):
        return Verdict("undecided", f"{seen}; the machine was busy (load {load:g} on {cores()} cores)")
    p = float(ttest_ind_from_stats(faster.mean, faster.sd, faster.runs, slower.mean, slower.sd, slower.runs,
                                   equal_var=False).pvalue)
    if not p < 0.05:
        return Verdict("undecided", f"{seen}; Welch's t-test over {faster.runs} runs p = {p:.2g}")
    status = "holds" if faster.mean < slower.mean else "does not hold"
    return Verdict(status, f"{seen}, {max(faster.mean, slower.mean) / min(faster.mean, slower.mean):.1f} times; "
                           f"Welch's t-test over {faster.runs} runs p = {p:.2g}")


def interval(t: Timed) -> tuple[float, float]:
    """95 % t-interval of the mean over the runs; NaN for a single run."""
    if t.runs < 2:
        return math.nan, math.nan
    half = float(student.ppf(0.975, t.runs - 1)) * t.sd / math.sqrt(t.runs)
    return t.mean - half, t.mean + half


def footer(timings: Iterable[Timing]) -> dict[str, str]:
    """Where times come from, as items of a footer."""
    found = list(timings)
    return {"Hardware": "; ".join(sorted({t.hardware for t in found})),
            "Timed runs": f"{found[0].runs} rounds in turn, after one to warm up",
            "Networks": "published width, random weights, float32, black clips already on the device",
            "Load average at the start": ", ".join(sorted({f"{t.load:g}" for t in found})),
            "Commit": ", ".join(sorted({short(t.commit) for t in found})), "Finished": max(t.finished for t in found)}
