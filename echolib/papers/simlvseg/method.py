"""The method page: the two stages and the super image, drawn from the runs of Table 1 themselves."""

from __future__ import annotations

from echolib.config.profile import Profile
from echolib.pages.experiment import Experiment, Needs, Options
from echolib.papers.simlvseg.table1 import TABLE1


def _more(profile: Profile, options: Options) -> Needs:
    """The networks of both stages, first seed."""
    runs = TABLE1.runs(profile)
    video, image = runs["SimLVSeg-3D"][0], runs["SimLVSeg-SI"][0]
    needed = (video.parents["init"], image.parents["init"], video, image)
    return Needs(runs=needed, weights=needed)


METHOD = Experiment(id="simlvseg_method", number="Method", title="How SimLVSeg works", place=1, notebook="simlvseg_method",
                    more=_more, prose=("book/method",))

PAGES = (METHOD,)
