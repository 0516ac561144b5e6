"""How to spend a profile's core-hours: schedules of one network compared by the Dice reached and by its spread over seeds.

    python -m benchmarks.pilot --profile desk --out results/benchmarks/pilot-desk.json

Each row is one way to train the 3D U-Net (32 frames, period 1), the super-image network or a frame-wise one on the profile's
cohort from a random start: core-seconds of training, mean and sd over seeds of the mean Dice on the test split's traced frames.
Rows that were measured before are kept, so the program can be stopped.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import time
from dataclasses import replace
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks.record import VERSIONS
from echolib.config.profile import StageSize
from echolib.config.specs import RunSpec
from echolib.evaluation.complexity import hardware
from echolib.files import write_json
from echolib.ledger.ledger import Ledger
from echolib.ledger.workspace import Workspace
from echolib.papers.simlvseg.runs import segment_run

MODELS = ("unet3d", "si_uniformer_s")
FRAMEWISE = ("nnunet2d", "deeplabv3_r50")
#: what is varied: clips (of frame-wise networks: frames) drawn, batch, learning rate, schedule; DeepLabV3 keeps its own rate
PLANS = {
    "short, constant": (96, 4, 0.002, "steps"),
    "constant": (800, 4, 0.002, "steps"),
    "polynomial": (800, 4, 0.002, "polynomial"),
    "polynomial, x2": (800, 4, 0.004, "polynomial"),
    "polynomial, x4": (800, 4, 0.008, "polynomial"),
    "polynomial, x8": (800, 4, 0.016, "polynomial"),
    "polynomial, twice as long": (1600, 4, 0.004, "polynomial"),
    "frames": (3840, 16, 0.002, "polynomial"),
    "frames, x4": (3840, 16, 0.008, "polynomial"),
    "frames, x4, twice as long": (7680, 16, 0.008, "polynomial"),
}


def spec_of(workspace: Workspace, model: str, plan: tuple, width: float, precision: str, seed: int) -> RunSpec:
    """The run of one row and seed."""
    clips, batch, lr, schedule = plan
    epochs = max(2, math.ceil(clips / (2 * workspace.profile.echonet.phantom.train)))  # an epoch has each traced frame once
    size = StageSize(epochs=epochs, batch=batch, steps=clips // batch // epochs, lr=lr, schedule=schedule)
    profile = workspace.profile.model_copy(update={"segment": size, "framewise": size, "width": width, "precision": precision})
    return segment_run(profile, model, seed=seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="desk")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=[*MODELS, *FRAMEWISE])
    parser.add_argument("--widths", nargs="+", type=float, default=[0.25])
    parser.add_argument("--precisions", nargs="+", default=["32-true"], choices=["32-true", "bf16-mixed"])
    parser.add_argument("--plans", nargs="+", default=list(PLANS))
    parser.add_argument("--part", default="0/1", help="this process's share of the rows, such as 0/2")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    opened = Workspace.open(asked.profile)
    # its runs lie apart: they are no results of the profile
    ledger = Ledger(replace(opened, profile=opened.profile.model_copy(update={"quotable": False})), progress=False)
    mine, count = (int(n) for n in asked.part.split("/"))
    about = {"date": date.today().isoformat(), "hardware": hardware(), "versions": {name: version(name) for name in VERSIONS},
             "profile": asked.profile, "phantom": opened.profile.echonet.phantom.model_dump(mode="json")}
    rows = json.loads(asked.out.read_text())["rows"] if asked.out.is_file() else []
    done = {(row["model"], row["plan"], row["width"], row["precision"]) for row in rows}
    wanted = [one for one in itertools.product(asked.models, asked.plans, asked.widths, asked.precisions) if one not in done]
    for model, name, width, precision in wanted[mine::count]:
        scores, seconds = [], []
        for seed in range(asked.seeds):
            spec = spec_of(opened, model, PLANS[name], width, precision, seed)
            began = time.process_time()
            ledger.require([spec])
            seconds.append(time.process_time() - began)
            scores.append(100 * float(ledger.scores(spec)["dice"].mean()))
        clips, batch, lr, schedule = PLANS[name]
        rows.append({"model": model, "plan": name, "width": width, "precision": precision, "clips": clips, "batch": batch,
                     "lr": lr, "schedule": schedule,
                     "core_seconds": round(statistics.mean(seconds), 1), "dice": round(statistics.mean(scores), 2),
                     "sd": round(statistics.stdev(scores), 2), "seeds": [round(s, 2) for s in scores]})
        print(rows[-1], flush=True)
        write_json(asked.out, about | {"rows": rows})


if __name__ == "__main__":
    main()
