"""Figures of the book: one style, colour-blind-safe, every figure with a caption and alt text.

Figures go into a page as ``<figure>`` elements with the picture inside, so that a page is complete in itself and opens
from ``file://``.
"""

from __future__ import annotations

import base64
import html
import io
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import cv2
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import HTML
from matplotlib.figure import Figure

from echolib.data.video import write_mp4
from echolib.evaluation.consistency import area_spectrum

#: Okabe-Ito colours: published values, this machine, committed records, the truth, a second curve.
COLOURS = {"published": "#4d4d4d", "here": "#0072B2", "committed": "#009E73", "truth": "#E69F00", "other": "#D55E00"}


def use_style() -> None:
    """The book's look: seaborn's ticks theme, small sans-serif type, no upper and right spine."""
    sns.set_theme(context="notebook", style="ticks", palette="colorblind", font_scale=0.85,
                  rc={"axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 110, "savefig.dpi": 170,
                      "svg.hashsalt": "echolib"})


def show(figure: Figure, caption: str, alt: str, data: pd.DataFrame | None = None, name: str = "figure") -> HTML:
    """A finished figure as a page element, with itself as PDF and its data as CSV to download; closes the matplotlib figure.

    On a phone it keeps a size at which its type can be read, and scrolls sideways. The downloads are in the page itself, so that
    they work without a server; a PDF of more than 100 kB is left out.

    Args:
        figure: the figure.
        caption: shown under it (plain text).
        alt: what a reader who cannot see it needs to know.
        data: the numbers drawn; offered as CSV. Without it nothing is offered.
        name: name of the downloaded files, without suffix.
    """
    picture = _saved(figure, "png", metadata={"Software": None})
    links = []
    if data is not None:
        links.append(_download("Data, CSV", f"{name}.csv", "text/csv", data.to_csv(index=False).encode()))
        page = _saved(figure, "pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})
        if len(page) <= 100_000:
            links.append(_download("Figure, PDF", f"{name}.pdf", "application/pdf", page))
    plt.close(figure)
    dpi = figure.dpi if plt.rcParams["savefig.dpi"] == "figure" else plt.rcParams["savefig.dpi"]
    wide = int.from_bytes(picture[16:20], "big") / dpi * 96  # CSS px; the width in pixels stands in a PNG's head
    return HTML('<figure class="echo-figure">'
                f'<div class="echo-scroll" tabindex="0" role="group" aria-label="{html.escape(caption, quote=True)}">'
                f'<img style="--natural: {wide:.0f}px" alt="{html.escape(alt, quote=True)}" '
                f'src="data:image/png;base64,{base64.b64encode(picture).decode()}"></div>'
                f"<figcaption>{html.escape(caption)}{''.join(links)}</figcaption></figure>")


def _saved(figure: Figure, kind: str, metadata: dict) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():  # a figure whose labels leave its axes no room is seen to be so; the remark names a path
        warnings.filterwarnings("ignore", message="constrained_layout not applied")
        figure.savefig(stream, format=kind, bbox_inches="tight", metadata=metadata)
    return stream.getvalue()


def _download(text: str, name: str, mime: str, content: bytes) -> str:
    data = base64.b64encode(content).decode()
    return f' <a class="echo-download" download="{html.escape(name, quote=True)}" href="data:{mime};base64,{data}">{text}</a>'


def overlay(video: np.ndarray, masks: np.ndarray | None = None, truth: np.ndarray | None = None, zoom: int = 2) -> np.ndarray:
    """Frames with the contours drawn on them.

    Args:
        video: (T, H, W, C) uint8, C 1 or 3.
        masks: (T, H, W) bool, drawn in blue.
        truth: (T, H, W) bool, drawn in orange.
        zoom: enlargement, so that a contour is one thin line.

    Returns:
        (T, zoom*H, zoom*W, 3) uint8, RGB.
    """
    frames = []
    for t, frame in enumerate(video):
        rgb = np.repeat(frame, 3, axis=-1) if frame.shape[-1] == 1 else frame
        rgb = cv2.resize(np.ascontiguousarray(rgb), None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
        for group, colour in ((truth, COLOURS["truth"]), (masks, "#56B4E9")):
            if group is not None and group[t].any():
                big = cv2.resize(group[t].astype(np.uint8), None, fx=zoom, fy=zoom, interpolation=cv2.INTER_NEAREST)
                lines = cv2.findContours(big, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
                cv2.drawContours(rgb, lines, -1, tuple(int(255 * c) for c in matplotlib.colors.to_rgb(colour)), 1, cv2.LINE_AA)
        frames.append(rgb)
    return np.stack(frames)


def cine(frames: np.ndarray, fps: float, caption: str, alt: str, width: int = 336) -> HTML:
    """A looping clip as a ``<video>`` element that needs no script and no network.

    Args:
        frames: (T, H, W, 3) uint8, RGB.
        fps: frames per second.
        caption: shown under it.
        alt: its accessible name.
        width: shown width in CSS px.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cine.mp4"
        write_mp4(path, frames, fps)
        data = base64.b64encode(path.read_bytes()).decode()
    return HTML(f'<figure class="echo-figure echo-cine"><video controls loop muted playsinline preload="auto" width="{width}" '
                f'aria-label="{html.escape(alt, quote=True)}" src="data:video/mp4;base64,{data}"></video>'
                f"<figcaption>{html.escape(caption)}</figcaption></figure>")


def side_by_side(*elements: HTML) -> HTML:
    """Several page elements in a row that wraps on a narrow screen."""
    return HTML('<div class="echo-row">' + "".join(e.data for e in elements) + "</div>")


def contact_sheet(frames: np.ndarray, titles: Sequence[str], columns: int, inches: float = 1.75) -> Figure:
    """Pictures in a grid, each with a short title. ``frames`` is (N, H, W, 3) or (N, H, W) uint8."""
    rows = -(-len(frames) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(inches * columns, (inches + 0.22) * rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, frame, title in zip(axes.flat, frames, titles, strict=False):
        axis.imshow(frame, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set_title(title, fontsize=8, pad=2)
    figure.subplots_adjust(wspace=0.03, hspace=0.14, left=0, right=1, bottom=0, top=0.95)
    return figure


#: Where :func:`label_apart` tries to put a label: offsets from its point, points.
PLACES = [(5.0, 4.0), (5.0, -11.0), (-12.0, 4.0), (-12.0, -11.0), (5.0, 13.0), (5.0, -20.0), (-12.0, 13.0), (-12.0, -20.0)]


def label_apart(axis: plt.Axes, where: Sequence[tuple[float, float]], texts: Sequence[str], colours: Sequence[str],
                size: float = 8.0) -> list[plt.Annotation]:
    """Write a short label beside each point so that labels do not lie on one another or on another point, where there is room.

    Call it when everything else is drawn: it looks at the axis's scales and limits.

    Args:
        axis: where.
        where: of each point, in data coordinates.
        texts: the labels.
        colours: of each label.
        size: of the type, points.
    """
    axis.autoscale_view()
    spots = axis.transData.transform(np.asarray(where, float)) * 72 / axis.figure.dpi  # in points
    placed: list[tuple[float, float, float, float]] = []
    out = []
    for (x, y), spot, text, colour in zip(where, spots, texts, colours, strict=True):
        boxes = [(spot[0] + dx, spot[1] + dy, spot[0] + dx + 0.65 * size * len(text), spot[1] + dy + size) for dx, dy in PLACES]
        hits = [sum(_meet(box, other) for other in placed)
                + sum(box[0] <= px <= box[2] and box[1] <= py <= box[3] for px, py in spots) for box in boxes]
        best = int(np.argmin(hits))
        placed.append(boxes[best])
        out.append(axis.annotate(text, (x, y), PLACES[best], textcoords="offset points", fontsize=size, color=colour))
    return out


def _meet(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def intervals(axis: plt.Axes, table: pd.DataFrame, colour: str, label: str | None = None, offset: float = 0.0) -> None:
    """Points with intervals on a horizontal axis, one row each, values written beside them.

    Args:
        axis: where to draw.
        table: index = row name; columns value, low, high (NaN: nothing is drawn).
        colour: a colour.
        label: legend entry.
        offset: vertical shift in rows, to put two sets beside each other.
    """
    for position, (_, row) in enumerate(table.iterrows()):
        if np.isfinite(row.value):
            if np.isfinite(row.low):
                axis.plot([row.low, row.high], [position + offset] * 2, color=colour, lw=2.2, solid_capstyle="butt", zorder=2)
            axis.plot(row.value, position + offset, "o", color=colour, ms=5.5, zorder=3, label=label)
            above = offset <= 0  # the lower of two sets has its values below, where they meet nothing
            axis.annotate(f"{row.value:.2f}", (row.value, position + offset), (0, 6 if above else -6), textcoords="offset points",
                          ha="center", va="bottom" if above else "top", fontsize=8, color=colour)
            label = None
    axis.set_yticks(range(len(table)), table.index)
    axis.set_ylim(len(table) - 0.5, -0.6)
    axis.grid(axis="x", color="#dddddd", lw=0.6)


def area_figure(curves: dict[str, np.ndarray], fps: float, *, unit: str = "px²", scale: float = 1.0,
                colours: dict[str, str] | None = None) -> Figure:
    """LV area over time and, beside it, its spectrum.

    Args:
        curves: name -> (T,) area in px.
        fps: frames per second.
        unit: unit after scaling.
        scale: factor from px to ``unit``.
        colours: name -> colour.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 2.9), width_ratios=(1.7, 1), layout="constrained")
    for name, area in curves.items():
        colour = (colours or {}).get(name, COLOURS["here"])
        left.plot(np.arange(len(area)) / fps, area * scale, color=colour, lw=1.6, label=name)
        frequency, magnitude = area_spectrum(area * scale, fps)
        right.plot(frequency, magnitude, color=colour, lw=1.4)
    left.set(xlabel="time (s)", ylabel=f"LV area ({unit})")
    right.set(xlabel="frequency (Hz)", ylabel="magnitude", yscale="log")
    if len(curves) > 1:
        left.legend(frameon=False, fontsize=8)
    return figure
