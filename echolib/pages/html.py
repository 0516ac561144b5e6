"""Tables of the pages."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

#: Characters from which on a cell is a sentence, that must not be squeezed into a column of one word.
SENTENCE = 60

_MINUS = re.compile(r"(?<![\w.–−-])-(?=\.?\d)")
_TAG = re.compile(r"(<[^>]*>)")


def true_minus(text: str) -> str:
    """Text with a minus sign before its negative numbers; the hyphen of "1e-10", "16-17", "R18-34" and of tags stays."""
    return "".join(part if part.startswith("<") else _MINUS.sub("−", part) for part in _TAG.split(text))


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """:func:`html_table` as a MyST raw block."""
    return f"````{{raw}} html\n{html_table(caption, head, rows)}\n````\n"


def html_table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "echo-table") -> str:
    """A table that scrolls sideways on a narrow screen.

    Args:
        caption: plain text, also its accessible name.
        head: HTML of the column headings.
        rows: HTML of the cells; the first cell of each row is its heading. Negative numbers get a minus sign.
        kind: class of the style sheet.
    """
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(f'<tr><th scope="row">{first}</th>' + "".join(f"<td>{_readable(cell)}</td>" for cell in rest) + "</tr>"
                   for first, *rest in rows)
    label = html.escape(caption, quote=True)  # a group, no landmark: of those each must have a name of its own on the page
    return (f'<div class="echo-scroll" tabindex="0" role="group" aria-label="{label}"><table class="{kind}">'
            f"<caption><span>{html.escape(caption)}</span></caption><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>")


def _readable(cell: str) -> str:
    """A cell with minus signs, that keeps a width at which a sentence can be read, on a narrow screen too."""
    cell = true_minus(cell)
    return f'<span class="echo-sentence">{cell}</span>' if len(re.sub(r"<[^>]*>", "", cell)) >= SENTENCE else cell
