"""PKEcho-Net's propagation and SSCF's calibration against what one would write down: unfold, and a kernel for every sample.

Command:  python benchmarks/propagation.py [--record]
Needs:    nothing; one thread for the parts, two for the networks
Takes:    under a minute
Aim:      no row slower than the restatement
Prints:   for each row and side n, mean and sd, the ratio, hardware, versions, load

Propagation mixes shifted coarse maps neighbour by neighbour into the fine map; its restatement makes nine copies of that map
(``propagate_unfolded``). Calibration convolves a neighbour with the shared matrix and mixes by sample after; its twin forms
every sample's kernel first (``explicit``), as the released network does.
"""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import patch

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import record  # noqa: E402
from benchmarks.roofline import measure  # noqa: E402
from echolib.models import build, pkecho  # noqa: E402
from echolib.models.pkecho_propagation import propagate, propagate_unfolded  # noqa: E402

#: key, what it is, frames, stages, coarse size, factor
MAPS = (("infer_320", "the finest map of ten frames of 320 px, forward", 10, 1, 80, 4),
        ("infer_128", "the same of 128 px", 10, 1, 32, 4),
        ("train_128", "two frames of eight clips of 128 px, four stages, forward and backward", 16, 4, 32, 4))


def mixed(rule, coarse: torch.Tensor, affinities: torch.Tensor, factor: int, backward: bool) -> None:
    """One propagation by a rule."""
    if backward:
        rule(coarse.requires_grad_(), affinities.requires_grad_(), factor).square().mean().backward()
        coarse.grad = affinities.grad = None
    else:
        with torch.no_grad():
            rule(coarse.detach(), affinities.detach(), factor)


def forward(model: torch.nn.Module, clip: torch.Tensor, **how: object) -> None:
    """One forward pass."""
    with torch.no_grad():
        model(clip, **how)


def forward_unfolded(model: torch.nn.Module, clip: torch.Tensor) -> None:
    """One forward pass of PKEcho-Net with the restatement in it."""
    with patch.object(pkecho, "propagate", propagate_unfolded):
        forward(model, clip)


def main() -> None:
    """Measure and report."""
    parser = record.options("Propagation and calibration.", device=False)
    parser.add_argument("--n", type=int, default=5, help="timed runs of each side")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    started, roofline = record.load(), measure("cpu")
    rows = []
    for key, what, frames, stages, size, factor in MAPS:
        given = torch.randn(frames, stages, size, size), torch.randn(frames, 9 * factor ** 2, size, size), factor
        backward = key.startswith("train")
        times = record.in_turn(lambda g=given, b=backward: mixed(propagate, *g, b),
                               lambda g=given, b=backward: mixed(propagate_unfolded, *g, b), chosen.n)
        rows.append(record.row(key, f"propagation, {what}", "ms", *(record.side(side, 1e3) for side in times), target=1))
    torch.set_num_threads(2)
    for size in (128, 320):
        model, clip = build("pkecho_r18", frames=10, size=size, seed=0).eval(), torch.zeros(1, 3, 10, size, size)
        times = record.in_turn(lambda m=model, c=clip: forward(m, c), lambda m=model, c=clip: forward_unfolded(m, c), chosen.n)
        rows.append(record.row(f"network_{size}", f"PKEcho-Net / ResNet-18, ten frames of {size} px, two threads", "ms",
                               *(record.side(side, 1e3) for side in times), target=1))
    clip, middle = torch.zeros(1, 3, 3, 112, 112), torch.tensor([1])
    shared, explicit = (build("sscf", frames=3, size=112, seed=0, options={"explicit": how}).eval() for how in (False, True))
    times = record.in_turn(lambda: forward(shared, clip, at=middle), lambda: forward(explicit, clip, at=middle), chosen.n)
    rows.append(record.row("calibration_112", "SSCF, a window of 112 px, two threads", "ms",
                           *(record.side(side, 1e3) for side in times), target=1))
    record.report("propagation", chosen, started, roofline, rows)


if __name__ == "__main__":
    main()
