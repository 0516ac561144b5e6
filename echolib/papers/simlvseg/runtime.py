"""Time per frame of each network: as published, and measured here once for each state of code, versions and hardware.

A timing belongs to a device: published (NVIDIA RTX 6000) and ours stand in separate panels and are not compared. What can be
compared is the order on one machine: SimLVSeg says that both of its networks are faster than nnU-Net.
"""

from __future__ import annotations

import html
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from pydantic import Field

from echolib import published
from echolib.ledger.counts import PAPER_FRAMES
from echolib.ledger.ledger import Ledger
from echolib.ledger.workspace import Workspace
from echolib.pages.experiment import Experiment, Options
from echolib.pages.footer import items_html
from echolib.pages.html import html_table
from echolib.pages.scorecard import Cell, chip, claims_html
from echolib.pages.speed import FOLDER, read_result
from echolib.pages.timing import Pass, Timing, faster_verdict, footer, interval, timed
from echolib.plots import COLOURS

TABLE = "simlvseg_runtime"
#: Method of the published table -> network of ``models.build``.
NETWORKS = {"nnU-Net": "nnunet2d", "SimLVSeg-SI": "si_uniformer_s", "SimLVSeg-3D": "unet3d"}
#: The claim: (text, faster, slower).
CLAIMS = (("SimLVSeg-3D needs less time per frame than nnU-Net", "SimLVSeg-3D", "nnU-Net"),
          ("SimLVSeg-SI needs less time per frame than nnU-Net", "SimLVSeg-SI", "nnU-Net"))
SIZE = 112
#: What the page measures: timed runs on a processor and on a GPU (as in the paper), frames of the batched measurement.
RUNS, GPU_RUNS, FRAMES_AT_ONCE = 3, 1000, 32


#: (method, mode) -> its time; ``mode`` is "one clip" or "N frames at once".
Times = dict[tuple[str, str], Timing]


