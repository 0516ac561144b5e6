"""Figures and tables of the page on Table 3: Dice by phase, what each reading changes, and what another data set looks like."""

from __future__ import annotations

import html

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure

from echolib import plots, published
from echolib.config import Profile
from echolib.evaluation.evaluation import Picture
from echolib.ledger import examples
from echolib.ledger.ledger import Ledger
from echolib.pages.experiment import Options
from echolib.pages.html import html_table
from echolib.papers.simlvseg.table3 import (
    COLUMNS,
    PUBLISHED,
    READINGS,
    WITH,
    WITHOUT,
    Estimate,
    Results,
    estimates,
    groups,
    readings_of,
    shifted,
)
from echolib.plots import COLOURS, overlay

#: Marker faces: hollow without pre-training, filled with it.
_FILLED = {WITHOUT: False, WITH: True}
_PHASES = {"dsc_overall": "all frames", "dsc_middle": "middle", "dsc_es": "ES", "dsc_ed": "ED"}


def phase_figure(cells: pd.DataFrame, data: str) -> Figure:
    """Dice by phase with intervals: published on the left, ours on the right, each with its own scale.

    Args:
        cells: from :func:`echolib.papers.simlvseg.table3.cells`.
        data: what ours was measured on.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.4), layout="constrained")
    sides = ((("published", "published_low", "published_high"), "published, CAMUS", COLOURS["published"]),
             (("ours", "low", "high"), f"this machine, {data}", COLOURS["here"]))
    for axis, (names, title, colour) in zip(axes, sides, strict=True):
        for shift, (group, filled) in zip((-0.19, 0.19), _FILLED.items(), strict=True):
            part = cells[cells.row == group].set_index("column").loc[list(_PHASES), list(names)].to_numpy(float).T
            _points(axis, np.arange(len(_PHASES)) + shift, part, colour, filled, group)
        axis.set_xticks(range(len(_PHASES)), list(_PHASES.values()))
        axis.set(ylabel="Dice (%)", xlim=(-0.5, len(_PHASES) - 0.5))
        axis.margins(y=0.18)
        axis.grid(axis="y", color="#dddddd", lw=0.6)
        axis.set_title(f"{title}\n95 % intervals" + (" as printed" if names[0] == "published" else ""), fontsize=9, loc="left",
                       color=colour)
    axes[0].legend(frameon=False, fontsize=8, loc="upper left")
    return figure


def _points(axis: plt.Axes, x: np.ndarray, values: np.ndarray, colour: str, filled: bool, label: str) -> None:
    """Values (3, n): Dice, low, high."""
    axis.vlines(x, values[1], values[2], color=colour, lw=2)
    axis.plot(x, values[0], "o", color=colour, ms=5.5, mfc=colour if filled else "white", label=label)
    for place, (value, high) in zip(x, values[[0, 2]].T, strict=True):
        if np.isfinite(value):
            axis.annotate(f"{value:.2f}", (place, high), (0, 4), textcoords="offset points", ha="center", fontsize=7.5,
                          color=colour)


def readings(results: Results) -> pd.DataFrame:
    """Every reading's overall Dice: columns reading, group, value, low, high (Dice, %), frames, patients."""
    found = [(r.name, group, e) for r in readings_of(results.text) for group, e in estimates(results, r).items()]
    return pd.DataFrame([{"reading": name, "group": group, "value": e.value, "low": e.low, "high": e.high, "frames": e.frames,
                          "patients": e.patients} for name, group, e in found])


def readings_html(table: pd.DataFrame) -> str:
    """:func:`readings` as an HTML table, with the width of the pre-trained network's interval."""
    rows = []
    for name, part in table.groupby("reading", sort=False):
        by = part.set_index("group")
        one, two, gain = (by.loc[g] for g in (WITHOUT, WITH, "gain"))
        rows.append((html.escape(name), _cell(one), _cell(two), f"{two.high - two.low:.2f}", _cell(gain, sign="+"),
                     f"{one.frames:,} <small>({one.patients} patients)</small>"))
    caption = "The same predictions, or the same networks on clips prepared otherwise: overall Dice, %"
    return html_table(caption, ("Reading", html.escape(WITHOUT), html.escape(WITH), "Width of its interval", "Pre-training adds",
                                "Frames"), rows)


def _cell(row: pd.Series, sign: str = "") -> str:
    ends = f" <small>({row.low:{sign}.2f} to {row.high:{sign}.2f})</small>" if np.isfinite(row.low) else ""
    return f"{row.value:{sign}.2f}{ends}"


def readings_figure(table: pd.DataFrame) -> Figure:
    """:func:`readings` as points with intervals, the text's reading on top."""
    names = list(dict.fromkeys(table.reading))
    figure, axis = plt.subplots(figsize=(8.6, 0.42 * len(names) + 0.9), layout="constrained")
    for shift, (group, filled) in zip((-0.13, 0.13), _FILLED.items(), strict=True):
        part = table[table.group == group].set_index("reading").loc[names]
        y = np.arange(len(names)) + shift
        axis.hlines(y, part.low, part.high, color=COLOURS["here"], lw=2)
        axis.plot(part.value, y, "o", color=COLOURS["here"], ms=5.5, mfc=COLOURS["here"] if filled else "white", label=group)
        axis.axvline(part.value.iloc[0], color="#bbbbbb", lw=0.8, ls="-" if filled else ":", zorder=0)
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel="Dice (%)", ylim=(len(names) - 0.5, -0.5))
    axis.grid(axis="x", color="#dddddd", lw=0.6)
    axis.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure


