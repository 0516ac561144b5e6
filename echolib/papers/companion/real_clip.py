"""The page on a real clip: a network that has seen phantoms alone meets an echocardiogram."""

from __future__ import annotations

from echolib.config.profile import Profile
from echolib.pages.experiment import Experiment, Needs, Options
from echolib.papers.simlvseg.table1 import TABLE1


def _more(profile: Profile, options: Options) -> Needs:
    """SimLVSeg-3D of the first seed."""
    run = TABLE1.runs(profile)["SimLVSeg-3D"][0]
    return Needs(runs=(run,), weights=(run,))


REAL_CLIP = Experiment(id="real_clip", number="Real clip", title="A real echocardiogram", place=2, notebook="real_clip",
                       more=_more)

PAGES = (REAL_CLIP,)
