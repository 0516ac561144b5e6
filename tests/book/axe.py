"""Accessibility of a loaded page by axe-core (``vendor/axe-core``): every violation with its place and how to mend it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from playwright.sync_api import Page

SCRIPT = Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js"
#: What is asked of every page: WCAG 2.0 A and AA, what 2.1 adds at AA, and best practice (landmarks, headings, names). Of what
#: 2.1 adds at A axe-core has one rule, still an experiment, which takes the theme's key hints for part of a button's name.
RULES = ("wcag2a", "wcag2aa", "wcag21aa", "best-practice")
#: Places of one rule that are named on one page; of the others only the number is told.
MOST = 5

# preload: axe-core would fetch every style sheet once more, which a browser refuses to a page from a file.
_RUN = """async ([rules, only]) => {
    const found = await axe.run(document, {resultTypes: ['violations'], preload: false,
        runOnly: only ? {type: 'rule', values: only} : {type: 'tag', values: rules}});
    return found.violations.flatMap(v => v.nodes.map(n => ({rule: v.id, help: v.help, impact: n.impact || v.impact || 'minor',
        target: n.target.flat().join(' '), html: n.html, mend: n.failureSummary || v.help})));
}"""


@dataclass(frozen=True)
class Violation:
    """One place of a page that breaks a rule.

    Attributes:
        rule: axe-core's name of the rule, such as ``color-contrast``.
        impact: minor, moderate, serious or critical.
        target: CSS selector of the element.
        html: how the element begins.
        mend: what would be right, in axe-core's words.
    """

    rule: str
    impact: str
    target: str
    html: str
    mend: str

    def __str__(self) -> str:
        return f"axe {self.rule} ({self.impact}) at {self.target}: {self.mend}"


@dataclass(frozen=True)
class FalseAlarm:
    """A rule that is wrong about one kind of element: ``html`` matches how the element begins; ``why`` it is wrong."""

    rule: str
    html: re.Pattern
    why: str


_ENTRY = re.compile(r'<div class="citation" id="[^"]*" role="doc-biblioentry">')
FALSE_ALARMS = (
    FalseAlarm("aria-required-children", re.compile(r'<div role="list" class="citation-list">'),
               "docutils writes the bibliography as a list of doc-biblioentry, a role that is a list item by DPUB-ARIA 1.0"),
    FalseAlarm("aria-allowed-role", _ENTRY, "the same entries: docutils puts the role on a div, which may bear any role"),
    FalseAlarm("aria-deprecated-role", _ENTRY, "the same entries: DPUB-ARIA 1.1 deprecates the role that docutils still writes"))


def violations(page: Page, only: tuple[str, ...] = ()) -> list[Violation]:
    """Everything that axe-core finds wrong with a loaded page, without the known false alarms.

    Args:
        page: the page, loaded and settled.
        only: names of the rules to try; empty: all of :data:`RULES`.
    """
    if page.evaluate("() => typeof axe") == "undefined":
        page.evaluate(_source())
    found = page.evaluate(_RUN, [RULES, only or None])
    all_ = [Violation(f["rule"], f["impact"], f["target"], f["html"], _sentence(f["mend"])) for f in found]
    return [v for v in all_ if not any(v.rule == a.rule and a.html.match(v.html) for a in FALSE_ALARMS)]


def tell(found: list[Violation], where: str = "") -> Iterator[str]:
    """One line a place, at most :data:`MOST` of each rule; ``where`` says under which conditions, such as ``dark theme``."""
    for rule in dict.fromkeys(v.rule for v in found):
        places = [v for v in found if v.rule == rule]
        yield from (f"{v}{f' [{where}]' if where else ''}" for v in places[:MOST])
        if len(places) > MOST:
            yield f"axe {rule}: {len(places) - MOST} more places{f' [{where}]' if where else ''}"


@cache
def _source() -> str:
    return SCRIPT.read_text(encoding="utf-8")


def _sentence(summary: str) -> str:
    """axe-core's summary, a heading with a list under it, as one line."""
    heading, *lines = (line.strip() for line in summary.splitlines() if line.strip())
    return f"{heading.rstrip(':').lower()}: {'; '.join(lines)}" if lines else heading
