"""The rooms of the package: which way imports run, and what the machinery must not know by name."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import echolib.training.recipes  # noqa: F401  makes the recipes known
from echolib.ledger.code import ROOT, closure
from echolib.papers.book import BOOK
from echolib.training.recipe import Recipe

CHECKOUT = ROOT.parent
#: Rooms and files that work for any paper, table and recipe.
MACHINERY = ("ledger", "pages", "batch", *(f"training/{name}.py" for name in ("engine", "batches", "recipe", "checkpoint")))
#: Where a command imports what it needs when it is given, so that `echolib --help` stays quick.
COMMANDS = {"cli.py", "commands.py", "clinic/command.py", "__init__.py"}


def files(part: str) -> list[Path]:
    path = ROOT / part
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def test_imports_run_one_way_and_in_no_circle():
    found = subprocess.run([Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=CHECKOUT, capture_output=True,
                           text=True, timeout=120, check=False)
    assert found.returncode == 0, found.stdout[-3000:]


@pytest.mark.parametrize("part", MACHINERY)
def test_the_machinery_names_no_paper_no_figure_and_no_recipe(part):
    papers = [paper.id for paper in BOOK.papers if paper.id not in ("phantom", "companion")]
    words = [*papers, *(entry.id for entry in BOOK.entries.values()), r"table ?\d", r"figure ?\d",
             *(f"[\"']{kind}[\"']" for kind in Recipe.known)]
    pattern = re.compile("|".join(words), re.IGNORECASE)
    for file in files(part):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            assert not pattern.search(line), f"{file.relative_to(ROOT)}:{number}: {line.strip()}"


def local_imports(file: Path) -> list[tuple[int, str]]:
    """Modules of the package that a file imports inside a function, with the line."""
    found = []
    for function in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found += [(node.lineno, node.module) for node in ast.walk(function)
                      if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("echolib")]
    return found


def test_an_import_inside_a_function_saves_time_and_hides_no_circle():
    for file in sorted(ROOT.rglob("*.py")):
        if file.relative_to(ROOT).as_posix() not in COMMANDS:
            for line, module in local_imports(file):
                assert file not in closure((module,)), f"{file.relative_to(ROOT)}:{line} hides a circle with {module}"


def test_a_circle_is_found(tmp_path):
    """The check itself: two modules that import each other, one of them inside a function."""
    shutil.copytree(ROOT / "config", tmp_path / "echolib" / "config")
    (tmp_path / "echolib" / "__init__.py").touch()
    (tmp_path / "echolib" / "data").mkdir()
    (tmp_path / "echolib" / "data" / "__init__.py").write_text("from echolib.training import a\n")
    (tmp_path / "echolib" / "training").mkdir()
    (tmp_path / "echolib" / "training" / "__init__.py").touch()
    (tmp_path / "echolib" / "training" / "a.py").write_text("def f():\n    from echolib import data\n    return data\n")
    for room in ("cli", "commands", "clinic", "batch", "papers", "pages", "ledger", "evaluation", "phantom", "models", "losses"):
        (tmp_path / "echolib" / room).mkdir()
        (tmp_path / "echolib" / room / "__init__.py").touch()
    (tmp_path / "echolib" / "errors.py").write_text("class ConfigError(Exception): ...\n")
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    found = subprocess.run([Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=tmp_path, capture_output=True,
                           text=True, timeout=120, check=False)
    assert found.returncode == 1 and "echolib.data is not allowed to import echolib.training" in found.stdout
    assert "No cycles are allowed" in found.stdout
