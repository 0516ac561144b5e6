"""Figures 4 and 8, and how much attention the ventricle has beside how much of the frame it is."""

from __future__ import annotations

import html

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML
from matplotlib.figure import Figure

from echolib.evaluation.evaluation import Case
from echolib.ledger import examples
from echolib.ledger.evaluations import Evaluation
from echolib.ledger.ledger import Ledger
from echolib.pages.html import html_table
from echolib.pages.quantities import estimate
from echolib.papers.css.attention import AREA, CEILING, DICE, INSIDE, INSIDE_CLIP
from echolib.papers.css.drawing import number
from echolib.plots import COLOURS, overlay


def share_html(found: dict[str, list[Evaluation]], resamples: int) -> HTML:
    """Dice of the top pixels with the highest that it could be, and the share of all attention that lies in the ventricle."""
    columns, rows = (DICE, CEILING, INSIDE, AREA, INSIDE_CLIP), []
    for name, group in found.items():
        tables = [one.tables for one in group]
        known = [estimate(tables, q, resamples) for q in columns]
        share, area = known[2].value, known[3].value
        rows.append((html.escape(name), *(number(one, q.decimals) for one, q in zip(known, columns, strict=True)),
                     f"{share / area:.2f}" if np.isfinite(share) and area > 0 else "–"))
    caption = ("Attention by SmoothGrad with 95 % intervals over seeds and patients; the last column is 1 where the ventricle "
               "has as much attention as any part of the frame of its size")
    return HTML(html_table(caption, ("Method", *(html.escape(q.heading) for q in columns), "Attention over area"), rows,
                           "echo-claims"))


def attention_figure(ledger: Ledger, found: dict[str, list[Evaluation]], cases: list[Case]) -> Figure:
    """A row for each frame, a column for each method of the first seed; filled: the top pixels, orange: the tracing."""
    figure, axes = plt.subplots(len(cases), len(found), figsize=(1.9 * len(found), 2.1 * len(cases)), squeeze=False)
    for column, (name, group) in enumerate(found.items()):
        pictures = examples.require(ledger, group[0], cases).pictures
        for axis, case in zip(axes[:, column], cases, strict=True):
            one = pictures[case]
            axis.imshow(overlay(one.picture[None, ..., None], None, one.exact[None], zoom=4)[0])
            top = np.kron(one.mask, np.ones((4, 4), bool))
            axis.imshow(np.where(top[..., None], np.array([0.0, 0.45, 0.70, 0.55]), np.zeros(4)))
            axis.set_title(name if case == cases[0] else "", fontsize=8, pad=2, color=COLOURS["here"])
            axis.axis("off")
    figure.subplots_adjust(wspace=0.04, hspace=0.06, left=0, right=1, bottom=0, top=0.94)
    return figure
