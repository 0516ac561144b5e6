"""Table 5, more frames and encoders, and Table 7: operations, parameters and time, side by side in one run."""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import asdict
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import HTML
from matplotlib.figure import Figure
from pydantic import Field

from echolib import published
from echolib.config.profile import Profile
from echolib.config.specs import RunSpec, SubsetSpec
from echolib.evaluation.complexity import Complexity
from echolib.ledger.ledger import Ledger
from echolib.pages.experiment import Claim, Experiment, Groups, Options, SeedOptions
from echolib.pages.html import html_table
from echolib.pages.quantities import estimate
from echolib.pages.scorecard import Cell
from echolib.pages.timing import RUNS, Pass, Timing, counted, faster_verdict, interval, printed_verdict, timed
from echolib.pages.verdict import Verdict
from echolib.papers.sscf.folds import HEADINGS as MEASURED
from echolib.papers.sscf.folds import QUANTITIES, asked_row, compared, joined, judged, laid_out, load, on, published_cells, tested
from echolib.papers.sscf.runs import DATASETS, data_of, sscf_run
from echolib.plots import COLOURS

PUBLISHED, EFFICIENCY = "sscf_table5_encoders", "sscf_table7_efficiency"
#: Windows of the table.
FRAMES = (1, 3, 5, 7, 9, 11)
#: Frames of the published counts and times, px.
PRINTED_PX = 256
HEADINGS = MEASURED | {"ms_per_frame": ("ms a frame", 1)}
COUNTS = {"gflops": 3, "params_m": 3}
EFFICIENCY_HEADINGS = {"gflops": ("GFLOPs a window", 3), "params_m": ("Parameters, M", 3), "ms_per_frame": ("ms a frame", 1)}
LEGEND = ("First line, bold: published, on one RTX 2080 Ti. Second line, blue: the released network, counted on a window of "
          "256 px and timed on the machine named below, 95 % interval over the rounds.")
NOTE = "the released network; no combination of published parts gives both printed counts"


class Table5Options(SeedOptions):
    """Which windows, and how time is measured."""

    frames: tuple[int, ...] | None = Field(None, description="a list of different odd numbers from 1 to 11")
    size: int | None = Field(None, ge=64, le=512, multiple_of=16, description="a multiple of 16 from 64 to 512, px")
    runs: int | None = Field(None, ge=1, le=10_000, description="a whole number from 1 to 10,000")

    def applied(self, profile: Profile) -> Profile:
        """The profile with other windows."""
        profile = super().applied(profile)
        if self.frames is None or profile.sscf is None:
            return profile
        return profile.model_copy(update={"sscf": profile.sscf.model_copy(update={"frames": self.frames})})


def window(count: int) -> str:
    """The group of a window."""
    return f"k = {count}"


def run(profile: Profile, name: str, dataset: str, seed: int, subset: SubsetSpec) -> RunSpec:
    """The run of a window on one fold; the paper's k = 1 is the baseline, one encoder of three stacked frames."""
    count, data = int(name.rpartition(" ")[2]), data_of(profile, dataset)
    if count == 1:
        return sscf_run(profile, "baseline", seed=seed, data=data, subset=subset)
    return sscf_run(profile, "full", seed=seed, data=data, subset=subset, frames=count)


def groups(profile: Profile, seed: int, options: Options) -> Groups:
    """One seed's runs by group and fold."""
    return laid_out(profile, seed, [window(k) for k in (profile.sscf.frames if profile.sscf else ())], run)


def frames_of(profile: Profile) -> tuple[int, ...]:
    """Windows that a profile runs; the paper's own is always counted and timed."""
    return tuple(sorted({3, *(profile.sscf.frames if profile.sscf else ())}))


def passes(size: int, frames: Iterable[int], explicit: bool = False) -> list[Pass]:
    """One frame through each network: the middle one of its window.

    Args:
        size: of a frame, px.
        frames: windows.
        explicit: the released way of calibration, which forms the kernel of every sample; the package's takes fewer operations.
    """
    options = {"explicit": True} if explicit else {}
    return [*(Pass(window(k), "sscf_base", 1, size, built=3) if k == 1 else Pass(window(k), "sscf", 1, size, options, built=k)
              for k in frames), Pass("DeepLabV3", "deeplabv3_r50", 1, size), Pass("nnU-Net", "nnunet2d", 1, size)]


