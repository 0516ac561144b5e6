"""The head of a page: the one folded block that says what a reader may turn, and how."""

from __future__ import annotations

import html
import io
import tokenize
from pathlib import Path

import nbformat

from echolib.pages.html import html_table
from echolib.pages.lint import parameter_cells
from echolib.pages.notebooks import Parameter, parameters_of


def comments_of(notebook: Path) -> dict[str, str]:
    """What each line of a notebook's parameters cell says of its parameter, by the parameter's name."""
    source = parameter_cells(nbformat.read(notebook, as_version=4))[0].source
    lines = source.splitlines()
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            found[lines[token.start[0] - 1].partition(":")[0].strip()] = token.string.removeprefix("#").strip()
    return found


def parameters_html(notebook: Path, values: dict[str, object], asked: str) -> str:
    """The parameters of a page in a folded block: name, value on this page, meaning; and how to turn them.

    Args:
        notebook: the source notebook.
        values: of this page by name; the notebook's default where a name is missing.
        asked: the profile's name.
    """
    declared, told = parameters_of(notebook), comments_of(notebook)
    rows = [(f"<code>{html.escape(name)}</code>", f"<code>{html.escape(repr(values.get(name, one.default)))}</code>",
             html.escape(told.get(name, ""))) for name, one in declared.items()]
    examples = [f" --set {name}={_example(one)}" for name, one in declared.items() if name == "seeds" or
                (name != "profile" and one.default is not None)]
    command = "".join([f"echolib notebook {notebook.stem} --profile {asked}", *examples[:1]])
    return ('<details class="echo-provenance echo-turn"><summary>What you may turn on this page</summary>'
            + html_table("Parameters of the notebook; None: as the profile says", ("Name", "Here", "Meaning"), rows)
            + "<p>Turn one in the notebook’s first code cell, in JupyterLab, or by "
            f"<code>{html.escape(command)}</code>. What has no record yet is computed, and nothing else. The download button at "
            "the top gives the notebook with all of its code.</p></details>")


def _example(parameter: Parameter) -> str:
    """A value that a reader may type: the default, or seed 0 for the lists of seeds."""
    return "[0]" if parameter.name == "seeds" else str(parameter.default).replace(" ", "")
