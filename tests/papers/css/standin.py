"""A ledger whose runs of CSS are all finished: equal but for what a test says of them, so that no difference is chance."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pandas as pd

from echolib.config.specs import RunSpec
from tests.papers.standin import StandIn

STUDIES = [f"s{k:02d}" for k in range(20)]
#: CAMUS has three qualities; so many of the made-up studies are of each.
QUALITIES = ["Good"] * 12 + ["Medium"] * 6 + ["Poor"] * 2
EF = np.linspace(30, 70, len(STUDIES))


class Chain(StandIn):
    """See the head of this file.

    Args:
        name: of the profile.
        better: a run, None for pixels or exact masks -> how much better it is: tenths of a network's usual error of the ejection
            fraction, Dice points, Dice points of attention, hundredths of a beat.
        changes: to the profile.
    """

    def __init__(self, name: str = "phantom", better: Callable[[RunSpec | None], float] = lambda run: 0.0, **changes: object
                 ) -> None:
        super().__init__(name, **changes)
        self.better = better

    def _random(self, spec) -> tuple[np.random.Generator, float]:
        """Equal for all runs of a seed, and how much better this one is."""
        run = spec if isinstance(spec, RunSpec) else spec.run
        return np.random.default_rng(1 if run is None else run.seed), self.better(run)

    def scores(self, spec) -> pd.DataFrame:
        """Ejection fractions, or Dice of traced frames."""
        return self._numbers(spec) if spec.recipe.gives == "number" else self._frames(spec)

    def _numbers(self, spec) -> pd.DataFrame:
        rng, lift = self._random(spec)
        error = rng.normal(0, 6, len(STUDIES)) * (1 - lift / 10)
        return pd.DataFrame({"study": STUDIES, "patient": STUDIES, "ef": EF, "predicted_ef": EF + error})

    def _frames(self, spec) -> pd.DataFrame:
        rng, lift = self._random(spec)
        names = np.repeat(STUDIES, 2)
        dice = 0.85 + rng.normal(0, 0.02, len(names)) + lift / 100
        return pd.DataFrame({"study": names, "patient": names, "frame": np.tile([3, 12], len(STUDIES)),
                             "phase": np.tile(["ED", "ES"], len(STUDIES)), "dice": dice})

    def log(self, spec) -> pd.DataFrame:
        """Of a run by the cycle; its weight and scale decide what it says."""
        relative = spec.recipe.scale == "spread"
        return pd.DataFrame({"step": range(6), "supervised": 1000.0, "cyclical": 2.0 if relative else 3000.0,
                             "entropy": 0.4 if relative else 0.0, "came_round": [0.0, 1.0] * 3,
                             "gradient_ratio": [0.2 if relative else 0.003, np.nan, np.nan] * 2})

    def evaluate(self, specs) -> list:
        """Evaluations of every kind that the pages ask for."""
        return [self._evaluation(spec) for spec in specs]

    def _evaluation(self, spec) -> SimpleNamespace:
        made, bulk = getattr(self, f"_{spec.kind}")(spec), {}
        if spec.kind == "cycle":
            made, bulk = made
        tables = {"frames": None, "studies": None} | made
        return SimpleNamespace(tables=made, frames=tables["frames"], studies=tables["studies"], bulk=bulk.__getitem__,
                               record=SimpleNamespace(spec=spec, key=spec.key))

    def _number(self, spec) -> dict[str, pd.DataFrame]:
        studies = self._numbers(spec.run).assign(view="4CH", quality=QUALITIES, clips=3, clip_sd=1.0)
        clips = pd.concat([studies[["study"]].assign(start=k, predicted_ef=studies.predicted_ef + k - 1.0) for k in range(3)])
        return {"studies": studies, "clips": clips}

    def _video(self, spec) -> dict[str, pd.DataFrame]:
        frames = self._frames(spec)
        dice = frames.groupby("study").dice.mean().to_numpy()
        rng, lift = self._random(spec)
        studies = pd.DataFrame({"study": STUDIES, "patient": STUDIES, "traced_dice": dice, "untraced_dice": dice - 0.05,
                                "worst_dice": dice - 0.2, "worst_frame": np.arange(len(STUDIES)), "exact_ef": EF,
                                "ef": EF + rng.normal(0, 4, len(STUDIES)) * (1 - lift / 10)})
        studies.loc[0, "ef"] = np.nan  # no beat was found
        return {"studies": studies}

    def _attention(self, spec) -> dict[str, pd.DataFrame]:
        frames = self._frames(spec).assign(ceiling=0.8, inside=0.3, area=0.1, inside_clip=0.28, area_clip=0.09)
        return {"frames": frames.assign(dice=frames.dice - 0.5)}

    def _cycle(self, spec) -> tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame]]:
        rng, lift = self._random(spec)
        error = 0.2 + rng.normal(0, 0.01, len(STUDIES)) - lift / 100
        studies = pd.DataFrame({"study": STUDIES, "patient": STUDIES, "error": error, "soft_error": error, "entropy": 0.5,
                                "loss": 1.0, "came_round": 0.5, "phase_correlation": 0.1, "beat_frames": 40.0})
        matches = pd.DataFrame({"study": STUDIES, "patient": STUDIES, "error": error})
        drawn = STUDIES[:spec.drawn]
        points = pd.DataFrame([(name, k, k / 4, rng.normal(), rng.normal()) for name in drawn for k in range(4)],
                              columns=["study", "frame", "phase", "x", "y"])
        i, j = np.indices((4, 4)).reshape(2, -1)
        far = pd.concat([pd.DataFrame({"study": name, "i": i, "j": j, "distance": abs(i - j) / 3}) for name in drawn])
        return {"studies": studies, "matches": matches, "embedding": points}, {"distances": far}

    def _lengths(self, spec) -> dict[str, pd.DataFrame]:
        return {"splits": pd.DataFrame({"split": ["train", "val", "test"], "studies": [30, 4, 8], "short": [7, 1, 2]})}