def counts(ledger: Ledger, explicit: bool = True) -> dict[str, Complexity]:
    """Parameters and operations of a window of 256 px."""
    return counted(ledger.workspace, passes(PRINTED_PX, frames_of(ledger.workspace.profile), explicit))


def times(ledger: Ledger, options: Options) -> dict[str, Timing]:
    """Times of a pass, on the GPU where there is one."""
    profile, device = ledger.workspace.profile, "cuda" if torch.cuda.is_available() else "cpu"
    size = getattr(options, "size", None) or (profile.sscf.timed_px if profile.sscf else PRINTED_PX)
    runs = getattr(options, "runs", None) or RUNS[device]
    return timed(ledger.workspace, passes(size, frames_of(profile)), device=device, runs=runs)


def measured_cells(ledger: Ledger, options: Options) -> pd.DataFrame:
    """Table 5: every published cell with its status."""
    profile, clock = ledger.workspace.profile, times(ledger, options)
    ran, rows, more = groups(profile, profile.seeds[0], options), [], []
    for entry in published.load(PUBLISHED).to_dict("records"):
        name, row = window(entry["k"]), f"k = {entry['k']}, {entry['dataset']}"
        note = "k = 1 is the baseline" if entry["k"] == 1 else ""
        rows.append(asked_row(profile, entry, name, entry["dataset"], ran, mine=True, note=note, row=row))
        more.append(_time_cell(row, entry["ms_per_frame"], clock.get(name), profile))
    return pd.concat([published_cells(ledger, rows, EVALUATIONS(profile, options)), pd.DataFrame(more)], ignore_index=True)


def _time_cell(row: str, printed: float, ours: Timing | None, profile: Profile) -> Cell:
    if ours is None:
        verdict = Verdict("not run", f"not among the windows that profile {profile.name!r} runs")
        return Cell(row, "ms_per_frame", float(printed), *[np.nan] * 5, **asdict(verdict))
    why = f"another device: published on one RTX 2080 Ti, here {ours.size} px on {ours.hardware}; only the order can be compared"
    return Cell(row, "ms_per_frame", float(printed), np.nan, np.nan, ours.mean, *interval(ours), "undecided", why)


def efficiency_cells(ledger: Ledger, options: Options) -> pd.DataFrame:
    """Table 7: every published cell with its status."""
    found, clock, out = counts(ledger)[window(3)], times(ledger, options)[window(3)], []
    for entry in published.load(EFFICIENCY).to_dict("records"):
        for column, value in (("gflops", found.gflops), ("params_m", found.parameters / 1e6), ("ms_per_frame", clock.mean)):
            printed = (entry["method"], column, float(entry[column]), np.nan, np.nan)
            if entry["method"] != "SSCF":
                verdict = Verdict("as published", "another group's program, not run here")
                out.append(Cell(*printed, np.nan, np.nan, np.nan, **asdict(verdict)))
            elif column == "ms_per_frame":
                out.append(_time_cell("SSCF", printed[2], clock, ledger.workspace.profile))
            else:
                verdict = printed_verdict(printed[2], value, COUNTS[column], NOTE)
                out.append(Cell(*printed, value, np.nan, np.nan, **asdict(verdict)))
    return pd.DataFrame(out)


def _claims() -> tuple[Claim, ...]:
    return tuple(Claim(f"More frames help, k = {more} over {less}, {dataset}", on(window(more), dataset),
                       on(window(less), dataset)) for dataset in DATASETS for less, more in pairwise(FRAMES))


def judged_claims(ledger: Ledger, options: Options) -> pd.DataFrame:
    """Claims about Dice, then about time."""
    found = judged(ledger, _claims(), TABLE5.turned(options.changed))
    clock = times(ledger, options)
    order = [(f"Time grows with the frames: k = {less} is faster than {more}",
              faster_verdict(clock[window(less)], clock[window(more)])) for less, more in pairwise(FRAMES)
             if {window(less), window(more)} <= clock.keys()]
    return pd.concat([found, pd.DataFrame([{"claim": text, "status": v.status, "why": v.why} for text, v in order])],
                     ignore_index=True)


