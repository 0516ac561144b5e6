"""Tables and numbers of the pages."""

from __future__ import annotations

import pytest

from echolib.pages.html import html_table, true_minus
from echolib.pages.verdict import Verdict


@pytest.mark.parametrize(("text", "shown"), [
    ("-2.69 Dice points", "−2.69 Dice points"), ("difference -.5, from -1.20 to +0.30", "difference −.5, from −1.20 to +0.30"),
    ("(-3)", "(−3)"), ("p = 3.6e-11", "p = 3.6e-11"), ("R18-34, 16-17 px, 2-D", "R18-34, 16-17 px, 2-D"),
    ('<td style="top: -3px" data-x="-1">-1</td>', '<td style="top: -3px" data-x="-1">−1</td>')])
def test_negative_numbers_get_a_minus_sign_and_nothing_else(text, shown):
    assert true_minus(text) == shown


def test_cells_and_verdicts_are_set_so_and_the_first_cell_a_name_is_not():
    page = html_table("Differences", ("Run", "Points"), [("run -1", "-0.50 <small>(p = 1e-3)</small>")])
    assert "<th scope=\"row\">run -1</th><td>−0.50 <small>(p = 1e-3)</small></td>" in page
    assert Verdict("holds", "difference -0.50 points").why == "difference −0.50 points"
