"""The footer under a table or figure: where its numbers came from."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable

from echolib.evaluation.scores import Score
from echolib.ledger.code import run_code
from echolib.ledger.committed import code_changed
from echolib.ledger.evaluations import Evaluation, kind_code
from echolib.ledger.provenance import Provenance, short
from echolib.ledger.records import Record


def provenance_html(records: list[Record], profile: str) -> str:
    """The footer of numbers that come from runs."""
    seeds = sorted({r.spec.seed for r in records})
    seconds = sum(r.provenance.wall_seconds for r in records)
    tested = sorted({f"{r.dice.frames} frames of {r.dice.patients} patients" for r in records
                     if isinstance(r.scores.get("overall"), Score)})
    origins = [(r.provenance, run_code(r.spec)) for r in records]
    return items_html({
        "Profile": profile, "Runs": ", ".join(f"{r.key} ({r.spec.label})" for r in records),
        "Seeds": ", ".join(map(str, seeds)), "Scored on": "; ".join(tested) or "nothing",
        **origin_items(origins, ("echolib", "monai", "python", "timm", "torch")),
        "Wall time": f"{seconds:.0f} s of training and scoring, stage 1 not counted"})


def evaluations_html(evaluations: list[Evaluation], profile: str) -> str:
    """The footer of numbers that come from evaluations: which, of which runs, on what, with which code."""
    records = [e.record for e in evaluations]
    origins = [(r.provenance, kind_code(r.spec, r.spec.run)) for r in records]
    return items_html({
        "Profile": profile, "Evaluations": ", ".join(f"{r.key} ({r.spec.label})" for r in records),
        "Runs": ", ".join(sorted({r.spec.run.key for r in records if r.spec.run})),
        "Seeds": ", ".join(str(s) for s in sorted({r.spec.run.seed for r in records if r.spec.run})),
        "Frames": f"{sum(r.frames for r in records)} in {sum(r.studies for r in records)} videos, all networks together",
        **origin_items(origins, ("echolib", "numpy", "python", "scipy", "torch")),
        "Wall time": f"{sum(r.provenance.wall_seconds for r in records):.0f} s, training not counted"})


def origin_items(origins: list[tuple[Provenance, str]], packages: tuple[str, ...]) -> dict[str, str]:
    """What results share and where they differ: commit, code, data, hardware, versions, date; as items of a footer.

    Args:
        origins: provenance of each result, of this machine or committed, and today's fingerprint of the code that computes it.
        packages: whose versions are named, in this order: a record's own changes when it is read back.
    """
    def distinct(texts: Iterable[str]) -> str:
        return "; ".join(dict.fromkeys(texts))

    found = [p for p, _ in origins]
    items = {"Commit": ", ".join(sorted({short(p.commit) + (" with uncommitted changes" if p.uncommitted_changes else "")
                                         for p in found})),
             "Code": ", ".join(sorted({p.code for p in found}))}
    older = Counter(text for p, today in origins if (text := code_changed(p, today)))
    if older:
        items["Code today"] = "; ".join(f"{count} of {len(found)} {why}" for why, count in older.items())
    return items | {"Data": ", ".join(sorted({p.data[:16] for p in found})),
                    "Hardware": distinct(f"{p.hardware}, {p.threads} threads" for p in found),
                    "Versions": distinct(", ".join(f"{name} {p.versions[name]}" for name in packages if name in p.versions)
                                         for p in found),
                    "Finished": max(p.finished for p in found)}


def items_html(items: dict[str, str]) -> str:
    """The items of a footer, folded."""
    body = "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(str(v))}</dd>" for k, v in items.items())
    return f'<details class="echo-provenance"><summary>Where these numbers come from</summary><dl>{body}</dl></details>'
