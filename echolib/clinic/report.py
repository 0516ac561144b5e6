"""One HTML page about one clip, complete in itself: opens from a file, loads nothing, prints on one sheet."""

from __future__ import annotations

import base64
import html
import math
from pathlib import Path

import cv2
import numpy as np

from echolib import __version__
from echolib.clinic.curves import area_svg, spectrum_svg, table
from echolib.clinic.pictures import ED_CONTOUR, ES_CONTOUR, draw_outline, zoom_of
from echolib.clinic.result import HeartBeat, Segmentation

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;color:#222;max-width:62rem;margin:1.2rem auto;padding:0 1rem;background:#fff}
h1{font-size:1.35rem;margin:.2rem 0}h2{font-size:1.05rem;margin:1.1rem 0 .3rem}
.refused{border:2px solid #a4262c;background:#fdf0f0;padding:.6rem .8rem;border-radius:4px;font-size:1.05rem;font-weight:600}
.notice{border:1px solid #b36b00;background:#fff6e5;padding:.45rem .7rem;border-radius:4px}
.numbers{display:flex;flex-wrap:wrap;gap:.6rem 2.2rem;margin:.7rem 0}.numbers div{min-width:7rem}
.numbers b{display:block;font-size:1.6rem;line-height:1.2}.numbers span{color:#555;font-size:.85rem}
.row{display:flex;margin-top:.7rem;flex-wrap:wrap;gap:1rem;align-items:flex-start}figure{margin:0}figcaption{font-size:.85rem;color:#444}
.loop{flex:1.5 1 17rem}.alone{max-width:32rem}.still{flex:1 1 11rem}video,.still img{background:#000;width:100%;height:auto}
.curve{flex:640 1 20rem}.spectrum{flex:380 1 12rem}svg{width:100%;height:auto}
table{border-collapse:collapse;font-size:.92rem}caption{text-align:left;color:#444;font-size:.85rem;padding-bottom:.2rem}
th,td{padding:.15rem .6rem;border-bottom:1px solid #ddd;text-align:right}thead th{border-bottom:1px solid #666}
.scroll{overflow-x:auto}.scroll td,.scroll th{white-space:nowrap}
@media(max-width:40rem){.curve text{font-size:15px}th,td{padding:.15rem .4rem}}
ul.flags{padding-left:1.1rem;margin:.3rem 0}.warning::marker{content:"\\26A0  "}.note::marker{content:"\\2022  "}
@media print{body{margin:0;max-width:none;font-size:12px}video{display:none}}
"""

#: The cursor on the curve follows the loop, and a click on the curve shows that moment.
_SCRIPT = """
(function(){var v=document.getElementById("cine"),l=document.getElementById("cursor"),s=document.getElementById("curve");
if(!v||!l||!s)return;var a=FIRST,b=LAST,d=SECONDS;
function f(){var x=a+(b-a)*Math.min(1,v.currentTime/d);l.setAttribute("x1",x);l.setAttribute("x2",x);requestAnimationFrame(f)}
s.addEventListener("click",function(e){var r=s.getBoundingClientRect(),x=(e.clientX-r.left)/r.width*WIDTH;
v.pause();v.currentTime=Math.max(0,Math.min(d,(x-a)/(b-a)*d))});f()})();
"""


#: Where the cine loop goes. No text of a clip can hold it, since quotes are escaped there.
LOOP = 'src="data:video/mp4;base64,"'


def write_report(segmentation: Segmentation, overlay: Path, path: Path, disclaimer: str) -> None:
    """Write the page with everything inside; the loop of a long clip is copied through in pieces.

    Args:
        segmentation: the clip.
        overlay: MP4 of the cine loop with outlines.
        path: the page.
        disclaimer: shown on top.
    """
    before, after = build_report(segmentation, disclaimer).split(LOOP)
    with path.open("wb") as page, overlay.open("rb") as loop:
        page.write(before.encode() + LOOP[:-1].encode())
        while piece := loop.read(3 * 2 ** 18):  # a multiple of three bytes: base64 without padding in the middle
            page.write(base64.b64encode(piece))
        page.write(b'"' + after.encode())


def build_report(segmentation: Segmentation, disclaimer: str) -> str:
    """The page as HTML, its cine loop still empty (:data:`LOOP`); a content security policy forbids it to load anything."""
    width = 640
    curve, first, last = area_svg(segmentation, cursor="cursor", name="curve")
    seconds = (len(segmentation.frames) - 1) / segmentation.fps
    script = (_SCRIPT.replace("FIRST", f"{first:.1f}").replace("LAST", f"{last:.1f}").replace("SECONDS", f"{seconds:.4f}")
              .replace("WIDTH", str(width)))
    unit = segmentation.areas[1]
    factor = (segmentation.spacing_mm / 10) ** 2 if segmentation.has_scale else 1.0
    name = html.escape(segmentation.name)
    way = segmentation.orientation
    place = "loop alone" if segmentation.refused else "loop"
    outline = "" if segmentation.refused else " with the outline of the left ventricle"
    as_it_came = way.name == "upright" or (segmentation.refused and not way.given)
    turned = "" if as_it_came else ", turned upright,"
    parts = [
        f"<h1>Left ventricle: {name}</h1>", f'<p class="notice" role="note">{html.escape(disclaimer)}</p>',
        f'<p class="refused" role="alert">{html.escape(segmentation.refused)}</p>' if segmentation.refused
        else _numbers(segmentation),
        _flags(segmentation),
        f'<div class="row"><figure class="{place}"><video id="cine" controls loop muted autoplay playsinline '
        f'aria-label="Cine loop of {name}{outline}" {LOOP}></video>'
        f"<figcaption>The clip{turned}{' with the outline on every frame' if outline else ' without an outline'} "
        f"({len(segmentation.frames)} frames, {segmentation.fps:.4g} per second).</figcaption></figure>"
        f"{_stills(segmentation)}</div>",
    ]
    if not segmentation.refused:
        parts += [
            "<h2>Area curve and spectrum</h2>",
            f'<div class="row"><figure class="curve">{curve}<figcaption>LV area on every frame with end-diastole (ED) and '
            "end-systole (ES) of each beat. The dashed line follows the loop; click to go to a moment.</figcaption></figure>"
            f'<figure class="spectrum">{spectrum_svg(segmentation.frequency, segmentation.magnitude * factor, unit)}'
            "<figcaption>Spectrum of the area curve.</figcaption></figure></div>",
            "<h2>Beats</h2>", _beats(segmentation),
        ]
    parts += ["<h2>How this was made</h2>", _method(segmentation)]
    return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; media-src data:; "
            "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
            f"<title>Left ventricle: {name}</title><style>{_STYLE}</style></head><body><main>{''.join(parts)}</main>"
            f"<script>{script}</script></body></html>\n")


def _shown(value: float, digits: int, unit: str) -> str:
    return f"{value:.{digits}f} {unit}" if math.isfinite(value) else "–"


def _numbers(segmentation: Segmentation) -> str:
    sd, low, high = segmentation.ef_spread
    count = len(segmentation.beats)
    between = segmentation.interval
    if between is not None and not between.useful:
        spread = f"{between.level:.0f} % interval {between.low:.0f}–{between.high:.0f} %: too wide to be of use"
    elif count > 1:
        spread = f"mean of {count} beats, SD {sd:.1f}, range {low:.0f}–{high:.0f} %"
    elif count == 1:
        spread = "one beat" if segmentation.complete else "largest against smallest area: no whole beat"
    else:
        spread = "no beat found"
    if between is not None and between.useful:
        spread = f"{between.level:.0f} % interval {between.low:.0f}–{between.high:.0f} %; {spread}"
    edv, esv = (float(np.mean([getattr(b, key) for b in segmentation.beats])) if count else math.nan for key in ("edv", "esv"))
    why = "method of disks, one plane" if segmentation.has_scale else "pixel spacing unknown"
    outlines = "" if segmentation.regressed is None else ", from outlines"
    cells = [(f"Ejection fraction{outlines}", _ef(segmentation), spread), *_regressed(segmentation),
             ("End-diastolic volume", _shown(edv, 0, "mL"), why),
             ("End-systolic volume", _shown(esv, 0, "mL"), why),
             ("Heart rate", _shown(segmentation.heart_rate, 0, "/min"),
              "from end-diastole to end-diastole" if math.isfinite(segmentation.heart_rate) else "no two end-diastoles")]
    boxes = "".join(f"<div>{html.escape(head)}<b>{html.escape(value)}</b><span>{html.escape(below)}</span></div>"
                    for head, value, below in cells)
    said = f"<p>{html.escape(segmentation.regressed.words)}</p>" if segmentation.regressed is not None else ""
    return f'<div class="numbers">{boxes}</div>{said}'


def _regressed(segmentation: Segmentation) -> list[tuple[str, str, str]]:
    found = segmentation.regressed
    if found is None:
        return []
    spread = f"mean of {found.clips} clips, SD {found.sd:.1f}" if found.clips > 1 else "one clip"
    return [("Regressed EF", _shown(found.ef, 0, "%"), f"by a network; {spread}")]


def _ef(segmentation: Segmentation) -> str:
    withheld = segmentation.interval is not None and not segmentation.interval.useful
    return "not given" if withheld else _shown(segmentation.ef, 0, "%")


def _flags(segmentation: Segmentation) -> str:
    if not segmentation.flags:
        return "<p>No quality flag was raised.</p>"
    if segmentation.refused:  # it stands above, in large, and there is no number to doubt
        return ""
    items = "".join(f'<li class="{f.severity}">{html.escape(f.text)}</li>' for f in segmentation.flags)
    return f'<h2>Quality flags</h2><ul class="flags">{items}</ul>'


def _stills(segmentation: Segmentation) -> str:
    beat = segmentation.main_beat
    if beat is None:
        return ""
    zoom, out = zoom_of(segmentation), []
    height, width = segmentation.display.shape[1:]
    for kind, frame, colour in (("End-diastole", beat.ed, ED_CONTOUR), ("End-systole", beat.es, ES_CONTOUR)):
        mask = segmentation.mask_in(frame, zoom, (zoom * height, zoom * width))
        rgb = draw_outline(segmentation.display[frame], mask, zoom, colour)
        png = base64.b64encode(cv2.imencode(".png", rgb[..., ::-1])[1].tobytes()).decode()
        out.append(f'<figure class="still"><img alt="{kind}, frame {frame}, with the outline of the left ventricle" '
                   f'src="data:image/png;base64,{png}"><figcaption>{kind}: frame {frame}, {frame / segmentation.fps:.2f} s'
                   "</figcaption></figure>")
    return "".join(out)


def _beats(segmentation: Segmentation) -> str:
    if not segmentation.beats:
        return "<p>No beat was found.</p>"
    unit = segmentation.areas[1]

    def row(number: int, b: HeartBeat) -> list[str]:
        return [str(number), f"{b.ed} ({b.ed_s:.2f} s)", f"{b.es} ({b.es_s:.2f} s)", _shown(b.rr_s, 2, "s"),
                _shown(b.edv, 1, "mL"), _shown(b.esv, 1, "mL"),
                f"{b.ed_area:.1f} {unit}", f"{b.es_area:.1f} {unit}", _shown(b.ef, 1, "%")]

    rows = table(["beat", "ED frame", "ES frame", "to next ED", "EDV", "ESV", "ED area", "ES area", "EF"],
                 [row(n, b) for n, b in enumerate(segmentation.beats, start=1)], "Frames are counted from 0.")
    return f'<div class="scroll" role="region" aria-label="Beats" tabindex="0">{rows}</div>'


def _method(segmentation: Segmentation) -> str:
    network = {key: html.escape(value) for key, value in segmentation.network.items()}
    scale = f"{segmentation.spacing_mm:.4g} mm per px" if segmentation.has_scale else "pixel spacing unknown"
    height, width = segmentation.source_shape
    how = "" if segmentation.refused else (
        "Volumes: single-plane method of disks, 20 disks; each of a parabola through five frames. "
        f"EF = 100 (EDV − ESV) / EDV, beat by beat. {_doubts(segmentation)}{html.escape(_upright(segmentation))}")
    if segmentation.regressed is not None:
        by = {key: html.escape(value) for key, value in segmentation.regressed.network.items()}
        how += (f"Regressed EF: mean over clips of the video; network {by['architecture']}; {by['origin']} (checksum "
                f"{by['sha256']}); masks as input: {by['masks']}. <b>It was trained on: {by['trained_on']}</b> ")
    return (f"<p>What was found to be the ultrasound cone was cut out of the clip ({width} × {height} px, {scale}); nothing "
            f"outside it was used or kept. Network: {network['architecture']}; {network['origin']} (checksum "
            f"{network['sha256']}). <b>It was trained on: {network['trained_on']}</b> {how}Software: echolib "
            f"{__version__}.</p>")


def _upright(segmentation: Segmentation) -> str:
    """Which way up, where no flag says it."""
    way = segmentation.orientation
    return "" if way.name != "upright" and not way.given or not way.certain else f"{way.words} "


def _doubts(segmentation: Segmentation) -> str:
    between = segmentation.interval
    if between is None:
        return ""
    views = f"{between.doubts.views:.1f}" if math.isfinite(between.doubts.views) else "no"
    network = f"{between.doubts.network:.1f}" if math.isfinite(between.doubts.network) else "no"
    beats = f"the spread over the beats ({between.doubts.beats:.1f} points)"
    if len(segmentation.beats) < 2:
        beats = "nothing from the spread over the beats, since there is one"
    return (f"The interval of the EF is made to hold the truth in {between.level:.0f} % of simulated clips that the network "
            f"has not learnt from; on other clips nobody has measured it. It comes from the spread over views of the clip "
            f"({views} points), the network's own doubt about the borders ({network} points) and {beats}. ")
