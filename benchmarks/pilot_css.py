"""With which clips and at which rate CSS' networks of the ejection fraction learn in a profile's few steps.

    python -m benchmarks.pilot_css --profile desk --out results/benchmarks/pilot-css-desk.json

Each row is f_m (frames and the masks of the supervised segmenter) or frames alone, trained in one way on the share of labels that
most tables have: mean absolute error and correlation on the test split, one clip a video. A constant, the mean of the labelled
ejection fractions, stands beside them. Rows that were measured before are kept, so the program can be stopped.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from dataclasses import replace
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from benchmarks.record import VERSIONS
from echolib.config.profile import StageSize
from echolib.config.specs import ClipSpec, RunSpec
from echolib.data.subsets import labelled_studies
from echolib.evaluation.complexity import hardware
from echolib.files import write_json
from echolib.ledger.ledger import Ledger
from echolib.ledger.workspace import Workspace
from echolib.papers.css.runs import data_of, multi_input, segmenter, size_of, subset_of, video_only

NETWORKS = ("frames", "frames and masks")
#: What is varied: frames and period of a clip, epochs of 12 steps, learning rate, which falls as a polynomial.
PLANS = {"16 frames, 360 steps": (16, 4, 30, 0.001), "8 frames, 480 steps, x3": (8, 8, 40, 0.003)}


def spec_of(workspace: Workspace, network: str, plan: tuple, seed: int) -> RunSpec:
    """The run of one row and seed."""
    frames, period, epochs, lr = plan
    size = size_of(workspace.profile)
    profile = workspace.profile.model_copy(update={"css": size.model_copy(update={
        "clip": ClipSpec(frames=frames, period=period),
        "regress": StageSize(epochs=epochs, batch=8, steps=12, lr=lr, schedule="polynomial")})})
    if network == "frames":
        return video_only(profile, size.base, seed)
    return multi_input(profile, segmenter(profile, "Supervised", size.base, seed), size.base, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="desk")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--plans", nargs="+", default=list(PLANS), choices=list(PLANS))
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    opened = Workspace.open(asked.profile)
    # not quotable: what is committed does not count, the pilot measures
    ledger = Ledger(replace(opened, profile=opened.profile.model_copy(update={"quotable": False})), progress=False)
    size, data = size_of(opened.profile), data_of(opened.profile)
    rows = json.loads(asked.out.read_text())["rows"] if asked.out.is_file() else []
    studies = ledger.store_of(data).studies
    labelled = labelled_studies(studies, subset_of(size.base).labelled, subset_of(size.base).seed)
    constant = (studies.loc[studies["split"] == "test", "ef"] - studies.loc[labelled, "ef"].mean()).abs().mean()
    about = {"date": date.today().isoformat(), "hardware": hardware(), "profile": asked.profile,
             "versions": {name: version(name) for name in VERSIONS}, "phantom": data.phantom.model_dump(mode="json"),
             "mae_of_the_mean": round(float(constant), 2)}
    done = {(row["network"], row["plan"]) for row in rows}
    for network, plan in itertools.product(NETWORKS, asked.plans):
        if (network, plan) in done:
            continue
        specs = [spec_of(opened, network, PLANS[plan], seed) for seed in range(asked.seeds)]
        records = ledger.require(specs)
        tables = [ledger.scores(spec) for spec in specs]
        errors = [float((t["predicted_ef"] - t["ef"]).abs().mean()) for t in tables]
        frames, period, epochs, lr = PLANS[plan]
        rows.append({"network": network, "plan": plan, "frames": frames, "period": period, "steps": 12 * epochs, "batch": 8,
                     "lr": lr, "labels": size.base, "mae": round(statistics.mean(errors), 2),
                     "seeds": [round(e, 2) for e in errors],
                     "r": [round(float(np.corrcoef(t["predicted_ef"], t["ef"])[0, 1]), 2) for t in tables],
                     "train_seconds": [round(r.train_seconds, 1) for r in records]})
        print(rows[-1], flush=True)
        write_json(asked.out, about | {"rows": rows})


if __name__ == "__main__":
    main()
