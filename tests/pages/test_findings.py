"""The head of the front page: a question is answered by the verdict on its claim, and no claim goes missing."""

from __future__ import annotations

import pandas as pd
import pytest

from echolib.errors import RecordError
from echolib.pages import overview
from echolib.pages.catalogue import Catalogue, Paper, Question
from echolib.pages.experiment import Experiment
from echolib.pages.findings import findings_html, glance_html
from echolib.papers.book import BOOK
from tests.papers.standin import StandIn

CLAIMED = pd.DataFrame({"experiment": ["a", "a", "b"], "claim": ["x > y", "y > z", "x > y"],
                        "status": ["holds", "undecided", "does not hold"], "why": ["p < 0.01", "p = 1", "reversed"]})


def book(*questions: Question) -> Catalogue:
    paper = Paper("p", "The <paper>", place=1, questions=questions)
    return Catalogue({paper: tuple(Experiment(id=i, number=f"Table {i}", title="t", notebook=i, place=k)
                                   for k, i in enumerate(("a", "b", "c")))})


def test_answers_follow_from_verdicts():
    text = findings_html(book(Question("Is x > y?", "a", "x > y"), Question("And there?", "b", "x > y"),
                              Question("Is y > z?", "a", "y > z")), CLAIMED)
    first, second, third = text.split("<li>")[1:]
    assert "Is x &gt; y?" in first and ">Yes</span> p &lt; 0.01." in first and 'href="../notebooks/a.html"' in first
    assert 'echo-does-not-hold">No</span> reversed.' in second and 'echo-undecided">Open</span> p = 1.' in third


def test_a_question_about_a_claim_that_nobody_makes_is_refused():
    with pytest.raises(RecordError, match="'a' does not make: 'gone'; its claims: x > y; y > z"):
        findings_html(book(Question("?", "a", "gone")), CLAIMED)


def test_every_claim_has_its_square():
    text = glance_html(book(), CLAIMED)
    squares = text.partition("</figcaption>")[2]
    assert squares.count("echo-square") == 3 and squares.count("<li>") == 2 and "Table c" not in text
    assert "The &lt;paper&gt;" in text and "3 claims" in text and "1 hold here, 1 do not, 1 are undecided" in text
    assert 'title="y &gt; z: undecided">?</span>' in squares


@pytest.mark.parametrize("name", ["smoke", "desk", "paper"])
def test_the_questions_of_this_book_name_claims_that_its_pages_make(name):
    asked = [(p, q) for p in BOOK.papers for q in p.questions]
    assert len(asked) >= 6
    for paper, question in asked:
        entry = BOOK.entries[question.entry]
        assert entry in BOOK.pages[paper]
        if entry.judge is None:
            assert question.claim in {claim.text for claim in entry.claims}
    family = next(p for p in BOOK.papers if p.id == "companion")
    made = set(overview.all_claims(BOOK, family, StandIn(name, family=None)).claim)
    assert {q.claim for p, q in asked if q.entry == "family"} <= made


def test_cells_that_wait_for_data_are_counted_apart():
    found = pd.DataFrame({"status": ["holds", "awaiting data", "awaiting data", "exact"]})
    text = overview.counts_html(found, "cells")
    assert text.startswith('<p class="echo-legend">2 cells that can be judged here: Another 2 can only')
    assert text.partition("<ul")[2].count("<li>") == 2 and "awaiting" not in text.partition("<ul")[2]
