"""The page on a real clip: a network that has seen phantoms alone meets an echocardiogram."""

from __future__ import annotations

from pydantic import Field

from echolib.config.profile import Profile
from echolib.pages.experiment import Experiment, Needs, Options, SeedOptions
from echolib.papers.simlvseg.table1 import TABLE1


class RealClipOptions(SeedOptions):
    """How many pictures stand in a row, and from how many training studies the usual brightness is taken."""

    columns: int = Field(6, ge=1, le=12, description="a whole number from 1 to 12")
    studies: int = Field(12, ge=1, le=1000, description="a whole number from 1 to 1000")


def _more(profile: Profile, options: Options) -> Needs:
    """SimLVSeg-3D of the first seed."""
    run = TABLE1.runs(profile)["SimLVSeg-3D"][0]
    return Needs(runs=(run,), weights=(run,))


REAL_CLIP = Experiment(id="real_clip", number="Real clip", title="A real echocardiogram", place=2, notebook="real_clip",
                       more=_more, options=RealClipOptions())

PAGES = (REAL_CLIP,)
