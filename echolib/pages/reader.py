"""A page as its notebook opens it: the ledger, the declaration with the reader's values, and words for what is shown.

The same checks hold however a notebook is run: by the batch, by papermill itself, or cell by cell. papermill takes a parameter
that a notebook does not have without a word, so the cell that it injected is looked up and held against the declared ones.
"""

from __future__ import annotations

import ast
import html
import os
from dataclasses import dataclass, replace

import pandas as pd
from IPython import get_ipython
from IPython.display import HTML

from echolib.config.profile import Profile
from echolib.errors import ConfigError, NotebookError
from echolib.evaluation.kinds.threshold import ThresholdSpec
from echolib.ledger.ledger import Ledger
from echolib.ledger.workspace import Workspace
from echolib.pages.catalogue import Catalogue, source
from echolib.pages.experiment import Experiment, Options
from echolib.pages.notebooks import parameters_of, validate

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
    """

    ledger: Ledger
    entry: Experiment
    others: tuple[Experiment, ...]
    asked: str

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


def open_page(book: Catalogue, notebook: str, profile: str, values: dict[str, object]) -> Page:
    """Open a page of the book under a profile with a reader's values.

    Args:
        book: the catalogue.
        notebook: the notebook's name.
        profile: a file of ``profiles/``.
        values: parameters of the page by name; None means as the profile says.

    Raises:
        NotebookError: a parameter of another name than the notebook's, or of another type.
        ConfigError: an unknown page or profile, or a value out of range.
    """
    workspace = Workspace.open(profile)
    _refuse_unknown(notebook, workspace, {"profile": profile, **values})
    unknown = sorted(values.keys() - type(book.of_notebook(notebook)[0].options).model_fields.keys())
    if unknown:
        raise ConfigError(f"{notebook}: the page has no parameter {unknown[0]!r}; its parameters: "
                          f"{', '.join(type(book.of_notebook(notebook)[0].options).model_fields)}")
    main, *others = book.turned(notebook, values)
    changed = replace(workspace, profile=main.options.applied(workspace.profile))
    shown = os.environ.get("ECHOLIB_BARS", "1") != "0"  # the book's own pages are executed without bars
    return Page(Ledger(changed, progress=shown), main, tuple(others), profile)


def _refuse_unknown(notebook: str, workspace: Workspace, given: dict[str, object]) -> None:
    """Hold the cell that papermill injected, and the values that were given, against what the notebook declares."""
    file = source(notebook, workspace.root)
    if not file.is_file():
        return  # a page that is not in this checkout has nothing to be held against
    declared = parameters_of(file)
    validate(file, {name: value for name, value in given.items() if name in declared})
    shell = get_ipython()
    for cell in [] if shell is None else shell.user_ns.get("In", []):
        if not cell.startswith(_INJECTED):
            continue
        for line in ast.parse(cell).body:
            for target in line.targets if isinstance(line, ast.Assign) else []:
                if target.id not in declared:
                    have = ", ".join(f"{p.name}: {p.annotation}" for p in declared.values())
                    raise NotebookError(f"{file.name} has no parameter {target.id!r}; its parameters: {have}")
        validate(file, {t.id: ast.literal_eval(line.value) for line in ast.parse(cell).body if isinstance(line, ast.Assign)
                        for t in line.targets})


def _shown(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
