"""Figure 7: number of frames and sampling period."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import AfterValidator, Field

from echolib import published
from echolib.config.profile import Profile
from echolib.config.specs import ClipSpec, RunSpec
from echolib.pages.experiment import Claim, Experiment, Options, Printed, SeedOptions, with_ablation
from echolib.papers.simlvseg.ablation import left_out
from echolib.papers.simlvseg.runs import segment_run

#: Frames of a super image: a square of at most 16 by 16.
Squares = Annotated[int, AfterValidator(lambda value: _square(value))]
#: Frames of a 3D clip: halved four times on the way through the network.
Sixteens = Annotated[int, Field(ge=16, le=256, multiple_of=16)]


def _square(value: int) -> int:
    if not 1 < value <= 256 or math.isqrt(value) ** 2 != value:
        raise ValueError(f"{value} is no square number from 4 to 256")
    return value


class Figure7Options(SeedOptions):
    """Cells of the grid."""

    frames_si: tuple[Squares, ...] | None = Field(None, description="a list of different square numbers from 4 to 256")
    frames_3d: tuple[Sixteens, ...] | None = Field(None, description="a list of different multiples of 16 up to 256")
    periods: tuple[Annotated[int, Field(ge=1, le=32)], ...] | None = Field(
        None, description="a list of different whole numbers from 1 to 32")

    def applied(self, profile: Profile) -> Profile:
        """The profile with other cells."""
        return with_ablation(super().applied(profile), {"frames_si": self.frames_si, "frames_3d": self.frames_3d,
                                                        "periods": self.periods})


#: The paper's two approaches by their name in the published CSV of Figure 7.
APPROACHES: dict[str, str] = {"SI UniFormer-S": "si_uniformer_s", "3D U-Net": "unet3d"}


def grid_name(approach: str, frames: int, period: int) -> str:
    """The group name of one cell of Figure 7, such as ``3D U-Net 32x1``."""
    return f"{approach} {frames}x{period}"


def _figure7_groups(profile: Profile, seed: int, options: Options) -> dict[str, RunSpec]:
    size = profile.ablation
    if size is None:
        return {}
    return {grid_name(approach, f, t): segment_run(profile, model, seed=seed, clip=ClipSpec(frames=f, period=t), ablation=True)
            for approach, model in APPROACHES.items()
            for f in (size.frames_si if model.startswith("si_") else size.frames_3d) for t in size.periods}


def _figure7_cells(profile: Profile, options: Options) -> list[Printed]:
    ran, out = _figure7_groups(profile, profile.seeds[0], options), []
    for entry in published.load("simlvseg_figure7_frames_period").to_dict("records"):
        name = grid_name(entry["approach"], entry["frames"], entry["period"])
        out.append(Printed(name, "dsc_overall", entry["dsc_overall"], group=name if name in ran else "",
                           absent="" if name in ran else left_out(profile, "F and T", options)))
    return out


#: Axes of the figure; written here so that a missing CSV stops this entry's page and not the whole registry.
FIGURE7_FRAMES = {"SI UniFormer-S": (4, 9, 16, 25), "3D U-Net": (16, 32)}
FIGURE7_PERIODS = (1, 2, 3, 5)


def _rivals(approach: str, best: str) -> tuple[str, ...]:
    names = [grid_name(approach, f, t) for f in FIGURE7_FRAMES[approach] for t in FIGURE7_PERIODS]
    return tuple(n for n in names if n != best)


FIGURE7 = Experiment(
    id="simlvseg_figure7", number="Figure 7", place=5, title="Number of frames and sampling period",
    published="simlvseg_figure7_frames_period", notebook="simlvseg_figure7", groups=_figure7_groups, cells=_figure7_cells,
    options=Figure7Options(),
    claims=(
        Claim("For super images 16 frames at period 5 score best", "SI UniFormer-S 16x5",
              _rivals("SI UniFormer-S", "SI UniFormer-S 16x5")),
        Claim("For the 3D U-Net 32 frames at period 1 score best", "3D U-Net 32x1", _rivals("3D U-Net", "3D U-Net 32x1")),
        Claim("With 32 frames the 3D U-Net loses by a longer period", "3D U-Net 32x1",
              tuple(grid_name("3D U-Net", 32, t) for t in (2, 3, 5))),
    ),
)

PAGES = (FIGURE7,)
