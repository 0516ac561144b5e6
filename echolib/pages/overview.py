"""The scorecard page: every published cell of every table and figure of the papers, its status and where to look.

It is made from the catalogue at build time. A published table that no page answers is listed as well, cell by cell, as *not
run*: nothing that a paper prints goes missing.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType

import numpy as np
import pandas as pd

from echolib import published
from echolib.ledger.ledger import Ledger
from echolib.pages.catalogue import Catalogue, Paper
from echolib.pages.experiment import Experiment
from echolib.pages.html import html_table
from echolib.pages.scorecard import COUNT_COLUMNS, DICE_COLUMNS, Cell, cells, chip, claims
from echolib.pages.verdict import STATUSES

#: Headings of published columns beside those of the scorecard.
_HEADINGS = {k: v[0] for k, v in (DICE_COLUMNS | COUNT_COLUMNS).items()} | {"ms_per_frame": "Time per frame, ms", "dsc": "Dice"}
#: Columns of :func:`all_cells`.
COLUMNS = (*(f.name for f in fields(Cell)), "experiment", "records")
#: No page was stopped.
NONE: Mapping[str, str] = MappingProxyType({})
#: Columns that belong to a value beside them: ends of its interval, its spread, how often it was measured.
_BESIDE = ("lo", "hi", "sd", "runs")


def all_cells(book: Catalogue, paper: Paper, ledger: Ledger, stopped: Mapping[str, str] = NONE) -> pd.DataFrame:
    """Every published cell of a paper: columns of ``scorecard.Cell`` and ``experiment``, ``records`` (keys, a tuple).

    Args:
        book, paper: whose.
        ledger: where the records are.
        stopped: by entry, why its page could not be made; its cells are *not run*.

    Raises:
        RecordError: a cell would have no status.
    """
    entries = book.pages[paper]
    tables = []
    for entry in entries:
        if entry.id in stopped:
            if entry.published and not entry.draws:
                tables.append(unanswered(entry.published).assign(experiment=entry.id, why=stopped[entry.id]))
            continue
        runs, groups = entry.runs(ledger.workspace.profile), {}
        if entry.measure is None:
            groups = {(p.row, p.column): p.group for p in entry.printed(ledger.workspace.profile)}
        table = cells(entry, ledger)
        keys = [tuple(s.key for s in runs.get(groups.get((r.row, r.column), ""), [])) for r in table.itertuples()]
        tables.append(table.assign(experiment=entry.id, records=keys))
    answered = {e.published for e in entries}
    tables += [unanswered(name) for name in published.names() if name.startswith(f"{paper.id}_") and name not in answered]
    found = [t for t in tables if len(t)]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=COLUMNS)


def unanswered(name: str) -> pd.DataFrame:
    """The cells of a published table that no page answers, each *not run*."""
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


def all_claims(book: Catalogue, paper: Paper, ledger: Ledger, stopped: Mapping[str, str] = NONE) -> pd.DataFrame:
    """Every claim of a paper's entries: columns experiment, claim, status, why. Of an entry in ``stopped`` (see
    :func:`all_cells`) those that can be told without a record, and those that the front page asks for, are *not run*."""
    tables = []
    for entry in book.pages[paper]:
        if entry.id in stopped:
            texts = [*(c.text for c in entry.claims), *(q.claim for p in book.papers for q in p.questions if q.entry == entry.id)]
            tables.append(pd.DataFrame([(text, "not run", stopped[entry.id]) for text in dict.fromkeys(texts)],
                                       columns=["claim", "status", "why"]).assign(experiment=entry.id))
        elif entry.claims or entry.judge:
            tables.append(claims(entry, ledger).assign(experiment=entry.id))
    tables = [table for table in tables if len(table)]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["claim", "status", "why", "experiment"])


def counts_html(found: pd.DataFrame, what: str) -> str:
    """How many of the statuses there are, as a list of labels; what waits for the real data is counted apart."""
    waiting, counts = (found.status == "awaiting data").sum(), found.status.value_counts()
    items = "".join(f"<li>{chip(s)} {counts[s]}</li>" for s in STATUSES if s in counts and s != "awaiting data")
    more = f" Another {waiting} can only be compared on the papers' own data {chip('awaiting data')}." if waiting else ""
    return (f'<p class="echo-legend">{len(found) - waiting} {html.escape(what)} that can be judged here:{more}</p>'
            f'<ul class="echo-counts">{items}</ul>')


def overview_html(book: Catalogue, found: pd.DataFrame, claimed: pd.DataFrame) -> str:
    """The page's body: counts, the claims and the cells, as tables that sort.

    Args:
        found: from :func:`all_cells`.
        claimed: from :func:`all_claims`.
    """
    claim_rows = [(_page(book, r.experiment), html.escape(r.claim), chip(r.status), html.escape(r.why))
                  for r in claimed.itertuples()]
    cell_rows = [(_page(book, r.experiment), html.escape(str(r.row)), html.escape(_heading(book, r.experiment, r.column)),
                  _value(r.published, r.column), _value(r.ours, r.column), chip(r.status), html.escape(r.why),
                  _links(book, r.experiment, r.records)) for r in found.itertuples()]
    return (counts_html(claimed, "claims") + html_table("Claims about an order", ("Where", "Claim", "Verdict", "Why"), claim_rows,
                                                        "echo-claims echo-sortable")
            + counts_html(found, "published cells")
            + html_table("Published cells; Dice published on the papers' data sets, ours, unless the profile reads them, on "
                         "phantoms",
                         ("Where", "Cell", "Quantity", "Published", "Here", "Status", "Why", "Look at"), cell_rows,
                         "echo-table echo-sortable"))


def parameters_html(book: Catalogue, titles: Mapping[str, str]) -> str:
    """What a reader may turn on each page beside the profile, as a table.

    Args:
        titles: of the notebooks, by name.
    """
    rows = []
    for paper in book.papers:
        for notebook in dict.fromkeys(entry.notebook for entry in book.pages[paper]):
            names = type(book.of_notebook(notebook)[0].options).model_fields
            if names:
                link = f'<a href="../notebooks/{notebook}.html">{html.escape(titles[notebook])}</a>'
                rows.append((html.escape(paper.title), link, ", ".join(f"<code>{name}</code>" for name in names)))
    return html_table("The parameters of each page", ("Part", "Page", "Takes"), rows)


def record_files(book: Catalogue, ledger: Ledger, found: pd.DataFrame) -> dict:
    """Path in the built site -> record, for every record that the page links to."""
    keys, profile = {key for group in found.records for key in group}, ledger.workspace.profile
    specs = {s.key: s for entry in book.entries.values() for group in entry.runs(profile).values() for s in group}
    return {f"records/{key}.json": ledger.runs.record_file(specs[key]) for key in sorted(keys)}


def _title(book: Catalogue, experiment: Experiment) -> str:
    figures = [e.number for e in book.entries.values() if e.draws == experiment.id]
    return ", ".join([experiment.number, *figures])


def _heading(book: Catalogue, name: str, column: str) -> str:
    """The heading of a published column, on the page or by itself."""
    own = book.entries[name].headings if name in book.entries else {}
    return own[column][0] if column in own else _HEADINGS.get(column, column)


def _page(book: Catalogue, name: str) -> str:
    if name not in book.entries:
        return html.escape(name.partition("_")[2].replace("_", " "))
    entry = book.entries[name]
    return f'<a href="../notebooks/{entry.notebook}.html">{html.escape(_title(book, entry))}</a>'


def _links(book: Catalogue, name: str, records: tuple[str, ...]) -> str:
    if name not in book.entries:
        return "–"
    links = [f'<a href="../_sources/notebooks/{book.entries[name].notebook}.ipynb">notebook</a>']
    links += [f'<a href="../records/{key}.json">record{f" {i}" if len(records) > 1 else ""}</a>'
              for i, key in enumerate(records, 1)]
    return " ".join(links)


def _value(value: float, column: str) -> str:
    return "–" if np.isnan(value) else f"{value:.4f}" if column == "dsc" else f"{value:.2f}"
