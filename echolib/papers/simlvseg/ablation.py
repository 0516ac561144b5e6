"""What the ablation pages share (Table 2, Figures 7 and 8).

Ablation runs are named by their specification alone, so that pages that need the same run share it.
"""

from __future__ import annotations

from echolib.config.profile import Profile
from echolib.pages.experiment import Options


def left_out(profile: Profile, what: str, options: Options) -> str:
    """Why a printed cell has no value of ours."""
    if profile.ablation is None:
        return f"profile {profile.name!r} runs no ablations"
    if options.changed.keys() - {"seeds"}:
        return f"not among the values of {what} that were asked for"
    return f"not among the values of {what} that profile {profile.name!r} runs"
