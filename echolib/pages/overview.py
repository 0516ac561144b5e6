"""The scorecard page: every published cell of every table and figure of the paper, its status and where to look.

It is made from the registry at build time. A published table that no entry of the registry answers is listed as well, cell by
cell, as *not run*: nothing that the paper prints goes missing.
"""

from __future__ import annotations

import html

import numpy as np
import pandas as pd

from echolib import published
from echolib.ledger.ledger import Ledger
from echolib.pages.entries import Experiment
from echolib.pages.scorecard import COUNT_COLUMNS, DICE_COLUMNS, cells, chip, claims
from echolib.pages.static import html_table
from echolib.pages.verdict import STATUSES
from echolib.papers.simlvseg.experiments import REGISTRY

#: Headings of published columns beside those of the scorecard.
_HEADINGS = {k: v[0] for k, v in (DICE_COLUMNS | COUNT_COLUMNS).items()} | {"ms_per_frame": "Time per frame, ms", "dsc": "Dice"}
#: Columns that belong to a value beside them: ends of its interval, its spread, how often it was measured.
_BESIDE = ("lo", "hi", "sd", "runs")


def all_cells(ledger: Ledger, paper: str = "simlvseg") -> pd.DataFrame:
    """Every published cell of a paper: columns of ``scorecard.Cell`` and ``experiment``, ``records`` (keys, a tuple).

    Raises:
        RecordError: a cell would have no status.
    """
    entries = [e for e in REGISTRY.values() if e.paper == paper]
    tables = []
    for entry in entries:
        runs, groups = entry.runs(ledger.workspace.profile), {}
        if entry.measure is None:
            groups = {(p.row, p.column): p.group for p in entry.cells(ledger.workspace.profile)}
        table = cells(entry, ledger)
        keys = [tuple(s.key for s in runs.get(groups.get((r.row, r.column), ""), [])) for r in table.itertuples()]
        tables.append(table.assign(experiment=entry.id, records=keys))
    answered = {e.published for e in entries}
    tables += [unanswered(name) for name in published.names() if name.startswith(f"{paper}_") and name not in answered]
    return pd.concat([t for t in tables if len(t)], ignore_index=True)


def unanswered(name: str) -> pd.DataFrame:
    """The cells of a published table that no entry of the registry answers, each *not run*."""
    table, out = published.load(name), []
    numbers = [c for c in table.select_dtypes("number") if c not in _BESIDE and not c.endswith(("_lo", "_hi", "_sd"))]
    words = [c for c in table.select_dtypes(exclude="number") if c != "hardware"]
    for entry in table.to_dict("records"):
        row = ", ".join(f"{c} {entry[c]}" if len(words) > 1 else str(entry[c]) for c in words)
        for column in numbers:
            low, high = (entry.get(f"{column}_{end}", entry.get(end, np.nan)) for end in ("lo", "hi"))
            out.append({"row": row, "column": column, "published": entry[column], "published_low": low, "published_high": high,
                        "ours": np.nan, "low": np.nan, "high": np.nan, "status": "not run", "experiment": name, "records": (),
                        "why": "no page of this book measures it"})
    return pd.DataFrame(out)


def all_claims(ledger: Ledger, paper: str = "simlvseg") -> pd.DataFrame:
    """Every claim of a paper's entries: columns experiment, claim, status, why."""
    tables = [claims(e, ledger).assign(experiment=e.id) for e in REGISTRY.values() if e.paper == paper and (e.claims or e.judge)]
    return pd.concat(tables, ignore_index=True)


def counts_html(found: pd.DataFrame, what: str) -> str:
    """How many of the statuses there are, as a list of labels."""
    counts = found.status.value_counts()
    items = "".join(f"<li>{chip(s)} {counts[s]}</li>" for s in STATUSES if s in counts)
    return f'<p class="echo-legend">{len(found)} {html.escape(what)}:</p><ul class="echo-counts">{items}</ul>'


def overview_html(found: pd.DataFrame, claimed: pd.DataFrame) -> str:
    """The page's body: counts, the claims and the cells, as tables that sort.

    Args:
        found: from :func:`all_cells`.
        claimed: from :func:`all_claims`.
    """
    claim_rows = [(_page(r.experiment), html.escape(r.claim), chip(r.status), html.escape(r.why)) for r in claimed.itertuples()]
    cell_rows = [(_page(r.experiment), html.escape(str(r.row)), html.escape(_HEADINGS.get(r.column, r.column)),
                  _value(r.published, r.column), _value(r.ours, r.column), chip(r.status), html.escape(r.why),
                  _links(r.experiment, r.records)) for r in found.itertuples()]
    return (counts_html(claimed, "claims") + html_table("Claims about an order", ("Where", "Claim", "Verdict", "Why"), claim_rows,
                                                        "echo-claims echo-sortable")
            + counts_html(found, "published cells")
            + html_table("Published cells; Dice published on EchoNet-Dynamic (Table 3: CAMUS), ours, unless the profile reads "
                         "it, on phantoms",
                         ("Where", "Cell", "Quantity", "Published", "Here", "Status", "Why", "Look at"), cell_rows,
                         "echo-table echo-sortable"))


def record_files(ledger: Ledger, found: pd.DataFrame) -> dict:
    """Path in the built site -> record, for every record that the page links to."""
    keys, profile = {key for group in found.records for key in group}, ledger.workspace.profile
    specs = {s.key: s for entry in REGISTRY.values() for group in entry.runs(profile).values() for s in group}
    return {f"records/{key}.json": ledger.record_file(specs[key]) for key in sorted(keys)}


def _title(experiment: Experiment) -> str:
    figures = [e.number for e in REGISTRY.values() if e.draws == experiment.id]
    return ", ".join([experiment.number, *figures])


def _page(name: str) -> str:
    if name not in REGISTRY:
        return html.escape(name.removeprefix("simlvseg_").replace("_", " "))
    entry = REGISTRY[name]
    return f'<a href="../notebooks/{entry.notebook}.html">{html.escape(_title(entry))}</a>'


def _links(name: str, records: tuple[str, ...]) -> str:
    if name not in REGISTRY:
        return "–"
    links = [f'<a href="../_sources/notebooks/{REGISTRY[name].notebook}.ipynb">notebook</a>']
    links += [f'<a href="../records/{key}.json">record{f" {i}" if len(records) > 1 else ""}</a>'
              for i, key in enumerate(records, 1)]
    return " ".join(links)


def _value(value: float, column: str) -> str:
    return "–" if np.isnan(value) else f"{value:.4f}" if column == "dsc" else f"{value:.2f}"
