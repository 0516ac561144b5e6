"""Table 2 and Figure 7: operations, parameters and frames per second, side by side in one run."""

from __future__ import annotations

import html
from dataclasses import asdict

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import HTML
from matplotlib.figure import Figure
from pydantic import Field

from echolib import published
from echolib.config.profile import Profile
from echolib.evaluation.complexity import Complexity
from echolib.ledger.ledger import Ledger
from echolib.pages.experiment import Experiment, Needs, Options
from echolib.pages.html import html_table
from echolib.pages.quantities import estimate
from echolib.pages.scorecard import Cell
from echolib.pages.timing import RUNS, Pass, Timing, counted, faster_verdict, interval, printed_verdict, timed
from echolib.pages.verdict import Verdict
from echolib.papers.pkecho import table1
from echolib.papers.pkecho.runs import CLIP
from echolib.papers.pkecho.table1 import OTHERS, OURS, QUANTITIES, on
from echolib.plots import COLOURS

PUBLISHED = "pkecho_table2_efficiency"
#: Frames of the printed counts are of this size, px.
PRINTED_PX = 320
#: Published row -> name here.
ROWS = {f"PKEcho-Net ResNet-{depth}": name for depth, name in OURS.items()} | {"SSCF": "SSCF"}
#: Column -> decimals as printed.
COUNTS = {"gflops": 0, "params_m": 1}
HEADINGS = {"gflops": ("GFLOPs a clip of 10 frames", 1), "params_m": ("Parameters, M", 2), "fps": ("Frames per second", 1)}
LEGEND = ("First line, bold: published; frames per second on one RTX 3090. Second line, blue: counted here at full width on "
          "frames of 320 px; frames per second measured on the machine named below, 95 % interval over the rounds.")
SSCF_NOTE = "ten windows of three frames of the released form; neither printed count belongs to a form that is published"
#: (claim, faster, slower).
CLAIMS = tuple((f"{OURS[18]} is faster than {name}", OURS[18], name) for name in (OURS[34], OURS[50], "SSCF", "nnU-Net")) + (
    (f"{OURS[34]} is faster than {OURS[50]}", OURS[34], OURS[50]), (f"{OURS[50]} is faster than SSCF", OURS[50], "SSCF"))


class Table2Options(Options):
    """The frames on which time is measured, and how often."""

    size: int | None = Field(None, ge=64, le=640, multiple_of=32, description="a multiple of 32 from 64 to 640, px")
    runs: int | None = Field(None, ge=1, le=10_000, description="a whole number from 1 to 10,000")


def passes(size: int, released: bool = False) -> list[Pass]:
    """A clip of ten frames through each network; the 3D U-Net takes multiples of sixteen.

    Args:
        size: of a frame, px.
        released: SSCF forms the kernel of every sample, as its program does; the package's way to the same result is shorter.
    """
    return [*(Pass(name, f"pkecho_r{depth}", CLIP.frames, size) for depth, name in OURS.items()),
            Pass("SSCF", "sscf", CLIP.frames, size, {"explicit": True} if released else {}, built=3, counted=1),
            Pass("nnU-Net", "nnunet2d", CLIP.frames, size, built=1, counted=1),
            Pass("SimLVSeg-3D", "unet3d", 16, size)]


def size_of(profile: Profile, options: Options) -> int:
    """Frames on which time is measured, px."""
    return options.size or (profile.pkecho.timed_px if profile.pkecho else PRINTED_PX)


def counts(ledger: Ledger) -> dict[str, Complexity]:
    """Parameters and operations on frames of 320 px."""
    return counted(ledger.workspace, passes(PRINTED_PX, released=True))


