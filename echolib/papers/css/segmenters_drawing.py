"""Figures of the page on segmenters: Dice by kind of frame, what CSS gains where, and masks on frames that nobody traced."""

from __future__ import annotations

import html

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure

from echolib.evaluation.evaluation import Case
from echolib.ledger import examples
from echolib.ledger.evaluations import Evaluation
from echolib.ledger.ledger import Ledger
from echolib.pages.html import html_table
from echolib.papers.css.drawing import cells_as_points, points_figure
from echolib.papers.css.segmenters import gain_table, lengths_spec
from echolib.plots import COLOURS, overlay

KINDS = {"dice ed": "ED", "dice es": "ES", "dice unlabeled": "frames that nobody traced"}


def dice_figure(cells: pd.DataFrame, where: str) -> Figure:
    """Table VI: Dice by kind of frame, published left and ours right."""
    rows = cells.row.nunique()
    figure, axes = plt.subplots(len(KINDS), 2, figsize=(8.6, len(KINDS) * (0.32 * rows + 0.9)), layout="constrained",
                                sharey="row")
    for line, (column, words) in zip(axes, KINDS.items(), strict=True):
        points_figure(line, *(cells_as_points(cells, column, side) for side in ("published", "ours")), where, "Dice (%)")
        for axis, colour in zip(line, (COLOURS["published"], COLOURS["here"]), strict=True):
            axis.set_title(f"{words}: {axis.get_title(loc='left')}", fontsize=9, loc="left", color=colour)
    return figure


def gain_html(found: dict[str, list[Evaluation]]) -> HTML:
    """What each method gains over the supervised one, on traced and on other frames, a number a seed."""
    table, rows = gain_table(found), []
    for name, part in table.groupby("method", sort=False):
        cells = [", ".join(f"{v:.1f}" if np.isfinite(v) else "–" for v in part[c]) for c in ("traced", "untraced")]
        gains = [", ".join(f"{v:+.2f}" if np.isfinite(v) else "–" for v in part[c]) for c in ("gain_traced", "gain_untraced")]
        rows.append((html.escape(name), *cells, *(gains if name != "Supervised" else ("–", "–"))))
    caption = ("Dice of whole test videos in %, one number a seed, and the gain over the supervised segmenter of the same seed, "
               "in points")
    head = ("Segmenter", "Traced frames", "Frames that nobody traced", "Gain, traced", "Gain, not traced")
    return HTML(html_table(caption, head, rows, "echo-claims"))


def lengths_html(ledger: Ledger) -> HTML:
    """Videos that are too short for the cyclical loss, which is then not asked of them."""
    spec = lengths_spec(ledger.workspace.profile)
    table = ledger.evaluate([spec])[0].tables["splits"].set_index("split")
    train, need = table.loc["train"], (spec.frames - 1) * spec.period + 1
    short = (f"{int(train.short)} are shorter: the loss takes no clip of them; their traced frames are used as all others are."
             if train.short else "none is shorter.")
    return HTML(f"<p>The clip of the cyclical loss has {spec.frames} frames at period {spec.period}, {need} frames of the video. "
                f"Of {int(train.studies)} training videos {short}</p>")


def untraced_figure(ledger: Ledger, found: dict[str, list[Evaluation]], cases: list[Case]) -> Figure:
    """Figure A3: a row for each frame, a column for each segmenter of the first seed; blue: the network, orange: the exact
    mask."""
    figure, axes = plt.subplots(len(cases), len(found), figsize=(1.75 * len(found), 2.0 * len(cases)), squeeze=False)
    for column, (name, group) in enumerate(found.items()):
        pictures = examples.require(ledger, group[0], cases).pictures
        for axis, case in zip(axes[:, column], cases, strict=True):
            one = pictures[case]
            exact = None if one.exact is None else one.exact[None]
            axis.imshow(overlay(one.picture[None, ..., None], one.mask[None], exact, zoom=4)[0])
            total = one.mask.sum() + (0 if one.exact is None else one.exact.sum())
            told = "" if one.exact is None else f"{200 * (one.mask & one.exact).sum() / max(total, 1):.0f} %"
            axis.set_title(f"{name} {told}" if case == cases[0] else told, fontsize=8, pad=2, color=COLOURS["here"])
            axis.axis("off")
    figure.subplots_adjust(wspace=0.04, hspace=0.14, left=0, right=1, bottom=0, top=0.94)
    return figure
