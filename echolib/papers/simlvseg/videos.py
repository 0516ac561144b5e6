"""The runs of a page on whole test videos."""

from __future__ import annotations

from collections.abc import Iterable

from echolib.config.profile import Profile
from echolib.config.specs import DataSpec, RunSpec
from echolib.evaluation.kinds.video import VideoSpec


def on_videos(runs: Iterable[RunSpec], data: DataSpec, studies: int | None, *, overlap: bool = True) -> list[VideoSpec]:
    """The runs on whole test videos; a network that takes one frame at a time has no windows to lay."""
    return [VideoSpec(run=run, data=data, studies=studies, overlap=overlap and run.clip.frames > 1) for run in runs]


def on_test_videos(profile: Profile, run: RunSpec) -> VideoSpec:
    """One run on the test videos that all pages share."""
    return on_videos([run], profile.echonet, profile.probe.videos)[0]
