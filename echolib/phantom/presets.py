"""The knobs of a clip and the distributions they are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

PRESETS = ("echonet", "camus", "wide", "foreshortening", "poor_quality", "effusion", "arrhythmia")


@dataclass(frozen=True)
class ClipParameters:
    """Every knob of one clip; lengths in cm, times in s, angles in rad, levels in dB unless the name says otherwise."""

    preset: str
    layout: str                 # 'echonet' | 'camus'
    view: str                   # '4CH' | '2CH'
    seed: tuple[int, ...]
    frames: int
    fps: float
    height: int
    width: int
    quality: str                # 'Good' | 'Medium' | 'Poor' for camus, '' for echonet
    first: str                  # phase of the first frame of a camus half-cycle: 'ED' | 'ES'; '' when the clip starts anywhere
    heart_rate: float           # bpm
    ef: float                   # %, of the traced beat
    edv_ml: float

    def knobs(self) -> dict:
        """Every field as plain JSON types."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def draw(preset: str, seed: int | Sequence[int], *, frames: int | None = None, layout: Literal["echonet", "camus"] | None = None,
         view: Literal["4CH", "2CH"] = "4CH", quality: str | None = None, first: Literal["ED", "ES"] | None = None,
         size: tuple[int, int] | None = None) -> ClipParameters:
    """Draw the knobs of one clip.

    Args:
        preset: one of :data:`PRESETS`.
        seed: an integer or a sequence of integers; the same seed gives the same patient in both views.
        frames: clip length; None draws it (EchoNet's lengths, or a half-cycle's 10-42 for ``camus``).
        layout: framing and scanner; None: ``camus`` for the preset ``camus``, ``echonet`` otherwise.
            ``camus`` clips are half-cycles: from ED to ES or from ES to ED, first and last frame being the traced ones.
        view: ``2CH`` only differs in ``camus`` framing: no right heart.
        quality: force CAMUS' image quality (Good, Medium or Poor); None draws it 260/148/42.
        first: force the first phase of a half-cycle; None draws it.
        size: (height, width) of the frames, px; None: 112 x 112, or about 0.308 mm pixels for ``camus``.
    """
    raise RuntimeError("the presets are not in this commit yet")
