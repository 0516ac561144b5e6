"""Look at a segmented clip: a live viewer for JupyterLab, and its static twin for pages.

``show`` needs a running kernel (ipywidgets). ``static_viewer`` is HTML that is complete in itself: the frames are one
picture of many tiles, a few lines of script choose the tile; it opens from a file and loads nothing.
"""

from __future__ import annotations

import base64
import hashlib
import html
import math

import cv2
import numpy as np
from IPython.display import HTML

from echolib.clinic.curves import area_svg
from echolib.clinic.result import Segmentation

#: Colour of the overlay (RGB).
OVERLAY = (86, 180, 233)
#: Largest side of a picture of tiles, px: phones refuse larger ones.
LARGEST_SPRITE = 8192


def render(segmentation: Segmentation, frame: int, opacity: float, height: int = 360) -> np.ndarray:
    """One frame with its overlay.

    Args:
        segmentation: the clip.
        frame: 0-based.
        opacity: of the ventricle's fill, 0-1; the outline shows whenever it is above 0.
        height: of the picture, px.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    picture, mask = _scaled(segmentation, frame, height)
    rgb = np.repeat(picture[..., None], 3, axis=-1)
    if opacity > 0 and mask.any():
        fill = np.array(OVERLAY) * 0.5 * opacity + rgb[mask] * (1 - 0.5 * opacity)
        rgb[mask] = fill.astype(np.uint8)
        lines = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
        cv2.drawContours(rgb, lines, -1, OVERLAY, 2, cv2.LINE_AA)
    return rgb


def show(segmentation: Segmentation, height: int = 360):
    """Live controls: play, frame, overlay on or off and its opacity, jumps to ED and ES; the area curve with a cursor.

    Args:
        segmentation: the clip.
        height: of the picture, px.

    Returns:
        An ``ipywidgets.VBox``; JupyterLab shows it when it is the last value of a cell.
    """
    import ipywidgets as widgets

    last = len(segmentation.frames) - 1
    beat = segmentation.main_beat
    curve, first_px, last_px = area_svg(segmentation, cursor="CURSOR")
    before, after = curve.split('<line id="CURSOR"', 1)
    after = after.split("/>", 1)[1]

    picture = widgets.Image(format="jpeg", height=height, layout=widgets.Layout(height=f"{height}px", width="auto"))
    plot = widgets.HTML(layout=widgets.Layout(width="560px"))
    text = widgets.Label()
    play = widgets.Play(value=0, min=0, max=last, step=1, interval=max(20, round(1000 / segmentation.fps)), repeat=True,
                        description="Play", tooltip="Play the clip")
    frame = widgets.IntSlider(value=0, min=0, max=last, description="Frame", continuous_update=True)
    visible = widgets.ToggleButton(value=True, description="Overlay", tooltip="Show or hide the outline")
    opacity = widgets.FloatSlider(value=0.5, min=0.0, max=1.0, step=0.05, description="Opacity")
    jumps = []
    for kind, target in (("ED", beat.ed), ("ES", beat.es)) if beat else ():
        button = widgets.Button(description=kind, tooltip=f"Go to frame {target}", layout=widgets.Layout(width="4em"))
        button.on_click(lambda _, target=target: setattr(frame, "value", target))
        jumps.append(button)
    area, unit = segmentation.areas

    def update(_=None) -> None:
        t = frame.value
        rgb = render(segmentation, t, max(opacity.value, 0.01) if visible.value else 0.0, height)
        picture.value = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
        x = first_px + (last_px - first_px) * t / max(1, last)
        plot.value = f'{before}<line x1="{x:.1f}" x2="{x:.1f}" y1="14" y2="196" stroke="#444" stroke-dasharray="3 2"/>{after}'
        text.value = f"{t / segmentation.fps:.2f} s   LV area {area[t]:.1f} {unit}{_phase(segmentation, t)}"

    widgets.jslink((play, "value"), (frame, "value"))
    for control in (frame, visible, opacity):
        control.observe(update, names="value")
    update()
    return widgets.VBox([widgets.HBox([picture, widgets.VBox([plot, text])]), widgets.HBox([play, frame, *jumps]),
                         widgets.HBox([visible, opacity])])


def static_viewer(segmentation: Segmentation, *, start: int = 0, frames: int = 150, height: int = 224, caption: str = "") -> HTML:
    """The same without a kernel: scrub, play, overlay on or off and its opacity, area curve with cursor and ED/ES marks.

    Args:
        segmentation: the clip.
        start: first frame shown.
        frames: how many at most; a page should not grow with the clip.
        height: of a tile, px; it is shown larger where there is room.
        caption: plain text under the viewer.

    Returns:
        HTML that loads nothing.
    """
    shown = range(start, min(start + frames, len(segmentation.frames)))
    tiles, masks = zip(*(_scaled(segmentation, t, height) for t in shown), strict=True)
    width = tiles[0].shape[1]
    columns = max(1, min(len(shown), LARGEST_SPRITE // width, math.ceil(math.sqrt(len(shown) * height / width))))
    rows = -(-len(shown) // columns)
    pictures = _sprite(np.stack(tiles), columns, rows)
    jpeg = base64.b64encode(cv2.imencode(".jpg", pictures, [cv2.IMWRITE_JPEG_QUALITY, 82])[1].tobytes()).decode()
    overlay = np.zeros((*pictures.shape, 4), np.uint8)
    overlay[_sprite(np.stack(masks), columns, rows)] = (*OVERLAY[::-1], 255)
    png = base64.b64encode(cv2.imencode(".png", overlay, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()).decode()
    name = "echo-viewer-" + hashlib.sha256(f"{jpeg}{png}{caption}".encode()).hexdigest()[:10]
    curve, first, last = area_svg(segmentation, cursor=f"{name}-cursor", frames=shown)
    area, unit = segmentation.areas
    texts = [f"frame {t}, {t / segmentation.fps:.2f} s, LV area {area[t]:.1f} {unit}{_phase(segmentation, t)}" for t in shown]
    tile = (f"position:absolute;inset:0;background-size:{100 * columns}% {100 * rows}%;"
            "background-repeat:no-repeat;background-position:0 0")
    label = html.escape(f"{segmentation.name}: {texts[0]}", quote=True)
    page = f"""<figure class="echo-figure echo-viewer" id="{name}" style="background:#fff;color:#222;max-width:40rem">
