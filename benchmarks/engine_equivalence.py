"""Do the fast and the plain path train to the same scores? Whole runs of a profile on both, seed by seed.

Command:  python benchmarks/engine_equivalence.py --record results/benchmarks/engine_equivalence-smoke.json
          --profile desk, --seeds 0 1 2, --only "nnU-Net" "SimLVSeg-3D" choose what is run
Needs:    nothing; runs that the profile has already are taken from build/<profile>/runs, others are trained there
Takes:    about 25 minutes on 2 cores for `smoke` with three seeds; for `desk` with six, 78 minutes of one core of an AMD EPYC.
          Three seeds of `desk` are few: the super images' scores differ by 2.6 points (standard deviation) between seeds
Expect:   for each network a mean difference (fast - plain) within two standard errors, estimated from the spread between seeds
Prints:   for each network Dice of both paths for every seed, their mean difference, the standard deviation between seeds
          (pooled over the paths), and whether the difference is within the noise

The seeds give both paths the same initial weights, clips and draws; what differs is rounding, and rounding is amplified by
training. So scores of one seed need not agree, but their distribution must.
"""

from __future__ import annotations

import argparse
import sys
from math import sqrt
from pathlib import Path
from statistics import mean, stdev

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from echolib.files import write_json  # noqa: E402
from echolib.ledger.code import run_code  # noqa: E402
from echolib.ledger.ledger import Ledger  # noqa: E402
from echolib.ledger.provenance import collect  # noqa: E402
from echolib.ledger.records import Record  # noqa: E402
from echolib.ledger.workspace import Workspace  # noqa: E402
from echolib.papers.simlvseg.table1 import TABLE1  # noqa: E402

ENGINES = ("plain", "fast")
NETWORKS = ("nnU-Net", "SimLVSeg-SI", "SimLVSeg-3D, no pre-training")


def runs_of(ledger: Ledger, networks: list[str], seeds: list[int]) -> dict[tuple[str, str], list[Record]]:
    """Records by (network, engine), one per seed."""
    out = {}
    for engine in ENGINES:
        profile = ledger.workspace.profile.model_copy(update={"engine": engine, "seeds": tuple(seeds)})
        specs = TABLE1.runs(profile)
        for network in networks:
            out[network, engine] = ledger.require(specs[network])
    return out


def row_of(network: str, plain: list[Record], fast: list[Record]) -> dict:
    """Both paths of a network, Dice in %."""
    scores = {"plain": [round(100 * r.dice.mean, 3) for r in plain], "fast": [round(100 * r.dice.mean, 3) for r in fast]}
    gap = mean(scores["fast"]) - mean(scores["plain"])
    row = {"network": network, **scores, "mean_difference": round(gap, 3), "seed_sd": None, "within_seed_noise": None,
           "train_seconds": {"plain": sum(r.train_seconds for r in plain), "fast": sum(r.train_seconds for r in fast)}}
    if len(plain) > 1:  # two standard errors of a difference of two means, each over the seeds
        spread = sqrt((stdev(scores["plain"]) ** 2 + stdev(scores["fast"]) ** 2) / 2)
        row |= {"seed_sd": round(spread, 3), "within_seed_noise": abs(gap) <= 2 * spread * sqrt(2 / len(plain))}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description="Whole runs on the fast and the plain path.")
    parser.add_argument("--profile", default="smoke")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", default=list(NETWORKS), metavar="NETWORK")
    parser.add_argument("--record", type=Path, help="write the result to this file")
    options = parser.parse_args()
    ledger = Ledger(Workspace.open(options.profile))
    records = runs_of(ledger, options.only, options.seeds)
    rows = [row_of(n, records[n, "plain"], records[n, "fast"]) for n in options.only]
    print(pd.DataFrame(rows).drop(columns="train_seconds").to_string(index=False))
    if options.record is not None:
        seconds = sum(r.provenance.wall_seconds for group in records.values() for r in group)
        where = collect(ledger.workspace.root, ledger.store.fingerprint, seconds,
                        run_code(records[options.only[0], ENGINES[0]][0].spec))
        write_json(options.record, {"profile": options.profile, "seeds": options.seeds, "rows": rows,
                                    "keys": {f"{n}, {e}": [r.key for r in group] for (n, e), group in records.items()},
                                    "provenance": where.model_dump(mode="json")})


if __name__ == "__main__":
    main()