def times(ledger: Ledger, options: Options) -> dict[str, Timing]:
    """Times of a pass, on the GPU where there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return timed(ledger.workspace, passes(size_of(ledger.workspace.profile, options)), device=device,
                 runs=options.runs or RUNS[device])


def cells(ledger: Ledger, options: Options) -> pd.DataFrame:
    """Every published cell with its status."""
    found, clock, out = counts(ledger), times(ledger, options), []
    for entry in published.load(PUBLISHED).to_dict("records"):
        name, row = ROWS.get(entry["method"]), entry["method"]
        for column in HEADINGS:
            printed = (row, column, float(entry[column]), np.nan, np.nan)
            if name is None:
                verdict, ours = Verdict("as published", "another group's program, not run here"), (np.nan,) * 3
            elif column == "fps":
                one = clock[name]
                low, high = interval(one)
                ours = one.fps, 1000 / high, 1000 / low if low > 0 else np.nan
                verdict = Verdict("undecided", f"another device: published on {entry['note']}, here {one.size} px on "
                                               f"{one.hardware}; only the order can be compared")
            else:
                value = found[name].gflops if column == "gflops" else found[name].parameters / 1e6
                ours = value, np.nan, np.nan
                verdict = printed_verdict(printed[2], value, COUNTS[column], SSCF_NOTE if name == "SSCF" else "")
            out.append(Cell(*printed, *ours, **asdict(verdict)))
    return pd.DataFrame(out)


def claims(ledger: Ledger, options: Options) -> pd.DataFrame:
    """The claimed order, from the measurement."""
    clock = times(ledger, options)
    verdicts = [(text, faster_verdict(clock[faster], clock[slower])) for text, faster, slower in CLAIMS]
    return pd.DataFrame([{"claim": text, "status": v.status, "why": v.why} for text, v in verdicts])


def table_html(ledger: Ledger, options: Options) -> HTML:
    """Every network that this book has: counts on the paper's frames, counts a frame, and time."""
    found, clock = counts(ledger), times(ledger, options)
    rows = [(html.escape(name), f"{c.gflops:.1f}", f"{c.gflops_per_frame:.2f}", f"{c.parameters / 1e6:.2f}",
             f"{clock[name].mean:.3g} <small>(sd {clock[name].sd:.2g})</small>", f"{clock[name].fps:.1f}")
            for name, c in found.items()]
    first = next(iter(clock.values()))
    caption = (f"Counts on frames of {PRINTED_PX} px; time of a forward pass over one clip of {first.size} px, {first.runs} "
               f"rounds in turn on {first.hardware}. SimLVSeg-3D: 16 frames, all others 10")
    return HTML(html_table(caption, ("Network", "GFLOPs a clip", "GFLOPs a frame", "Parameters, M", "ms a frame",
                                     "Frames per second"), rows, "echo-table echo-sortable"))


def trade(ledger: Ledger, options: Options) -> pd.DataFrame:
    """Dice on CAMUS against frames per second, published and ours: columns name, side, fps, dice, low, high, params_m."""
    out, clock, sizes = [], times(ledger, options), counts(ledger)
    accuracy = published.load("pkecho_table1").query("dataset == 'CAMUS'")
    for entry in published.load(PUBLISHED).to_dict("records"):
        method, _, backbone = entry["method"].partition(" ")
        same = accuracy[(accuracy.method == method) & ((accuracy.backbone == backbone) | (backbone == ""))]
        out.append({"name": ROWS.get(entry["method"], method), "side": "published", "fps": entry["fps"],
                    "dice": float(same.dsc.iloc[0]), "low": np.nan, "high": np.nan, "params_m": entry["params_m"]})
    results = table1.load(ledger, table1.Table1Options(datasets=("CAMUS",)))
    for name in (*OURS.values(), *OTHERS):
        if on(name, "CAMUS") in results and name in clock:
            group = [e.tables for e in results[on(name, "CAMUS")]]
            dice = estimate(group, QUANTITIES["dsc"], ledger.workspace.profile.bootstrap)
            out.append({"name": name, "side": "ours", "fps": clock[name].fps, "dice": dice.value, "low": dice.low,
                        "high": dice.high, "params_m": sizes[name].parameters / 1e6})
    return pd.DataFrame(out)


def trade_figure(table: pd.DataFrame, data: str) -> Figure:
    """Figure 7: Dice against frames per second; the area of a bubble is the number of parameters."""
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.6), layout="constrained")
    for axis, side, title, colour in zip(axes, ("published", "ours"), ("published, CAMUS, one RTX 3090", f"this book, {data}"),
                                         (COLOURS["published"], COLOURS["here"]), strict=True):
        part = table[table.side == side].sort_values("fps")
        axis.scatter(part.fps, part.dice, s=6 * part.params_m + 8, color=colour, alpha=0.4, edgecolor=colour)
        axis.vlines(part.fps, part.low, part.high, color=colour, lw=1)
        for place, row in enumerate(part.itertuples()):
            axis.annotate(row.name, (row.fps, row.dice), (0, 10 if place % 2 else -10), textcoords="offset points", ha="center",
                          va="bottom" if place % 2 else "top", fontsize=7.5)
        axis.set_title(title, fontsize=9, loc="left", color=colour)
        axis.set(xlabel="frames per second", ylabel="Dice (%)")
        axis.margins(0.2)
    return figure


def _more(profile: Profile, options: Options) -> Needs:
    """The Dice of Figure 7."""
    own = table1.TABLE1.turned({"datasets": ("CAMUS",)})
    return own.needs(profile)


TABLE2 = Experiment(id="pkecho_table2", number="Table 2", place=3, title="Operations, parameters and time", published=PUBLISHED,
                    notebook="pkecho_table2", measure=cells, judge=claims, more=_more, headings=HEADINGS,
                    options=Table2Options(), times=times)
FIGURE7 = Experiment(id="pkecho_figure7", number="Figure 7", place=3, title="Dice against speed", published=PUBLISHED,
                     notebook="pkecho_table2", draws="pkecho_table2", options=Table2Options(), times=times)

PAGES = (TABLE2, FIGURE7)
