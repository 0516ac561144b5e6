"""What a notebook of this book may look like: thin, without outputs, with one documented parameters cell."""

from __future__ import annotations

import ast
import tokenize
from io import StringIO
from pathlib import Path

import nbformat

#: Most lines of code (neither blank nor only a comment) in one notebook; what is longer belongs into the package.
MAX_CODE_LINES = 60
#: Calls whose effect does not depend on where in a cell they stand; of any other only the last one's result is shown.
SHOWN_ANYWHERE = {"display", "print", "plots.use_style"}


def parameter_cells(book: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The code cells tagged ``parameters``."""
    return [c for c in book.cells if c.cell_type == "code" and "parameters" in c.metadata.get("tags", [])]


def lint(notebook: Path) -> list[str]:
    """Everything that is wrong with the shape of a notebook, one sentence each; empty when it is fine."""
    book = nbformat.read(notebook, as_version=4)
    wrong, lines = [], 0
    for number, cell in enumerate(book.cells, start=1):
        if cell.cell_type != "code":
            continue
        if cell.outputs or cell.execution_count is not None:
            wrong.append(f"cell {number}: stores an output; strip it")
        lines += sum(1 for text in cell.source.splitlines() if text.strip() and not text.strip().startswith("#"))
        try:
            tree = ast.parse(cell.source)
        except SyntaxError as error:
            wrong.append(f"cell {number}: is not plain Python: {error.msg}")
            continue
        wrong += [f"cell {number}: defines {node.name!r}; definitions belong into the package" for node in ast.walk(tree)
                  if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))]
        wrong += [f"cell {number}: '{ast.unparse(node.value.func)}(...)' before the last line is not shown; put it into display()"
                  for node in tree.body[:-1] if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
                  and ast.unparse(node.value.func) not in SHOWN_ANYWHERE]
    if lines > MAX_CODE_LINES:
        wrong.append(f"{lines} lines of code; at most {MAX_CODE_LINES}")
    cells = parameter_cells(book)
    if len(cells) != 1:
        return [*wrong, f"{len(cells)} cells are tagged 'parameters'; expected exactly one"]
    return wrong + _lint_parameters(cells[0].source)


def _lint_parameters(source: str) -> list[str]:
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return []  # reported above
    comments = {token.start[0] for token in tokenize.generate_tokens(StringIO(source).readline) if token.type == tokenize.COMMENT}
    wrong = []
    for line in tree.body:
        text = ast.unparse(line)
        if not (isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value is not None):
            wrong.append(f"parameters: '{text}' is not 'name: type = literal'")
            continue
        try:
            ast.literal_eval(line.value)
        except ValueError:
            wrong.append(f"parameters: the value of {line.target.id!r} is not a literal")
        if line.end_lineno not in comments:
            wrong.append(f"parameters: {line.target.id!r} has no comment on its line")
    return wrong
