"""The picture of the front page: a phantom and a real clip, outlined by the default weights at end-diastole and end-systole.

    python -m echolib.clinic.front_picture

writes ``book/_static/front.png``. The phantom is one of the held-out clips and also shows its exact outline; the real clip is
pydicom's example. To be run again whenever the default weights or the phantom change.
"""

from __future__ import annotations

import io

import cv2
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from pydicom import examples

from echolib import plots
from echolib.clinic import viewer
from echolib.clinic.reading import open_clip
from echolib.clinic.result import Segmentation
from echolib.clinic.segmentation import segment
from echolib.clinic.wide_clips import HELD_OUT_ECHONET, PRESETS
from echolib.files import write_atomic
from echolib.ledger.workspace import find_root
from echolib.phantom.clip import simulate
from echolib.phantom.presets import draw

#: Where the front page looks for it, in the checkout.
PICTURE = "book/_static/front.png"
#: The held-out clip that is shown, and how many frames of it are made.
NUMBER, FRAMES = 0, 96


def front_figure(phantom: Segmentation, exact: np.ndarray, real: Segmentation) -> Figure:
    """Two rows of two pictures, which a phone shows at a size at which one sees the outlines.

    Args:
        phantom: a simulated clip, segmented.
        exact: (T, H, W) bool, its exact masks.
        real: a real clip, segmented.
    """
    figure, axes = plt.subplots(2, 2, figsize=(7.2, 6.2), layout="constrained", height_ratios=(1, 0.75))
    for row, what, found in zip(axes, ("phantom", "real clip"), (phantom, real), strict=True):
        for axis, frame, name in zip(row, _ends(found), ("end-diastole", "end-systole"), strict=True):
            picture = viewer.render(found, frame, 0.35)
            axis.imshow(picture)
            if found is phantom:
                for line in exact_outlines(exact[frame], found, picture.shape[0]):
                    axis.plot(*line.T, "--", color="white", lw=1)
            axis.set_title(f"{what}, {name}", fontsize=9, loc="left")
            axis.axis("off")
    return figure


def exact_outlines(mask: np.ndarray, found: Segmentation, height: int) -> list[np.ndarray]:
    """Closed outlines of a mask in px of the rendered picture, which shows the cone alone: each ``(N, 2)``, x and y.

    Args:
        mask: (H, W) bool, in the clip's own frame.
        found: the clip, segmented.
        height: of the picture, px.
    """
    out = []
    for line in cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]:
        points = np.concatenate([line[:, 0], line[:1, 0]]) @ found.to_display[:, :2].T + found.to_display[:, 2]
        out.append((points + 0.5) * height / found.display.shape[1] - 0.5)
    return out


def _ends(found: Segmentation) -> tuple[int, int]:
    """End-diastole and end-systole; where no beat was found, largest and smallest area."""
    beat, (area, _) = found.main_beat, found.areas
    return (beat.ed, beat.es) if beat else (int(area.argmax()), int(area.argmin()))


def main() -> None:
    """Make the picture anew and say where it is."""
    plots.use_style()
    clip = simulate(draw(PRESETS[HELD_OUT_ECHONET], [HELD_OUT_ECHONET, 0, NUMBER], frames=FRAMES))
    phantom = segment(clip.frames, clip.fps, clip.spacing_mm, name="phantom")
    own = open_clip(examples.get_path("ybr_color"))
    figure = front_figure(phantom, clip.labels == 1, segment(own, own.fps, own.spacing_mm, name="example"))
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110, metadata={"Software": None}, pil_kwargs={"optimize": True})
    write_atomic(find_root() / PICTURE, stream.getvalue())
    print(f"{PICTURE}: {len(stream.getvalue()) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
