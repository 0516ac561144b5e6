"""From a profile to a rendered book: cohort, store, runs, notebooks, pages."""

from __future__ import annotations

import time
from pathlib import Path

from echolib.files import locked, write_atomic
from echolib.models.imagenet import check_obtainable
from echolib.reproduce import overview, scorecard
from echolib.reproduce.book import assemble, build
from echolib.reproduce.experiments import REGISTRY
from echolib.reproduce.ledger import Ledger
from echolib.reproduce.notebooks import execute, is_current
from echolib.reproduce.provenance import code_fingerprint
from echolib.reproduce.workspace import Workspace

#: Notebooks of the book in reading order.
NOTEBOOKS = ("phantom_atlas", "simlvseg_table1", "simlvseg_figure7", "simlvseg_figure8", "simlvseg_table2",
             "ejection_fraction", "real_clip")


def make_book(profile: str) -> Path:
    """Make the book of a profile; whatever is current is not made again. Returns its home page.

    Raises:
        EcholibError: a step failed; the message names it. Pages already built stay as they were.
    """
    workspace = Workspace.open(profile)
    with locked(workspace.build / ".book.lock"):
        return _make(workspace)


def _make(workspace: Workspace) -> Path:
    began = time.perf_counter()

    def say(text: str) -> None:
        print(f"[{time.perf_counter() - began:6.0f} s] {text}", flush=True)

    ledger = Ledger(workspace, say=say)
    say(f"profile {workspace.profile.name}: {workspace.profile.purpose}")
    wanted = [spec for entry in REGISTRY.values() for group in entry.runs(workspace.profile).values() for spec in group]
    specs = list({spec.key: spec for spec in wanted}.values())  # pages share runs
    for name in sorted({spec.model.name for spec in specs if spec.model.imagenet}):
        check_obtainable(name)
    store = ledger.store
    say(f"store: {len(store.studies)} studies, data fingerprint {store.fingerprint[:16]}")
    for finding in store.report.itertuples():
        say(f"  {finding.action}: {finding.file}: {finding.problem}")
    records = ledger.require(specs)
    say(f"runs: {len(records)} records")
    executed = [_notebook(workspace, name, [f"{r.key} {r.provenance.finished}" for r in records], say) for name in NOTEBOOKS]
    table1 = REGISTRY["simlvseg_table1"]
    generated = {"scorecard.md": _raw_html(scorecard.scorecard_html(table1, ledger))
                 + _raw_html(scorecard.claims_html(scorecard.claims(table1, ledger)))
                 + _raw_html(scorecard.provenance_html(
                     [ledger.state(spec)[0] for group in table1.runs(workspace.profile).values() for spec in group],
                     workspace.profile.name))}
    found, claimed = overview.all_cells(ledger), overview.all_claims(ledger)
    generated["overview.md"] = _raw_html(overview.overview_html(found, claimed))
    generated["scorecard.md"] = _raw_html(overview.counts_html(found, "published cells of the paper")) + generated["scorecard.md"]
    for name, text in generated.items():
        write_atomic(workspace.build / "generated" / name, text)
    say("pages")
    staging = assemble(workspace.root, workspace.build / "staging", executed, generated, overview.record_files(ledger, found))
    home = build(staging, workspace.build / "html")
    say("done")
    return home.relative_to(workspace.root)


def _notebook(workspace: Workspace, name: str, inputs: list[str], say) -> Path:
    source = workspace.root / "notebooks" / f"{name}.ipynb"
    out = workspace.build / "notebooks" / f"{name}.ipynb"
    # The atlas shows phantoms with their truth, which real data has not: under a real profile it shows the smallest cohort.
    real = workspace.profile.echonet.phantom is None
    parameters = {"profile": "smoke" if real and name == "phantom_atlas" else workspace.profile.name}
    inputs = [*inputs, f"code {code_fingerprint(('',))}"]
    current, why = is_current(source, out, parameters, inputs)
    if not current:
        say(f"notebook {name}: {why}")
        execute(source, out, parameters, cwd=workspace.root, inputs=inputs)
    return out


def _raw_html(text: str) -> str:
    return f"````{{raw}} html\n{text}\n````\n\n"