<div data-role="screen" role="img" aria-label="{label}" style="position:relative;background:#000;width:100%;\
max-width:{2 * width}px;aspect-ratio:{width}/{height};overflow:hidden">
<div data-role="frame" style="{tile};background-image:url(data:image/jpeg;base64,{jpeg})"></div>
<div data-role="mask" style="{tile};background-image:url(data:image/png;base64,{png});opacity:.35"></div></div>
<div style="display:flex;flex-wrap:wrap;gap:.4rem 1rem;align-items:center;margin:.3rem 0">
<button type="button" data-role="play" aria-label="Play" style="min-width:5em">Play</button>
<label style="flex:1 1 14rem">Frame <input type="range" data-role="scrub" min="0" max="{len(shown) - 1}" value="0" \
aria-label="Frame" style="width:75%"></label>
<label><input type="checkbox" data-role="visible" checked> Overlay</label>
<label>Opacity <input type="range" data-role="opacity" min="0" max="100" value="35" aria-label="Overlay opacity"></label></div>
<div data-role="text" aria-live="off" style="font-variant-numeric:tabular-nums">{html.escape(texts[0])}</div>
{curve}<figcaption>{html.escape(caption)}</figcaption></figure>
<script>(function(){{var r=document.getElementById("{name}"),g=function(n){{return r.querySelector('[data-role="'+n+'"]')}},
f=g("frame"),m=g("mask"),s=g("scrub"),p=g("play"),o=g("opacity"),h=g("visible"),w=g("text"),c=g("screen"),
l=document.getElementById("{name}-cursor"),T={_json(texts)},C={columns},R={rows},N={len(shown)},t=0,timer=null;
function at(k,n){{return n>1?100*k/(n-1)+"%":"0"}}
function draw(k){{t=k;var q=at(k%C,C)+" "+at(Math.floor(k/C),R);f.style.backgroundPosition=q;m.style.backgroundPosition=q;
s.value=k;s.setAttribute("aria-valuetext",T[k]);w.textContent=T[k];c.setAttribute("aria-label",T[k]);
var x={first:.1f}+({last:.1f}-{first:.1f})*(N>1?k/(N-1):0);l.setAttribute("x1",x);l.setAttribute("x2",x)}}
function stop(){{clearInterval(timer);timer=null;p.textContent="Play";p.setAttribute("aria-label","Play")}}
p.addEventListener("click",function(){{if(timer){{stop();return}}p.textContent="Pause";p.setAttribute("aria-label","Pause");
timer=setInterval(function(){{draw((t+1)%N)}},{max(20, round(1000 / segmentation.fps))})}});
s.addEventListener("input",function(){{if(timer)stop();draw(+s.value)}});
function see(){{m.style.opacity=h.checked?o.value/100:0}}
o.addEventListener("input",see);h.addEventListener("change",see);draw(0)}})();</script>"""
    return HTML(page)


def _scaled(segmentation: Segmentation, frame: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Picture (h, w) uint8 and mask (h, w) bool of one frame at the given height."""
    picture = segmentation.display[frame]
    scale = height / picture.shape[0]
    width = max(1, round(picture.shape[1] * scale))
    picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    return picture, segmentation.mask_in(frame, scale, (height, width))


def _sprite(tiles: np.ndarray, columns: int, rows: int) -> np.ndarray:
    """(N, h, w) tiles laid row by row: (rows*h, columns*w); missing ones are 0."""
    count, height, width = tiles.shape
    grid = np.zeros((rows * columns, height, width), tiles.dtype)
    grid[:count] = tiles
    return grid.reshape(rows, columns, height, width).transpose(0, 2, 1, 3).reshape(rows * height, columns * width)


def _phase(segmentation: Segmentation, frame: int) -> str:
    for beat in segmentation.beats:
        if frame == beat.ed:
            return ", end-diastole"
        if frame == beat.es:
            return ", end-systole"
    return ""


def _json(texts: list[str]) -> str:
    """A list of texts as script; nothing in it can close the script element."""
    return "[" + ",".join('"' + t.replace("\\", "\\\\").replace('"', '\\"').replace("<", "\\u003c") + '"' for t in texts) + "]"
