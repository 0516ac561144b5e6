"""The area curve and its spectrum as SVG text: no file, no script, no network, readable by a screen reader."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from echolib.clinic.result import Segmentation

#: Okabe-Ito: the curve, end-diastole, end-systole.
CURVE, ED, ES = "#0072B2", "#009E73", "#D55E00"
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 14, 34


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers between ``low`` and ``high``, at most ``most`` of them: steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    rough = (high - low) / max(1, most - 1)
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    first = np.ceil(low / step - 1e-9)
    return [float(f"{k * step:.12g}") + 0.0 for k in np.arange(first, high / step + 1e-9)]


class Plot:
    """Axes in SVG: data to px, frame, ticks and labels.

    Args:
        x, y: (low, high) of the data.
        size: width and height, px.
        labels: names of the axes with units.
    """

    def __init__(self, x: tuple[float, float], y: tuple[float, float], size: tuple[int, int], labels: tuple[str, str]) -> None:
        self.x, self.y = x, (y[0], y[1] if y[1] > y[0] else y[0] + 1)
        self.width, self.height = size
        self.labels = labels
        self.parts: list[str] = []

    def px(self, x: float | np.ndarray, y: float | np.ndarray) -> tuple:
        """Data coordinates to px."""
        across = (np.asarray(x) - self.x[0]) / max(self.x[1] - self.x[0], 1e-12)
        up = (np.asarray(y) - self.y[0]) / (self.y[1] - self.y[0])
        return (_LEFT + across * (self.width - _LEFT - _RIGHT), self.height - _BOTTOM - up * (self.height - _TOP - _BOTTOM))

    def line(self, x: np.ndarray, y: np.ndarray, colour: str) -> None:
        """A line through finite points; NaN breaks it."""
        commands, pen = [], "M"
        for a, b in zip(*self.px(x, y), strict=True):
            if np.isfinite(b):
                commands.append(f"{pen}{a:.1f} {b:.1f}")
                pen = "L"
            else:
                pen = "M"
        self.parts.append(f'<path d="{"".join(commands)}" fill="none" stroke="{colour}" stroke-width="1.8"/>')

    def mark(self, x: float, y: float, kind: str) -> None:
        """A marker: end-diastole above the curve, end-systole below it, so that colour is not needed to tell them apart."""
        a, b = self.px(x, y)
        s = -1 if kind == "ED" else 1
        shape = f"M{a:.1f} {b + 3 * s:.1f}l-5 {9 * s}l10 0z"
        self.parts.append(f'<path d="{shape}" fill="{ED if kind == "ED" else ES}"/>')
        self.parts.append(f'<text x="{a:.1f}" y="{b + (-16 if kind == "ED" else 23):.1f}" text-anchor="middle" '
                          f'font-weight="bold" fill="{ED if kind == "ED" else ES}">{kind}</text>')

    def cursor(self, name: str) -> None:
        """A vertical line that a script may move; it starts at the left."""
        a, _ = self.px(self.x[0], 0)
        self.parts.append(f'<line id="{name}" x1="{a:.1f}" x2="{a:.1f}" y1="{_TOP}" y2="{self.height - _BOTTOM}" stroke="#444" '
                          'stroke-width="1" stroke-dasharray="3 2"/>')

    def svg(self, title: str, name: str = "") -> str:
        """The whole picture; ``title`` is what a screen reader says."""
        bottom = self.height - _BOTTOM
        axis = [f'<path d="M{_LEFT} {_TOP}V{bottom}H{self.width - _RIGHT}" fill="none" stroke="#666"/>']
        for value in ticks(*self.x):
            a, _ = self.px(value, 0)
            axis.append(f'<path d="M{a:.1f} {bottom}v4" stroke="#666"/><text x="{a:.1f}" y="{bottom + 16}" '
                        f'text-anchor="middle">{value:g}</text>')
        for value in ticks(*self.y, 5):
            _, b = self.px(0, value)
            axis.append(f'<path d="M{_LEFT} {b:.1f}h-4" stroke="#666"/><text x="{_LEFT - 7}" y="{b + 4:.1f}" '
                        f'text-anchor="end">{value:g}</text>')
        middle = (_TOP + bottom) / 2
        axis.append(f'<text x="{(_LEFT + self.width - _RIGHT) / 2:.0f}" y="{self.height - 3}" text-anchor="middle">'
                    f'{html.escape(self.labels[0])}</text><text x="12" y="{middle:.0f}" text-anchor="middle" '
                    f'transform="rotate(-90 12 {middle:.0f})">{html.escape(self.labels[1])}</text>')
        attribute = f' id="{name}"' if name else ""
        label = html.escape(title, quote=True)
        return (f'<svg{attribute} viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{label}" '
                f'font-family="sans-serif" font-size="11" fill="#333">{"".join(axis + self.parts)}</svg>')


def area_svg(segmentation: Segmentation, *, size: tuple[int, int] = (640, 230), cursor: str = "", name: str = "",
             frames: range | None = None) -> tuple[str, float, float]:
    """The area curve with its end-diastoles and end-systoles.

    Args:
        segmentation: the clip.
        size: px.
        cursor: id of a cursor line; none when empty.
        name: id of the picture.
        frames: part of the clip to show; None: all of it.

    Returns:
        The SVG, and the px of the first and of the last frame, between which a cursor moves.
    """
    shown = frames or range(len(segmentation.frames))
    area, unit = segmentation.areas
    times = segmentation.times
    part = slice(shown.start, shown.stop)
    visible = np.where(area > 0, area, np.nan)[part]
    known = visible[np.isfinite(visible)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    margin = max(0.3 * (high - low), 0.02 * high, 1e-6)  # room for the markers
    plot = Plot((times[shown.start], times[shown.stop - 1]), (max(0.0, low - margin), high + margin), size,
                ("time (s)", f"LV area ({unit})"))
    plot.line(times[part], visible, CURVE)
    for beat in segmentation.beats:
        for kind, frame in (("ED", beat.ed), ("ES", beat.es)):
            if frame in shown and area[frame] > 0:
                plot.mark(times[frame], area[frame], kind)
    if cursor:
        plot.cursor(cursor)
    title = (f"Left-ventricular area over time: {low:.3g} to {high:.3g} {unit}, {len(segmentation.beats)} "
             f"{'beat' if len(segmentation.beats) == 1 else 'beats'} marked")
    (first, last), _ = plot.px(np.array([times[shown.start], times[shown.stop - 1]]), np.zeros(2))
    return plot.svg(title, name), float(first), float(last)


def spectrum_svg(frequency: np.ndarray, magnitude: np.ndarray, unit: str, size: tuple[int, int] = (380, 230)) -> str:
    """The spectrum of the area curve up to 15 Hz; above about 10 Hz it holds flicker rather than heart beat."""
    shown = (frequency > 0) & (frequency <= 15)
    if not shown.any():
        return ""
    plot = Plot((0.0, float(frequency[shown].max())), (0.0, float(magnitude[shown].max()) * 1.08), size,
                ("frequency (Hz)", f"amplitude ({unit})"))
    plot.line(frequency[shown], magnitude[shown], CURVE)
    peak = float(frequency[shown][np.argmax(magnitude[shown])])
    return plot.svg(f"Spectrum of the area curve; strongest at {peak:.2f} Hz, {60 * peak:.0f} per minute")


def table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """An HTML table with a caption; the first cell of each row is its head."""
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in header)
    body = "".join(f'<tr><th scope="row">{html.escape(row[0])}</th>{"".join(f"<td>{html.escape(c)}</td>" for c in row[1:])}</tr>'
                   for row in rows)
    return f"<table><caption>{html.escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