def printed_widths() -> str:
    """What the widths of the printed intervals say about which frames they rest on, as a sentence."""
    table = published.load(PUBLISHED)
    width = (table.hi - table.lo).groupby(table.frame).mean()
    ratio = float((width["middle"] / width["overall"]) ** 2)
    es, ed = (float((width["middle"] / width[end]) ** 2) for end in ("es", "ed"))
    return (f"An interval that resamples frames narrows with the root of their number. The printed ones are "
            f"{width['middle'] / width['overall']:.1f} times as wide for the middle as overall, so if the spread is alike, "
            f"“overall” has some {ratio:.0f} times as many frames: all of a half cycle; and the middle is one frame, "
            f"as ES and ED are (the same reckoning gives {es:.1f} and {ed:.1f} times as many there).")


def drop_html(ledger: Ledger, results: Results, options: Options) -> str:
    """The same networks on the test split of their own kind of data and on half cycles: ED and ES frames, both measured here."""
    rows = []
    profile = ledger.workspace.profile
    found = [groups(profile, seed, options) for seed in profile.seeds]
    for group in found[0]:
        runs = [of[group] for of in found]
        inside = 100 * np.mean([ledger.scores(run).dice.mean() for run in runs])
        outside = {phase: estimates(results, phase=phase)[group].value for phase in ("ED", "ES")}
        ends = estimates(results, next(r for r in READINGS if r.ends and not r.frames))[group]
        rows.append((html.escape(group), f"{inside:.2f}", _estimate(ends), f"{ends.value - inside:+.2f}",
                     *(f"{v:.2f}" for v in outside.values())))
    caption = "Dice of ED and ES frames, %, on the test split that resembles the training data, and on half cycles"
    head = ("Network", "Own test split", "Half cycles", "Difference, points", "of these ED", "of these ES")
    return html_table(caption, head, rows)


def _estimate(e: Estimate) -> str:
    return f"{e.value:.2f} <small>({e.low:.2f}–{e.high:.2f})</small>"


def shift_figure(ledger: Ledger, results: Results, options: Options) -> tuple[Figure, str]:
    """One clip of each data set as the network sees it, ED and ES, with its masks, and the grey levels of both cohorts.

    The studies are those of median Dice, so neither is picked by hand. Returns the figure and a text that stands for it.
    """
    videos, cycles = ledger.evaluate(shifted(ledger.workspace.profile, options))
    pictures, levels, dice = [], [], []
    for evaluation, table in ((videos, ledger.scores(videos.record.spec.run)), (cycles, results.tables(WITH)[0])):
        study, score = _median(table)
        frame = table[table.study == study].drop_duplicates("phase").set_index("phase").frame
        found = examples.require(ledger, evaluation, cases := [(study, int(frame[phase])) for phase in ("ED", "ES")], levels=True)
        pictures += [_drawn(found.pictures[case]) for case in cases]
        levels.append(found.levels)
        dice.append(score)
    figure, axes = plt.subplots(1, 5, figsize=(8.6, 1.75), width_ratios=(1, 1, 1, 1, 1.3), layout="constrained")
    titles = [f"{kind}, {phase}" for kind in ("EchoNet style", "CAMUS style") for phase in ("ED", "ES")]
    for axis, picture, title in zip(axes, pictures, titles, strict=False):
        axis.imshow(picture, interpolation="nearest")
        axis.set_title(title, fontsize=8)
        axis.axis("off")
    lines = ((COLOURS["published"], "EchoNet style"), (COLOURS["other"], "CAMUS style"))
    for share, (colour, label) in zip(levels, lines, strict=True):
        axes[4].plot(np.arange(4, 256, 8), 100 * share.reshape(32, 8).sum(1), color=colour, lw=1.5, label=label)
    axes[4].set(xlabel="grey level", ylabel="% of pixels", yscale="log")
    axes[4].legend(frameon=False, fontsize=7)
    return figure, (f"Two frames of a clip in EchoNet-Dynamic's style, mean Dice {dice[0]:.2f}, and two of a half cycle in "
                    f"CAMUS' style, mean Dice {dice[1]:.2f}, with predicted and labelled contours; on the right the share of "
                    "pixels at each grey level in both cohorts")


def shift_shown(ledger: Ledger, results: Results, options: Options) -> HTML:
    """:func:`shift_figure` for the page."""
    figure, alt = shift_figure(ledger, results, options)
    return plots.show(figure, "What the network sees of each kind of data: ED and ES of the study of median Dice, prediction in "
                      "blue, label in orange, and the grey levels of both cohorts. SimLVSeg-3D, first seed.", alt)


def _median(table: pd.DataFrame) -> tuple[str, float]:
    """The study of median Dice (mean over its frames), the lower of the two middle ones, and its Dice."""
    ordered = table.groupby("study").dice.mean().sort_values(kind="stable")
    place = (len(ordered) - 1) // 2
    return str(ordered.index[place]), float(ordered.iloc[place])


def _drawn(picture: Picture) -> np.ndarray:
    labelled = None if picture.exact is None else picture.exact[None]
    return overlay(picture.picture[None, ..., None], picture.mask[None], labelled)[0]


def described(profile: Profile) -> str:
    """What ours was measured on."""
    if profile.camus is None:
        return "nothing: the profile has no CAMUS cohort"
    return "CAMUS" if profile.camus.phantom is None and profile.echonet.phantom is None else f"phantoms ({profile.name})"


def numbers(cells: pd.DataFrame) -> pd.DataFrame:
    """What the figure by phase draws, for download."""
    words = {column: phase for column, phase in COLUMNS.values()}
    return cells.assign(frames=cells.column.map(words)).drop(columns=["column", "why"]).round(4)
