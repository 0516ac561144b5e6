"""The book: every paper that has a folder here, with the pages that its modules declare.

A folder of ``papers/`` whose ``__init__`` declares ``PAPER`` is a part of the book; a module in it that declares ``PAGES``
declares pages. To add one: a published CSV, a module, a notebook.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

from echolib.errors import ConfigError
from echolib.pages import reader
from echolib.pages.catalogue import Catalogue, Paper
from echolib.pages.experiment import Experiment
from echolib.pages.reader import Page

#: The last part of the book: pages for those who bring their own data, or build on this.
YOUR_TURN = ("Your turn", ("book/own_data", "book/batch", "book/speed", "book/how_built", "book/reference", "book/bibliography"))


def discover(folder: Path, package: str) -> dict[Paper, tuple[Experiment, ...]]:
    """The papers below a folder and the pages of each.

    Args:
        folder: of the package.
        package: its dotted name.

    Raises:
        ConfigError: a module cannot be imported, ``PAPER`` or ``PAGES`` holds something else, a paper's name is not its folder's,
            it lacks the page that leads its scorecard, or two pages have one name. The file is named.
    """
    found: dict[Paper, tuple[Experiment, ...]] = {}
    declared_in: dict[str, str] = {}
    for part in sorted(iter_modules([str(folder)]), key=lambda part: part.name):
        if not part.ispkg:
            continue
        where = f"{package.replace('.', '/')}/{part.name}"
        paper = getattr(_module(f"{package}.{part.name}", f"{where}/__init__.py"), "PAPER", None)
        if paper is None:
            continue
        if not isinstance(paper, Paper):
            raise ConfigError(f"{where}/__init__.py: PAPER is {paper!r}; expected a Paper")
        if paper.id != part.name:
            raise ConfigError(f"{where}/__init__.py: PAPER is called {paper.id!r}; expected {part.name!r}, its folder's name")
        pages: list[Experiment] = []
        for module in iter_modules([str(folder / part.name)]):
            file = f"{where}/{module.name}.py"
            for page in getattr(_module(f"{package}.{part.name}.{module.name}", file), "PAGES", ()):
                if not isinstance(page, Experiment):
                    raise ConfigError(f"{file}: PAGES holds {page!r}; expected Experiments")
                if page.id in declared_in:
                    raise ConfigError(f"two pages are called {page.id!r}, in {declared_in[page.id]} and {file}; expected every "
                                      "name once")
                declared_in[page.id] = file
                pages.append(page)
        if paper.lead and paper.lead not in {page.id for page in pages}:
            raise ConfigError(f"{where}/__init__.py: paper {paper.id!r} has no page {paper.lead!r} to lead its scorecard; its "
                              f"pages: {', '.join(page.id for page in pages) or 'none'}")
        found[paper] = tuple(pages)
    return found


def _module(name: str, file: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(f"{file}: cannot be imported: {error}") from error


BOOK = Catalogue(discover(Path(__file__).parent, "echolib.papers"), closing=YOUR_TURN)


def open_page(notebook: str, profile: str, **values: object) -> Page:
    """Open a page of this book, see :func:`echolib.pages.reader.open_page`."""
    return reader.open_page(BOOK, notebook, profile, values)
