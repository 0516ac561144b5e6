"""Drive a built book in headless Chromium, from ``file://`` and with no network.

    python -m tests.book.check_site DIR [--screenshots DIR]

Every page must load, fetch nothing from outside the folder, raise no script error, show every figure with a text that
describes it, have no link, within the site, that leads nowhere, and break no rule of axe-core (``tests.book.axe``), on a
desktop, on a phone and in the dark theme. Ends with counts like pytest's and status 1 when something is wrong. Needs an
installed Chromium or Chrome; downloads none.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from playwright.sync_api import Browser, Error, Page, sync_playwright

from tests.book import axe

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
#: Pages that Sphinx makes beside those of the table of contents.
MACHINERY = ("genindex.html", "search.html", "py-modindex.html")

_FIGURES = """() => [...document.querySelectorAll(
    'article img, article video, article canvas, article svg[role=img]')].map(e => ({
    name: (e.currentSrc || e.src || e.id || e.tagName).slice(0, 80),
    shown: e.tagName === 'IMG' ? e.complete && e.naturalWidth > 0 : e.tagName === 'VIDEO' ? e.readyState >= 1 && !e.error : true,
    text: (e.alt || e.getAttribute('aria-label') || e.getAttribute('title') || '').trim()}))"""
_READY = """async () => {
    document.querySelectorAll('img[loading=lazy]').forEach(i => i.loading = 'eager');
    document.querySelectorAll('details').forEach(d => d.open = true);
    await Promise.all([...document.images].map(i => i.complete ? 0 : new Promise(r => i.onload = i.onerror = r)));
    await Promise.all([...document.querySelectorAll('video')].map(v => v.readyState >= 1 || v.error ? 0
        : new Promise(r => { v.onloadedmetadata = v.onerror = r; v.preload = 'metadata'; v.load(); setTimeout(r, 10000); })));
    if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
    await document.fonts.ready;
}"""
_REFRESH = re.compile(r"<meta[^>]+http-equiv=[\"']?refresh", re.IGNORECASE)
_STILL = "*, *::before, *::after { transition: none !important; animation: none !important }"
_DARK = "() => { document.documentElement.dataset.theme = document.documentElement.dataset.mode = 'dark'; }"
_UNSET_MATH = "() => document.querySelectorAll('.math').length > 0 && !document.querySelector('mjx-container') ? 1 : 0"
_WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@dataclass
class Report:
    """What was looked at and what is wrong, by page."""

    pages: list[str] = field(default_factory=list)
    figures: int = 0
    links: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def failed(self) -> set[str]:
        """Pages with at least one fault."""
        return {text.split(": ", 1)[0] for text in self.wrong}


class _Anchors(HTMLParser):
    """Link targets and ids of one page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.ids.update(v for k, v in found.items() if k in ("id", "name") and v)
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])


def find_pages(site: Path) -> list[Path]:
    """Every page of the site, without those that only look things up or redirect."""
    return [p for p in sorted(site.rglob("*.html")) if p.name not in MACHINERY
            and not {"_static", "offline", "_sources"} & set(p.relative_to(site).parts)]


def check_links(site: Path, report: Report) -> None:
    """Links within the site lead to a file of it, and their ``#fragment`` to an id there."""
    parsed: dict[Path, _Anchors] = {}

    def anchors(page: Path) -> _Anchors:
        if page not in parsed:
            parsed[page] = _Anchors()
            parsed[page].feed(page.read_text(encoding="utf-8"))
        return parsed[page]

    for page in find_pages(site):
        name = page.relative_to(site).as_posix()
        for link in anchors(page).links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if parts.scheme == "file":
                    report.wrong.append(f"{name}: link to a file of this machine: {link}")
                continue
            report.links += 1
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page.resolve()
            target = target / "index.html" if target.is_dir() else target
            if not target.is_relative_to(site.resolve()) or not target.is_file():
                report.wrong.append(f"{name}: broken link: {link}")
            elif parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in anchors(target).ids:
                report.wrong.append(f"{name}: link to a missing anchor: {link}")


def check_page(browser: Browser, site: Path, page_path: Path, report: Report, screenshots: Path | None) -> None:
    """Load one page at both sizes; collect requests, script errors and figures."""
    name = page_path.relative_to(site).as_posix()
    found: list[str] = []
    for size, (width, height) in SIZES.items():
        context = browser.new_context(viewport={"width": width, "height": height}, offline=True)
        page = context.new_page()
        _listen(page, site.resolve().as_uri(), found)
        try:
            page.goto(page_path.resolve().as_uri(), wait_until="load", timeout=60_000)
            forwards = _REFRESH.search(page_path.read_text(encoding="utf-8"))
            if forwards:
                page.wait_for_url(lambda url: url != page_path.resolve().as_uri(), timeout=10_000)
            page.evaluate(_READY)
            page.wait_for_timeout(300)
            found += _look(page, size, report)
            if screenshots:
                shot = screenshots / f"{name.removesuffix('.html').replace('/', '-')}-{size}.png"
                page.screenshot(path=shot, full_page=True)
            if not forwards:  # the page that it leads to is looked at by itself
                found += _accessible(page, size)
        except Error as error:
            found.append(f"does not load: {error.message.splitlines()[0][:200]}")
        context.close()
    report.wrong += [f"{name}: {text}" for text in dict.fromkeys(found)]