def measure(workspace: Workspace, *, runs: int, frames_at_once: int, device: str = "cpu") -> Times:
    """Times of every published network at its published width on frames of 112 px, one clip at a time and ``frames_at_once``
    frames at a time, measured side by side and kept (see :func:`~echolib.pages.timing.timed`).

    Args:
        workspace: whose build folder keeps the measurements.
        runs: timed runs of each.
        frames_at_once: frames of the batched measurement, rounded up to whole clips.
        device: "cpu" or "cuda".
    """
    passes = {}
    for method, name in NETWORKS.items():
        frames = PAPER_FRAMES[name]
        for mode, batch in (("one clip", 1), (f"{frames_at_once} frames at once", -(-frames_at_once // frames))):
            passes[method, mode] = Pass(f"{method}, {mode}", name, frames, SIZE, batch=batch)
    found = timed(workspace, passes.values(), device=device, runs=runs)
    return {key: found[one.name] for key, one in passes.items()}


def fitting_device() -> str:
    """The GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def measured_cells(ledger: Ledger, options: Options) -> pd.DataFrame:
    """:func:`cells` from the page's own measurement, for the scorecard."""
    return cells(times(ledger, options))


def judged_claims(ledger: Ledger, options: Options) -> pd.DataFrame:
    """:func:`claims` from the page's own measurement, for the scorecard."""
    return claims(times(ledger, options))


def times(ledger: Ledger, options: Options) -> Times:
    """:func:`measure` with the page's values, on the GPU where there is one."""
    device = fitting_device()
    runs = options.gpu_runs if device == "cuda" else options.runs
    return measure(ledger.workspace, runs=runs, frames_at_once=options.frames_at_once, device=device)


def cells(timings: Times) -> pd.DataFrame:
    """The published cells beside ours (one clip at a time), columns as :class:`~echolib.pages.scorecard.Cell`.

    ``low`` and ``high`` are the 95 % t-interval of our mean over runs; NaN for a single run.
    """
    out = []
    for entry in published.load(TABLE).to_dict("records"):
        ours = timings[entry["method"], "one clip"]
        why = (f"measured on another device: published on {entry['hardware']} ({entry['runs']} runs), "
               f"here on {ours.hardware} ({ours.runs} runs); only the order can be compared")
        out.append(Cell(entry["method"], "ms_per_frame", entry["ms_per_frame"], np.nan, np.nan, ours.mean, *interval(ours),
                        "undecided", why))
    return pd.DataFrame(out)


def claims(timings: Times) -> pd.DataFrame:
    """The claimed order, in each mode, from the measurement: columns claim, status, why."""
    rows = []
    for mode in _modes(timings):
        for text, faster, slower in CLAIMS:
            verdict = faster_verdict(timings[faster, mode], timings[slower, mode])
            rows.append({"claim": f"{text}, {mode}", "status": verdict.status, "why": verdict.why})
    return pd.DataFrame(rows)


def runtime_figure(timings: Times) -> Figure:
    """Published on the left, ours on the right, one panel for each mode: bars with one standard deviation."""
    modes = _modes(timings)
    figure, axes = plt.subplots(1, 1 + len(modes), figsize=(8.6, 2.3), sharey=True, layout="constrained")
    table = published.load(TABLE)
    _bars(axes[0], table.method, table.ms_per_frame, table.ms_sd, COLOURS["published"], f"published,\n{table.hardware[0]}")
    for axis, mode in zip(axes[1:], modes, strict=True):
        part = {method: t for (method, of), t in timings.items() if of == mode}
        _bars(axis, part, [t.mean for t in part.values()], [t.sd for t in part.values()], COLOURS["here"],
              f"here,\n{mode}")
    axes[0].invert_yaxis()
    return figure


def _bars(axis: plt.Axes, names, values, sds, colour: str, title: str) -> None:
    axis.barh(list(names), list(values), xerr=list(sds), color=colour, height=0.55, error_kw={"capsize": 3, "lw": 1.2})
    top = max(v + s for v, s in zip(values, sds, strict=True))
    for row, (value, sd) in enumerate(zip(values, sds, strict=True)):
        axis.text(value + sd + 0.03 * top, row, f"{value:.3g}", va="center", fontsize=8, color=colour)
    axis.set(xlabel="ms per frame", xlim=(0, 1.28 * top))
    axis.set_title(title, fontsize=9, loc="left", color=colour)


def table_html(timings: Times) -> str:
    """Published and measured times as a table, each published cell with its status, and the claims with their verdicts."""
    found = {c.row: c for c in cells(timings).itertuples()}
    rows = []
    for entry in published.load(TABLE).to_dict("records"):
        cell = found[entry["method"]]
        ours = [f"{t.mean:.3g} <small>(sd {t.sd:.2g}, n {t.runs}; {t.batch} × {t.frames} frames)</small>"
                for (method, _), t in timings.items() if method == entry["method"]]
        printed = f"{entry['ms_per_frame']:.2f} <small>(sd {entry['ms_sd']:.2f}, n {entry['runs']})</small>"
        rows.append((html.escape(entry["method"]), printed, chip(cell.status, cell.why), *ours))
    head = ("Network", f"Published, {html.escape(published.load(TABLE).hardware[0])}", "Status",
            *(f"Here, {html.escape(mode)}" for mode in _modes(timings)))
    return html_table("Time per frame in ms, forward pass only. Published and ours are different devices, not to be subtracted",
                      head, rows)


def _modes(timings: Times) -> list[str]:
    return list(dict.fromkeys(mode for _, mode in timings))


def claims_table(timings: Times) -> str:
    """:func:`claims` as an HTML table."""
    return claims_html(claims(timings))


def committed_html(root: Path) -> str:
    """Committed measurements of all networks from ``results/benchmarks``, or a sentence that says there are none yet."""
    paths = sorted((root / FOLDER).glob("runtime_per_frame-*.json"))
    if not paths:
        return "<p>No benchmark of all networks is committed in this checkout yet; <code>make bench</code> writes one.</p>"
    parts = []
    for path in paths:
        result = read_result(path)
        rows = [(html.escape(r.what), f"{r.ours.mean:.3g} {html.escape(r.unit)}", f"{r.ours.sd:.2g}", str(r.ours.n))
                for r in result.rows]
        busy = "; the machine was busy, not to be quoted" if result.busy else ""
        caption = f"Committed benchmark: {result.hardware}, {result.date}{busy}"
        parts.append(html_table(caption, ("What", "Mean", "sd", "Runs"), rows))
    return "".join(parts)


def provenance_html(timings: Times) -> str:
    """The footer: device, load, runs, commit, date."""
    return items_html(footer(timings.values()))


class RunTimeOptions(Options):
    """How often each network is timed, and over how many frames at once."""

    runs: int = Field(RUNS, ge=1, le=10_000, description="a whole number from 1 to 10,000")
    gpu_runs: int = Field(GPU_RUNS, ge=1, le=100_000, description="a whole number from 1 to 100,000")
    frames_at_once: int = Field(FRAMES_AT_ONCE, ge=1, le=4096, description="a whole number from 1 to 4096")


RUN_TIME = Experiment(id="simlvseg_runtime", number="Run time", title="time per frame", place=10, published="simlvseg_runtime",
                      notebook="simlvseg_runtime", measure=measured_cells, judge=judged_claims, options=RunTimeOptions(),
                      times=times)

PAGES = (RUN_TIME,)
