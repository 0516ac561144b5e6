"""The browser check itself, on a tiny made-up site: it passes a good one and names every fault of a bad one."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from tests.book import axe
from tests.book.check_site import Report, check, check_links, find_pages

DOT = "data:image/png;base64," + base64.b64encode(base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")).decode()


def site(folder: Path, **pages: str) -> Path:
    for name, body in pages.items():
        page = folder / f"{name}.html"
        page.write_text('<!doctype html><html lang="en"><title>t</title><meta name="viewport" content="width=device-width"><body>'
                        f"<main><article><h1>t</h1>{body}</article></main></body></html>", encoding="utf-8")
    return folder


def test_axe_core_is_the_file_that_the_readme_names():
    readme = (axe.SCRIPT.parents[1] / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(axe.SCRIPT.read_bytes()).hexdigest() in readme
    assert (axe.SCRIPT.parent / "LICENSE").read_text(encoding="utf-8").startswith("Mozilla Public License, version 2.0")


def test_many_places_of_one_rule_are_counted():
    found = [axe.Violation("label", "critical", f"#i{n}", "<input", "fix it") for n in range(7)]
    assert list(axe.tell(found)) == [f"axe label (critical) at #i{n}: fix it" for n in range(5)] + ["axe label: 2 more places"]
    assert list(axe.tell(found[:1], "dark theme")) == ["axe label (critical) at #i0: fix it [dark theme]"]


def test_links_are_followed_on_disk(tmp_path):
    site(tmp_path, index='<a href="b.html#there">x</a><a href="#gone">x</a><a href="c.html">x</a><a href="../d.html">x</a>'
                         '<a href="https://example.org/">x</a><a href="b.html#nowhere">x</a>', b='<p id="there">x</p>')
    report = Report()
    check_links(tmp_path, report)
    assert report.links == 5
    assert sorted(report.wrong) == [
        "index.html: broken link: ../d.html", "index.html: broken link: c.html",
        "index.html: link to a missing anchor: #gone", "index.html: link to a missing anchor: b.html#nowhere"]


def test_machinery_is_no_page(tmp_path):
    site(tmp_path, index="", search="", genindex="")
    (tmp_path / "_static").mkdir()
    site(tmp_path / "_static", x="")
    assert [p.name for p in find_pages(tmp_path)] == ["index.html"]


def test_a_folder_without_a_home_page_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        check(tmp_path)


@pytest.mark.browser
def test_a_good_site_passes(tmp_path):
    entry = '<div class="citation" id="id1" role="doc-biblioentry"><p>A. Author. A title.</p></div>'
    (tmp_path / "style.css").write_text("p { color: #222 }")  # axe-core must not fetch it: a page from a file may not
    site(tmp_path, index=f'<link rel="stylesheet" href="style.css"><img src="{DOT}" alt="a dot"><a href="b.html">b</a>',
         b=f'<p>text</p><div role="list" class="citation-list">{entry}</div>')
    (tmp_path / "c.html").write_text('<meta http-equiv="Refresh" content="0; url=b.html" />')
    report = check(tmp_path, tmp_path / "shots")
    assert report.wrong == [] and report.pages == ["b.html", "c.html", "index.html"] and report.figures == 1
    assert len(list((tmp_path / "shots").glob("*.png"))) == 6


@pytest.mark.browser
@pytest.mark.parametrize(("body", "fault"), [
    ('<script src="https://example.org/x.js"></script>', "request to https://example.org/x.js"),
    ('<script>fetch("http://127.0.0.1:9/x").catch(() => 0)</script>', "request to http://127.0.0.1:9/x"),
    ("<script>throw new Error('broken')</script>", "script error: broken"),
    ("<script>console.error('oh')</script>", "console error: oh"),
    ('<img src="none.png" alt="x">', "figure does not show: none.png"),
    (f'<img src="{DOT}">', "figure without a describing text"),
    ('<video src="none.mp4" aria-label="x"></video>', "figure does not show: none.mp4"),
    ('<p style="width:2000px">x</p>', "wider than a phone"),
    ('<div class="math">x</div>', "formulas are not set"),
    ('<div class="cell_output"><pre>Traceback (most recent call last)</pre></div>', "an output is an error"),
    (f'<img src="{DOT}">', "axe image-alt (critical) at img: "),
    ('<p style="color:#999">pale</p>', "axe color-contrast (serious) at p: fix any of the following: Element has "
     "insufficient color contrast of 2.84"),
    ('<div role="button" tabindex="0">a<button>b</button></div>', "axe nested-interactive (serious) at div: "),
    ('<h3>deep</h3>', "axe heading-order (moderate) at h3: "),
    ('<div role="list" class="other"><p>x</p></div>', "axe aria-required-children (critical) at div: "),
    ('<input>', "axe label (critical) at input: "),
    ('<style>html[data-theme=dark] body{background:#111}</style><p>black</p>', "insufficient color contrast of 1.11"),
])
def test_each_fault_is_named(tmp_path, body, fault):
    report = check(site(tmp_path, index=body))
    assert any(text.startswith("index.html: ") and fault in text for text in report.wrong), report.wrong
    assert report.failed == {"index.html"}