def _listen(page: Page, root: str, found: list[str]) -> None:
    """Write every foreign request, failed request and script error of ``page`` to ``found``."""
    def request(r) -> None:
        if not r.url.startswith((root, "data:", "blob:")):
            found.append(f"request to {r.url[:120]}")

    def console(message) -> None:
        if message.type == "error":
            found.append(f"console error: {message.text[:200]}")

    page.on("request", request)
    page.on("requestfailed", lambda r: found.append(f"failed request: {r.url.removeprefix(root)[:120]} ({r.failure})"))
    page.on("pageerror", lambda e: found.append(f"script error: {e}"))
    page.on("console", console)


def _look(page: Page, size: str, report: Report) -> Iterator[str]:
    figures = page.evaluate(_FIGURES)
    report.figures += len(figures) if size == "desktop" else 0
    for figure in figures:
        place = re.sub(r"^file:.*/", "", figure["name"])
        if not figure["shown"]:
            yield f"figure does not show: {place}"
        if not figure["text"]:
            yield f"figure without a describing text: {place}"
    if page.evaluate(_UNSET_MATH):
        yield "formulas are not set"
    if page.locator(".cell_output .traceback, .cell_output pre:has-text('Traceback (most recent call last)')").count():
        yield "an output is an error"
    if (extra := page.evaluate(_WIDE)) > 1:
        yield f"{extra} px wider than a {size}"


def _accessible(page: Page, size: str) -> Iterator[str]:
    """What axe-core finds; on a desktop also the contrasts of the dark theme."""
    yield from axe.tell(axe.violations(page))
    if size == "desktop":
        page.add_style_tag(content=_STILL)  # else colours fade from one theme to the other
        page.evaluate(_DARK)
        yield from axe.tell(axe.violations(page, only=("color-contrast", "link-in-text-block")), "dark theme")


@contextmanager
def launch() -> Iterator[Browser]:
    """Headless Chromium from this machine's packages."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        raise SystemExit(f"check_site: no browser; install one of {', '.join(BROWSERS)}")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, headless=True, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


def check(site: Path, screenshots: Path | None = None, *, say=lambda text: None) -> Report:
    """Check a whole site.

    Args:
        site: folder with ``index.html``.
        screenshots: folder for a picture of every page at both sizes; made if missing.
        say: told each page as it is done.

    Raises:
        FileNotFoundError: there is no ``index.html``.
    """
    if not (site / "index.html").is_file():
        raise FileNotFoundError(f"no index.html in {site}")
    report = Report()
    check_links(site, report)
    if screenshots:
        screenshots.mkdir(parents=True, exist_ok=True)
    with launch() as browser:
        for page in find_pages(site):
            before = len(report.wrong)
            check_page(browser, site, page, report, screenshots)
            report.pages.append(page.relative_to(site).as_posix())
            say(f"{report.pages[-1]} {'ok' if len(report.wrong) == before else 'WRONG'}")
    return report


def main() -> int:
    """Command line; the status is 1 when something is wrong."""
    parser = argparse.ArgumentParser(description="check a built book in headless Chromium")
    parser.add_argument("site", type=Path, help="folder with index.html")
    parser.add_argument("--screenshots", type=Path, help="folder for pictures of every page, desktop and phone")
    parser.add_argument("--toc", type=Path, help="a _toc.yml: each of its pages must be there")
    options = parser.parse_args()
    began = time.monotonic()
    report = check(options.site, options.screenshots, say=lambda text: print(text, flush=True))
    if options.toc:
        from echolib.pages.site import toc_pages
        toc = yaml.safe_load(options.toc.read_text(encoding="utf-8"))
        missing = [page for page in toc_pages(toc) if f"{page}.html" not in report.pages]
        report.wrong += [f"{page}.html: in the table of contents but not built" for page in missing]
    for text in report.wrong:
        print(f"FAILED {text}")
    print(f"looked at {report.figures} figures and {report.links} links within the site")
    failed = len(report.failed)
    passed = len([p for p in report.pages if p not in report.failed])
    print(f"==== {f'{failed} failed, ' if failed else ''}{passed} passed in {time.monotonic() - began:.2f}s ====")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
