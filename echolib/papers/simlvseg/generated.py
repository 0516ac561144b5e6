"""Parts of the Markdown pages that follow from the package alone: the published Table 1, the protocols' options, the profiles."""

from __future__ import annotations

import html
import math
from pathlib import Path

from pydantic import BaseModel

from echolib import published
from echolib.config import Profile, load_profile, switches
from echolib.pages.html import table

#: Field of ``echolib.config.Switches`` -> (audit row, what it decides).
SWITCHES = {
    "interval": ("1", "confidence interval"),
    "mean_dice": ("2", "mean Dice of a split"),
    "loss": ("3", "Dice loss of stage 2"),
    "pretrain_optimiser": ("4", "optimiser of stage 1"),
    "segment_optimiser": ("4", "optimiser of stage 2 (70 epochs)"),
    "reconstruct": ("6", "what stage 1 reconstructs"),
    "si_counts": ("7", "what the ratio counts in super images"),
    "augment": ("8", "augmentation"),
}


def generated_parts(profiles: Path) -> dict[str, str]:
    """Generated parts by file name; pages include them from ``generated/``.

    Args:
        profiles: folder of the profiles.
    """
    return {"switches.md": switch_table(), "published_table1.md": published_table1(), "profiles.md": profile_table(profiles)}


def profile_table(folder: Path) -> str:
    """The profiles, smallest cohort first and real data last."""
    found = [load_profile(path) for path in sorted(folder.glob("*.yml"))]
    rows = []
    for p in sorted(found, key=lambda p: (p.echonet.phantom is None, _studies(p), p.name)):
        data = "EchoNet-Dynamic" if p.echonet.phantom is None else f"{_studies(p):,} phantom videos"
        schedule = f"{p.pretrain.epochs} + {p.segment.epochs} epochs"
        clips = ", ".join(f"{clip.frames} × {clip.period}" for clip in (p.clip_3d, p.clip_si))
        rows.append((f"<code>{html.escape(p.name)}</code>", data, f"× {p.width:g}", clips, schedule, str(len(p.seeds)),
                     "yes" if p.quotable else "no", html.escape(p.purpose)))
    head = ("Profile", "Data", "Network width", "Clips 3D, SI: frames × period", "Stage 1 + 2", "Seeds", "Quotable", "Purpose")
    return table("The profiles of this checkout", head, rows)


def _studies(profile: Profile) -> int:
    spec = profile.echonet.phantom
    return 0 if spec is None else spec.train + spec.val + spec.test


def switch_table() -> str:
    """Every option that a protocol sets, with its two values, read from :func:`echolib.config.switches`."""
    paper, released = switches("paper"), switches("released")
    rows = []
    for name in type(paper).model_fields:
        row, decides = SWITCHES[name]
        rows.append((row, f"<code>{name}</code>", decides, *_both(getattr(paper, name), getattr(released, name))))
    head = ("Row", "Option", "Decides", "<code>paper</code>", "<code>released</code>")
    return table("The options of the two protocols", head, rows)


def _both(paper: object, released: object) -> tuple[str, str]:
    if not isinstance(paper, BaseModel):
        return f"<code>{paper}</code>", f"<code>{released}</code>"
    a, b = paper.model_dump(), released.model_dump()
    differ = [k for k in a if a[k] != b[k]] or list(a)
    return tuple(", ".join(f"<code>{k}={_plain(values[k])}</code>" for k in differ) for values in (a, b))


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else html.escape(str(value))


def published_table1() -> str:
    """SimLVSeg's Table 1 as printed."""
    rows = []
    for entry in published.load("simlvseg_table1").to_dict("records"):
        dice = [_interval(entry[c], entry[f"{c}_lo"], entry[f"{c}_hi"]) for c in ("dsc_overall", "dsc_es", "dsc_ed")]
        rows.append((html.escape(entry["method"]), *dice, _number(entry["gflops_per_frame"]), _number(entry["params_m"])))
    head = ("Method", "Dice, all", "Dice, ES", "Dice, ED", "GFLOPs per frame", "Parameters, M")
    return table("Table 1 of the paper, as published: Dice in % on EchoNet-Dynamic’s test split, 95 % interval as printed",
                 head, rows)


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _interval(value: float, low: float, high: float) -> str:
    return _number(value) if math.isnan(low) else f"{value:.2f} <small>({low:.2f}–{high:.2f})</small>"