def judged_efficiency(ledger: Ledger, options: Options) -> pd.DataFrame:
    """Is SSCF faster than the frame-wise networks that this book has?"""
    clock = times(ledger, options)
    order = [(f"SSCF is faster than {name}", faster_verdict(clock[window(3)], clock[name]))
             for name in ("DeepLabV3", "nnU-Net")]
    return pd.DataFrame([{"claim": text, "status": v.status, "why": v.why} for text, v in order])


def counts_html(ledger: Ledger, options: Options) -> HTML:
    """Every form and window: operations as released and as the package computes them, parameters, time."""
    explicit, ours, clock = counts(ledger), counts(ledger, explicit=False), times(ledger, options)
    rows = [(html.escape(name), f"{explicit[name].gflops:.2f}", f"{ours[name].gflops:.2f}", f"{one.parameters / 1e6:.3f}",
             f"{clock[name].mean:.3g} <small>(sd {clock[name].sd:.2g})</small>") for name, one in explicit.items()]
    first = next(iter(clock.values()))
    caption = (f"A window of {PRINTED_PX} px; time of one frame of {first.size} px, {first.runs} rounds in turn on "
               f"{first.hardware}")
    head = ("Network", "GFLOPs, as released", "GFLOPs, as computed here", "Parameters, M", "ms a frame")
    return HTML(html_table(caption, head, rows, "echo-table echo-sortable"))


def frames_figure(ledger: Ledger, options: Options, data: str) -> Figure:
    """Dice over the number of frames, published and ours, and time over the number of frames."""
    profile, table = ledger.workspace.profile, published.load(PUBLISHED)
    found = joined(load(ledger, EVALUATIONS(profile, options)))
    clock = times(ledger, options)
    figure, (left, right, last) = plt.subplots(1, 3, figsize=(9.0, 3.0), layout="constrained")
    for dataset, marker in zip(DATASETS, "os", strict=True):
        part = table[table.dataset == dataset]
        left.errorbar(part.k, part.dc, part.dc_sd, marker=marker, ms=4, lw=1, color=COLOURS["published"], capsize=2,
                      label=dataset)
        ours = {k: estimate(found[on(window(k), dataset)], QUANTITIES["dc"], profile.bootstrap) for k in FRAMES
                if on(window(k), dataset) in found}
        if ours:
            right.errorbar(list(ours), [e.value for e in ours.values()],
                           [[e.value - e.low for e in ours.values()], [e.high - e.value for e in ours.values()]], marker=marker,
                           ms=4, lw=1, color=COLOURS["here"], capsize=2, label=dataset)
    run_here = frames_of(profile)
    last.plot(run_here, [clock[window(k)].mean for k in run_here], "o-", ms=4, color=COLOURS["here"], label="this machine")
    part = table[table.dataset == "CAMUS"]
    last.plot(part.k, part.ms_per_frame, "s-", ms=4, color=COLOURS["published"], label="published")
    for axis, title, colour in ((left, "published, ± sd of folds", COLOURS["published"]),
                                (right, f"this book, {data}", COLOURS["here"]), (last, "two devices", COLOURS["other"])):
        axis.set_title(title, fontsize=9, loc="left", color=colour)
        axis.set(xlabel="frames k", xticks=FRAMES)
        if axis.get_legend_handles_labels()[1]:
            axis.legend(frameon=False, fontsize=8)
    left.set_ylabel("Dice (%)")
    last.set_ylabel("ms a frame")
    return figure


EVALUATIONS = tested(groups)
_COMMON = dict(place=4, notebook="sscf_table5", options=Table5Options(), times=times)
TABLE5 = Experiment(id="sscf_table5", number="Table 5", title="More frames, more encoders", published=PUBLISHED, groups=groups,
                    evaluations_of=EVALUATIONS, measure=measured_cells, judge=judged_claims, headings=HEADINGS,
                    compares=lambda profile, options: compared(_claims(), EVALUATIONS(profile, options)), **_COMMON)
TABLE7 = Experiment(id="sscf_table7", number="Table 7", title="Operations, parameters and time", published=EFFICIENCY,
                    measure=efficiency_cells, judge=judged_efficiency, headings=EFFICIENCY_HEADINGS, **_COMMON)

PAGES = (TABLE5, TABLE7)
