"""Parameters and FLOPs of the full-width networks, counted once and kept beside the code fingerprint."""

from __future__ import annotations

import json
from pathlib import Path

from echolib import models
from echolib.evaluation.complexity import Complexity, measure
from echolib.files import locked, write_json
from echolib.ledger.code import code_fingerprint
from echolib.ledger.provenance import versions

#: Frames of the clip on which each network's paper counts it.
PAPER_FRAMES: dict[str, int] = {"unet3d": 32, "unet3d_s": 32, "si_uniformer_s": 16, "si_resnet18": 16, "si_mobilenetv3": 16,
                                "si_vit_b16": 16, "deeplabv3_r50": 1, "nnunet2d": 1}


def count(build: Path, name: str) -> Complexity:
    """Parameters and FLOPs of a network as published (width 1, 112 px), from the cache in ``build`` when it is current."""
    cache = build.parent / "complexity.json"
    stamp = {"code": code_fingerprint(("models", "evaluation/complexity.py")), "versions": versions()}
    with locked(cache.with_name(".complexity.lock")):
        known = json.loads(cache.read_text(encoding="utf-8")) if cache.is_file() else {}
        if known.get("stamp") != stamp:
            known = {"stamp": stamp, "counts": {}}
        if name not in known["counts"]:
            frames = PAPER_FRAMES[name]
            found = measure(models.build(name, frames=frames), frames=frames, size=112)
            known["counts"][name] = {"parameters": found.parameters, "gflops": found.gflops,
                                     "gflops_per_frame": found.gflops_per_frame}
            write_json(cache, known)
    return Complexity(**known["counts"][name])
