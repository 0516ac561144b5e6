"""The head of the front page: what was found, in a sentence a question, and every claim of the papers at a glance."""

from __future__ import annotations

import html

import pandas as pd

from echolib.errors import RecordError
from echolib.pages.catalogue import Catalogue, Paper
from echolib.pages.experiment import Experiment

#: Verdict on a claim -> the answer to the question that it stands for.
ANSWERS = {"holds": "Yes", "does not hold": "No", "no difference": "No difference", "undecided": "Open", "not run": "Not asked"}
#: Verdict on a claim -> the sign in its square, so that nothing rests on colour alone.
SIGNS = {"holds": "✓", "does not hold": "✗", "no difference": "=", "undecided": "?", "not run": "–"}


def findings_html(book: Catalogue, claimed: pd.DataFrame) -> str:
    """The book's questions with their answers.

    Args:
        book: whose questions.
        claimed: all claims with their verdicts, from :func:`echolib.pages.overview.all_claims`.

    Raises:
        RecordError: a question names a claim that is not there.
    """
    verdicts, items = claimed.set_index(["experiment", "claim"]), []
    for one in (question for paper in book.papers for question in paper.questions):
        if (one.entry, one.claim) not in verdicts.index:
            known = "; ".join(claimed.claim[claimed.experiment == one.entry])
            raise RecordError(f"the front page asks for a claim that entry {one.entry!r} does not make: {one.claim!r}; "
                              f"its claims: {known}")
        found = verdicts.loc[(one.entry, one.claim)]
        answer = f'<span class="echo-chip {_kind(found.status)}">{ANSWERS[found.status]}</span>'
        items.append(f"<li><strong>{html.escape(one.text)}</strong> {answer} {html.escape(found.why)}. "
                     f"{_link(book.entries[one.entry])}</li>")
    return f'<ol class="echo-findings">{"".join(items)}</ol>'


def glance_html(book: Catalogue, claimed: pd.DataFrame) -> str:
    """Every claim as a square, a row a table or figure, a block a paper: as printed each holds; the squares say what is here."""
    counts = claimed.status.value_counts()
    told = ", ".join(f"{counts.get(status, 0)} {words}" for status, words in (
        ("holds", "hold here"), ("does not hold", "do not"), ("undecided", "are undecided")))
    if same := counts.get("no difference", 0):
        told += f", {same} make no difference"
    if left_out := counts.get("not run", 0):
        told += f", {left_out} this profile does not ask"
    key = " ".join(f"{_square(status)} {status}" for status in SIGNS if counts.get(status, 0))
    return (f'<figure class="echo-glance" aria-label="Claims at a glance: {told}"><figcaption>The papers make {len(claimed)} '
            f"claims that one thing is better than another; {told}. {key}</figcaption>"
            f"{''.join(_block(book, paper, claimed) for paper in book.papers)}</figure>")


def _block(book: Catalogue, paper: Paper, claimed: pd.DataFrame) -> str:
    rows = []
    for entry in book.pages[paper]:
        part = claimed[claimed.experiment == entry.id]
        squares = "".join(_square(r.status, f"{r.claim}: {r.status}") for r in part.itertuples())
        rows += [f"<li>{_link(entry)} <span>{squares}</span></li>"] if squares else []
    return f"<section><h3>{html.escape(paper.title)}</h3><ul>{''.join(rows)}</ul></section>" if rows else ""


def _square(status: str, tip: str = "") -> str:
    about = f' title="{html.escape(tip, quote=True)}"' if tip else ""
    return f'<span class="echo-square {_kind(status)}"{about}>{SIGNS[status]}</span>'


def _kind(status: str) -> str:
    return f"echo-{status.replace(' ', '-')}"


def _link(entry: Experiment) -> str:
    return f'<a href="../notebooks/{entry.notebook}.html">{html.escape(entry.number)}</a>'
