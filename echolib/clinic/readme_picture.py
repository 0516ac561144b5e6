"""The picture of the README: a real clip outlined by the default weights, at end-diastole and end-systole, and its area.

    python -m echolib.clinic.readme_picture

writes ``book/_static/own_clip.png`` from pydicom's example clip; to be run again whenever the default weights change.
"""

from __future__ import annotations

import io

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from pydicom import examples

from echolib import plots
from echolib.clinic import viewer
from echolib.clinic.curves import ED, ES
from echolib.clinic.reading import open_clip
from echolib.clinic.result import Segmentation
from echolib.clinic.segmentation import segment
from echolib.files import write_atomic
from echolib.ledger.workspace import find_root

#: Where the README looks for it, in the checkout.
PICTURE = "book/_static/own_clip.png"


def own_clip_figure(segmentation: Segmentation) -> Figure:
    """End-diastole, end-systole and the area curve of a segmentation; where no beat was found, largest and smallest area."""
    beat, (area, unit) = segmentation.main_beat, segmentation.areas
    frames = (beat.ed, beat.es) if beat else (int(area.argmax()), int(area.argmin()))
    figure, axes = plt.subplots(1, 3, figsize=(8.6, 2.5), width_ratios=(1, 1, 1.5), layout="constrained")
    for axis, frame, name, colour in zip(axes[:2], frames, ("end-diastole", "end-systole"), (ED, ES), strict=True):
        axis.imshow(viewer.render(segmentation, frame, 0.5))
        axis.set_title(f"{name}, frame {frame}", fontsize=9, loc="left", color=colour)
        axis.axis("off")
    curve = axes[2]
    curve.plot(segmentation.times, area, color=plots.COLOURS["here"], lw=1.6)
    for frame, name, colour, up in zip(frames, ("ED", "ES"), (ED, ES), (8, -15), strict=True):
        curve.plot(segmentation.times[frame], area[frame], "o", color=colour, ms=5)
        curve.annotate(name, (segmentation.times[frame], area[frame]), (0, up), textcoords="offset points", ha="center",
                       fontsize=9, color=colour)
    curve.margins(y=0.2)
    curve.set(xlabel="time (s)", ylabel=f"LV area ({unit})")
    return figure


def main() -> None:
    """Make the picture anew and say where it is."""
    plots.use_style()
    clip = open_clip(examples.get_path("ybr_color"))
    figure, stream = own_clip_figure(segment(clip, clip.fps, clip.spacing_mm, name="example")), io.BytesIO()
    figure.savefig(stream, format="png", dpi=110, metadata={"Software": None}, pil_kwargs={"optimize": True})
    write_atomic(find_root() / PICTURE, stream.getvalue())
    print(f"{PICTURE}: {len(stream.getvalue()) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
