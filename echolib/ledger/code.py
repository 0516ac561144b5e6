"""Fingerprints of the code that a result depends on.

A result depends on the modules that its own module imports, and on those that they import, and so on within the package. A
comment or docstring changes nothing, nor does a file that nothing here imports: a new network or a new recipe leaves all
results of the others current.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from functools import lru_cache
from pathlib import Path

from echolib.config.specs import RunSpec
from echolib.models.registry import module_of
from echolib.training.recipe import recipe_class

ROOT = Path(__file__).parents[1]
#: Modules that find others by name and decide nothing themselves; what they find is named by :func:`run_code`.
LOOKUPS = ("echolib.models.registry", "echolib.models.imagenet", "echolib.models", "echolib.config", "echolib.training.recipes",
           "echolib.evaluation.kinds")


def run_code(spec: RunSpec) -> str:
    """16 hex digits over everything that decides the result of a run: its recipe, its network, the loop and the scores."""
    modules = ["echolib.training.engine", "echolib.evaluation.scores", module_of(spec.model.name),
               recipe_class(spec.recipe).__module__]
    return modules_code((*modules, "echolib.models.imagenet") if spec.model.imagenet else tuple(modules))


def modules_code(modules: tuple[str, ...]) -> str:
    """16 hex digits over the modules of these names and all that they import within the package."""
    return _digest(closure(modules))


def code_fingerprint(parts: tuple[str, ...]) -> str:
    """16 hex digits over the files and folders of the package with these names; "" is the whole package."""
    paths = [ROOT / part for part in parts]
    return _digest([file for path in paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])])


def closure(modules: tuple[str, ...]) -> list[Path]:
    """The files of these modules and of all that they import within the package, sorted; without :data:`LOOKUPS`.

    A module from outside the package counts as its own file alone.
    """
    found, left = {}, [m for m in modules]
    while left:
        name = left.pop()
        if name in found or name in LOOKUPS:
            continue
        file = _file(name)
        found[name] = file
        if file is not None:
            about = file.stat()
            left += _imports(file, about.st_mtime_ns, about.st_size)
    return sorted(file for file in found.values() if file is not None)


def _file(name: str) -> Path | None:
    """The file of a module; None of a name that is no module of the package (a function that is imported, say)."""
    return _inside(ROOT, name) if name.partition(".")[0] == "echolib" else _outside(name)


@lru_cache(maxsize=4096)  # of a thousand records each asks for the files of a hundred modules
def _inside(root: Path, name: str) -> Path | None:
    path = root.joinpath(*name.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py") if path.with_suffix(".py").is_file() else None


def _outside(name: str) -> Path | None:
    file = getattr(sys.modules.get(name), "__file__", None)
    return None if file is None else Path(file)


@lru_cache(maxsize=1024)
def _imports(file: Path, mtime_ns: int, size: int) -> tuple[str, ...]:
    """Dotted names in the package that a file imports, wherever in it; from-imports name both the module and what may be one."""
    names = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(name for name in names if name.startswith("echolib."))


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        about = file.stat()
        name = file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else file.name
        digest.update(name.encode() + b"\0" + _meaning_of(file, about.st_mtime_ns, about.st_size) + b"\0")
    return digest.hexdigest()[:16]


@lru_cache(maxsize=1024)  # every question to the ledger asks for a fingerprint, and parsing the package takes half a second
def _meaning_of(file: Path, mtime_ns: int, size: int) -> bytes:
    """The syntax tree of a file in the state that its time and size stand for."""
    return _meaning(file.read_text(encoding="utf-8")).encode()


def _meaning(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)
