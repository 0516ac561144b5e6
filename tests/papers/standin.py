"""A ledger whose runs and evaluations are all finished, with made-up scores: for tests of what pages make of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from echolib.config import load_profile
from echolib.ledger.workspace import Workspace

ROOT = Path(__file__).parents[2]
PROFILES = {name: load_profile(ROOT / "profiles" / f"{name}.yml") for name in ("smoke", "desk", "phantom", "paper")}


class StandIn:
    """See the head of this file.

    Args:
        name: of the profile.
        gain: part of a run's or evaluation's specification (as JSON text) -> what it adds to every Dice.
        changes: to the profile.
    """

    def __init__(self, name: str = "desk", gain: dict[str, float] | None = None, **changes: object) -> None:
        profile = PROFILES[name].model_copy(update={"bootstrap": 200} | changes)
        self.workspace = Workspace(root=ROOT, profile=profile, build=ROOT / "build" / name)
        self.gain = gain or {}

    def _lift(self, spec) -> float:
        text = spec.model_dump_json()
        return sum(value for part, value in self.gain.items() if part in text)

    def scores(self, spec) -> pd.DataFrame:
        """Of 20 patients, both phases."""
        return self._frames(spec)

    def _frames(self, spec) -> pd.DataFrame:
        rng = np.random.default_rng(int(spec.key[:8], 16))
        names = [f"s{i:02d}" for i in range(20) for _ in (0, 1)]
        px = rng.integers(300, 600, 40)
        dice = np.clip(0.85 + self._lift(spec) + rng.normal(0, 0.02, 40), 0, 1)
        table = pd.DataFrame({"study": names, "patient": names, "frame": [3, 12] * 20, "phase": ["ED", "ES"] * 20, "dice": dice,
                              "intersection": px, "predicted_px": px + 20, "traced_px": px + 10, "auc": 0.9 + dice / 20})
        return table.assign(**{f"{d}_{u}": 5 - 4 * dice for d in ("hd", "hd95", "asd") for u in ("px", "mm")})

    def require(self, specs) -> list:
        """Records."""
        return [SimpleNamespace(key=s.key, spec=s) for s in specs]

    def evaluate(self, specs) -> list:
        """Evaluations of traced frames or of whole videos."""
        out = []
        for spec in specs:
            frames = self._frames(spec)
            rng, by = np.random.default_rng(int(spec.key[:8], 16) + 1), frames.groupby(["study", "patient"], as_index=False)
            studies = by.dice.mean().assign(view="4CH", quality="Good")
            ef = np.linspace(30, 70, len(studies))
            error = rng.normal(0, 4, len(studies))
            studies = studies.assign(ef=ef, ef_disks=ef + error, ef_triangle=ef + 1.2 * error, traced_ef_disks=ef,
                                     traced_ef_triangle=ef, ef_error=abs(error), edv=120.0, esv=60.0, exact_edv=115.0,
                                     exact_esv=58.0,
                                     dice_between=studies.dice - 0.02, hd_px=3.0, hd95_px=2.0, asd_px=1.0, auc=0.95,
                                     traced_dice=studies.dice, untraced_dice=studies.dice - 0.02,
                                     worst_dice=studies.dice - 0.2,
                                     flicker=10 ** rng.normal(-4, 0.1, 20),
                                     area_rmse=3.0, exact_ef=ef, fps=50.0)
            out.append(SimpleNamespace(tables={"frames": frames, "studies": studies}, frames=frames, studies=studies,
                                       record=SimpleNamespace(spec=spec, key=spec.key)))
        return out
