"""The method page: the two stages and the super image, drawn from the runs of Table 1 themselves."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from echolib.config.profile import Profile
from echolib.ledger.counts import PAPER_FRAMES
from echolib.pages.experiment import Experiment, Needs, Options, SeedOptions
from echolib.papers.simlvseg.table1 import TABLE1


class MethodOptions(SeedOptions):
    """How many clips are reconstructed, and which networks are drawn."""

    clips: int = Field(12, ge=1, le=100, description="a whole number from 1 to 100")
    networks: tuple[Literal[tuple(PAPER_FRAMES)], ...] = Field(
        ("unet3d", "si_uniformer_s"), description=f"a list of different networks: {', '.join(PAPER_FRAMES)}")
    width: float = Field(1.0, gt=0, le=1, description="a number above 0, up to 1")


def _more(profile: Profile, options: Options) -> Needs:
    """The networks of both stages, first seed."""
    runs = TABLE1.runs(profile)
    video, image = runs["SimLVSeg-3D"][0], runs["SimLVSeg-SI"][0]
    needed = (video.parents["init"], image.parents["init"], video, image)
    return Needs(runs=needed, weights=needed)


METHOD = Experiment(id="simlvseg_method", number="Method", title="How SimLVSeg works", place=1, notebook="simlvseg_method",
                    more=_more, options=MethodOptions(), prose=("book/method",))

PAGES = (METHOD,)
