"""A page as its notebook opens it: the ledger, the declaration with the reader's values, and words for what is shown.

The same checks hold however a notebook is run: by the batch, by papermill itself, or cell by cell. papermill runs a notebook all
the same when it is given a parameter that the notebook does not have, and so does a reader who mistypes a name in the parameters
cell; so both cells are looked up among those that the kernel has executed, and their names are held against the page's.
"""

from __future__ import annotations

import ast
import html
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pandas as pd
from IPython import get_ipython
from IPython.display import HTML

from echolib.config.profile import Profile
from echolib.errors import ConfigError, RecordError
from echolib.evaluation.kinds.threshold import ThresholdSpec
from echolib.ledger.ledger import Ledger
from echolib.ledger.workspace import Workspace
from echolib.pages.catalogue import Catalogue, source
from echolib.pages.experiment import Experiment, Options
from echolib.pages.head import parameters_html
from echolib.pages.notebooks import literal, parameters_of, validate

#: First line of the cell that papermill injects.
_INJECTED = "# Parameters"


@dataclass(frozen=True)
class Page:
    """An opened page.

    Attributes:
        ledger: of the profile with the reader's values.
        entry: the page's main entry with the reader's values.
        others: further entries of the same notebook.
        asked: the profile's name.
        values: parameters of the page by name, as the notebook gave them.
    """

    ledger: Ledger
    entry: Experiment
    others: tuple[Experiment, ...]
    asked: str
    values: dict[str, object] = field(default_factory=dict)

    @property
    def profile(self) -> Profile:
        """The profile with the reader's values."""
        return self.ledger.workspace.profile

    @property
    def options(self) -> Options:
        """The reader's values."""
        return self.entry.options

    @property
    def where(self) -> str:
        """What ours was measured on: ``EchoNet-Dynamic`` or ``phantoms (smoke)``."""
        return "EchoNet-Dynamic" if self.profile.echonet.phantom is None else f"phantoms ({self.asked})"

    @property
    def seeds(self) -> str:
        """``1 seed`` or ``3 seeds``."""
        count = len(self.profile.seeds)
        return "1 seed" if count == 1 else f"{count} seeds"

    @property
    def baseline(self) -> pd.DataFrame:
        """Scores of the threshold-and-fill baseline on the traced test frames, one row a frame."""
        return self.ledger.evaluate([ThresholdSpec(data=self.profile.echonet)])[0].tables["scores"]

    @property
    def notice(self) -> HTML:
        """Says that the page is not the profile's and what was changed; nothing where nothing was."""
        changed = self.entry.options.changed
        if not changed:
            return HTML("")
        told = ", ".join(f"<code>{html.escape(name)} = {html.escape(str(_shown(value)))}</code>"
                         for name, value in changed.items())
        return HTML(f'<div class="admonition warning echo-changed"><p class="admonition-title">Not the page of profile '
                    f"{html.escape(self.asked)}</p><p>A reader changed {told}. Everything else is as the profile says.</p></div>")

    @property
    def head(self) -> HTML:
        """What a page opens with: :attr:`notice`, and what a reader may turn, folded."""
        file = source(self.entry.notebook, self.ledger.workspace.root)
        turn = parameters_html(file, {"profile": self.asked} | self.values, self.asked) if file.is_file() else ""
        return HTML(self.notice.data + turn)

    def when_run(self, draw: Callable[[], HTML]) -> HTML:
        """What ``draw`` gives; a sentence where the profile runs nothing of this page."""
        if any(entry.needs(self.profile).runs for entry in (self.entry, *self.others)):
            return draw()
        return HTML(f"<p>Profile {html.escape(self.asked)} runs nothing of this page.</p>")

    def pictures(self, draw: Callable[[], HTML]) -> HTML:
        """What ``draw`` gives. A committed evaluation holds the frames that the profile's page shows; where a reader's values
        ask for others, a notice says so in place of the pictures.

        Raises:
            RecordError: a frame is missing on the profile's own page.
        """
        try:
            return draw()
        except RecordError as error:
            if not self.options.changed:
                raise
            return HTML('<div class="admonition note echo-changed"><p class="admonition-title">Pictures that are not among the '
                        f"committed records</p><p>{html.escape(str(error))}</p></div>")


def open_page(book: Catalogue, notebook: str, profile: str, values: dict[str, object]) -> Page:
    """Open a page of the book under a profile with a reader's values.

    Args:
        book: the catalogue.
        notebook: the notebook's name.
        profile: a file of ``profiles/``.
        values: parameters of the page by name; a list may be given as text, as ``papermill -p`` passes it.

    Raises:
        NotebookError: a parameter of another type than the notebook declares.
        ConfigError: an unknown page, profile or parameter, or a value out of range.
    """
    known = ("profile", *type(book.of_notebook(notebook)[0].options).model_fields)
    for name in executed_parameters():
        if name not in known:
            raise ConfigError(f"{notebook}: the page has no parameter {name!r}; its parameters: {', '.join(known)}")
    workspace = Workspace.open(profile)
    file = source(notebook, workspace.root)
    if file.is_file():  # a page that is not in this checkout declares no types
        declared = parameters_of(file)
        values = {name: literal(declared[name], value) if name in declared else value for name, value in values.items()}
    main, *others = book.turned(notebook, values)
    if file.is_file():
        validate(file, {"profile": profile} | {name: value for name, value in values.items() if name in declared})
    applied = replace(workspace, profile=main.options.applied(workspace.profile))
    shown = os.environ.get("ECHOLIB_BARS", "1") != "0"  # the book's own pages are executed without bars
    page = Page(Ledger(applied, progress=shown), main, tuple(others), profile, values)
    book.inspect(notebook, page.ledger, values)
    return page


def executed_parameters() -> list[str]:
    """Names that the last executed parameters cell and the last cell that papermill injected assign; none outside a kernel.

    Only the last of each counts: a reader who corrects a name executes the cell again, in the same kernel.
    """
    shell = get_ipython()
    last: dict[bool, list[str]] = {}
    for cell in [] if shell is None else shell.user_ns.get("In", []):
        injected = cell.startswith(_INJECTED)
        try:
            lines = ast.parse(cell).body
        except SyntaxError:  # a magic, or a cell that failed
            continue
        typed = [line.target.id for line in lines if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)]
        if injected or "profile" in typed:
            plain = [target.id for line in lines if isinstance(line, ast.Assign) for target in line.targets
                     if isinstance(target, ast.Name)]
            last[injected] = [*typed, *plain]
    return [name for names in last.values() for name in names]


def _shown(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
