"""The book: every paper that has a folder here, with the pages that its modules declare.

A folder of ``papers/`` whose ``__init__`` declares ``PAPER`` is a part of the book; a module in it that declares ``PAGES``
declares pages. To add one: a published CSV, a module, a notebook.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

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
        ConfigError: a page is no :class:`Experiment`, or a paper's name is not its folder's.
    """
    found = {}
    for part in iter_modules([str(folder)]):
        paper = getattr(import_module(f"{package}.{part.name}"), "PAPER", None) if part.ispkg else None
        if paper is None:
            continue
        if paper.id != part.name:
            raise ConfigError(f"{package}.{part.name}: PAPER is called {paper.id!r}; expected {part.name!r}, its folder's name")
        pages: list[Experiment] = []
        for module in iter_modules([str(folder / part.name)]):
            name = f"{package}.{part.name}.{module.name}"
            declared = getattr(import_module(name), "PAGES", ())
            if not all(isinstance(page, Experiment) for page in declared):
                raise ConfigError(f"{name}: PAGES holds something that is no Experiment; expected a tuple of Experiments")
            pages += declared
        found[paper] = tuple(pages)
    return found


BOOK = Catalogue(discover(Path(__file__).parent, "echolib.papers"), closing=YOUR_TURN)


def open_page(notebook: str, profile: str, **values: object) -> Page:
    """Open a page of this book, see :func:`echolib.pages.reader.open_page`."""
    return reader.open_page(BOOK, notebook, profile, values)
