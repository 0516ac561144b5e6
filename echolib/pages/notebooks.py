"""Executes a parameterised notebook so that the copy on disk is complete, current and says where it came from.

papermill takes unknown parameters and wrong types silently, and a killed kernel leaves a notebook that looks finished.
So parameters are checked before the launch, the notebook is executed to a temporary path and moved into place on success
only, and ``<name>.manifest.json`` beside it is written last: a notebook without one does not count.
"""

from __future__ import annotations

import ast
import copy
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path, PureWindowsPath
from typing import Optional, Union

import nbformat
import papermill
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError
from pydantic import TypeAdapter, ValidationError

from echolib.errors import NotebookError
from echolib.files import locked, read_json, write_json
from echolib.ledger.code import code_fingerprint
from echolib.ledger.provenance import versions
from echolib.pages.kernel import manager, own_kernel
from echolib.pages.lint import parameter_cells

#: What an annotation in a parameters cell may be made of.
_TYPES = {t.__name__: t for t in (bool, int, float, str, list, dict, tuple)} | {"Optional": Optional, "Union": Union}
_GRAMMAR = (ast.Name, ast.Subscript, ast.Tuple, ast.BinOp, ast.BitOr, ast.Constant, ast.Load)


@dataclass(frozen=True)
class Parameter:
    """One line of a parameters cell: ``name: annotation = default``."""

    name: str
    annotation: str
    default: object


def parameters_of(notebook: Path) -> dict[str, Parameter]:
    """The parameters that a notebook declares, by name.

    Raises:
        NotebookError: there is not exactly one cell tagged ``parameters``, or one of its lines is not
            ``name: type = literal`` with a type made of bool, int, float, str, list, dict, tuple and None.
    """
    cells = parameter_cells(_read(notebook))
    if len(cells) != 1:
        raise NotebookError(f"{notebook.name}: {len(cells)} cells are tagged 'parameters'; expected exactly one")
    found: dict[str, Parameter] = {}
    try:
        lines = ast.parse(cells[0].source).body
        for line in lines:
            if not (isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value is not None):
                raise ValueError(f"'{ast.unparse(line)}' is not 'name: type = literal'")
            annotation = _annotation(line)
            _adapter(annotation)
            found[line.target.id] = Parameter(line.target.id, annotation, ast.literal_eval(line.value))
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:  # the last two: nested too deeply
        raise NotebookError(f"{notebook.name}: parameters cell: {error}") from None
    return found


def _annotation(line: ast.AnnAssign) -> str:
    """The type of a parameter. papermill's own reader knows ``Optional[...]``, not ``... | None``; written as text, it needs no
    import in the notebook."""
    quoted = isinstance(line.annotation, ast.Constant) and isinstance(line.annotation.value, str)
    return line.annotation.value if quoted else ast.unparse(line.annotation)


def validate(notebook: Path, parameters: dict[str, object]) -> dict[str, object]:
    """``parameters`` completed with the notebook's own defaults.

    Raises:
        NotebookError: an unknown name, a value of the wrong type, or a path that leads out of the working folder.
    """
    declared = parameters_of(notebook)
    have = ", ".join(f"{p.name}: {p.annotation}" for p in declared.values()) or "none"
    for name, value in parameters.items():
        if name not in declared:
            raise NotebookError(f"{notebook.name} has no parameter {name!r}; its parameters: {have}")
        if not _suits(declared[name], value):
            raise NotebookError(f"{notebook.name}: parameter {name!r} takes {declared[name].annotation}, "
                                f"not {value!r} ({type(value).__name__}); its parameters: {have}")
        for text in _strings(value):
            if _escapes(text):
                raise NotebookError(f"{notebook.name}: parameter {name!r} leads out of the working folder (found {text!r}); "
                                    "expected a path relative to it, without '..'")
    return {name: parameters.get(name, p.default) for name, p in declared.items()}


def literal(parameter: Parameter, value: object) -> object:
    """A parameter's value where ``papermill -p`` gave a list as text; any other value as it is.

    Args:
        parameter: its declaration.
        value: such as ``"[0.3, 0.6]"``.
    """
    if not isinstance(value, str) or _suits(parameter, value):
        return value
    try:
        found = ast.literal_eval(value)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return value
    return found if _suits(parameter, found) else value


def _suits(parameter: Parameter, value: object) -> bool:
    try:
        _adapter(parameter.annotation).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


def execute(notebook: Path, out: Path, parameters: dict[str, object], *, cwd: Path, timeout_s: float = 3600,
            inputs: Iterable[str] = (), progress: bool = True) -> Path:
    """Run ``notebook`` with ``parameters`` and put the executed copy at ``out``, its manifest beside it.

    The kernel is this very interpreter, whatever kernels the user has installed; IPython start-up files are not read.

    Args:
        notebook: the source notebook, inside ``cwd``.
        out: where the executed notebook goes, inside ``cwd``; replaced on success only.
        parameters: values for some or all of the declared parameters.
        cwd: working folder of the kernel (the checkout).
        timeout_s: longest that one cell may take, in seconds.
        inputs: keys of the records that the notebook reads; kept in the manifest, so that a new key makes it stale.
        progress: show papermill's bar of cells on standard error.

    Returns:
        ``out``.

    Raises:
        NotebookError: bad parameters or paths, a cell that failed, ran too long, or a kernel that died; it names the
            cell. What was at ``out`` before is then still there, untouched.
    """
    cwd = cwd.resolve()
    source, target = _inside(notebook, cwd), _inside(out, cwd)
    values = validate(notebook, parameters)
    for text in _strings(values):  # a link inside the folder may lead out of it; a name that is no path stays inside
        if not (cwd / text).resolve().is_relative_to(cwd):
            raise NotebookError(f"{notebook.name}: a parameter leads out of the working folder through a link (found {text!r})")
    before = _sha256(notebook)
    out.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with locked(out.with_name(f".{out.stem}.lock")), tempfile.TemporaryDirectory(prefix=_left(out), dir=out.parent) as folder:
        running = Path(folder) / out.name
        with own_kernel(Path(folder)):
            _run(notebook, running, parameters, cwd=cwd, timeout_s=timeout_s, progress=progress)
        if _sha256(notebook) != before:
            raise NotebookError(f"{source}: changed while it ran; run it again")
        _tidy(running, source, target)
        executed = _sha256(running)
        manifest_path(out).unlink(missing_ok=True)  # from here on the old pair is gone; the new manifest comes last
        os.replace(running, out)
    write_json(manifest_path(out), {
        "notebook": source, "notebook_sha256": before, "executed_sha256": executed, "parameters": values,
        "inputs": sorted(inputs), "code": _code(), "versions": versions() | {"papermill": version("papermill")},
        "wall_seconds": round(time.monotonic() - started, 1),
        "finished": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")})
    return out


def _left(out: Path) -> str:
    """Prefix of the folders in which ``out`` is executed; those of killed processes are removed. We hold its lock."""
    prefix = f".running-{out.stem}-"
    for old in out.parent.glob(f"{prefix}*"):
        shutil.rmtree(old)
    return prefix


def is_current(notebook: Path, out: Path, parameters: dict[str, object], inputs: Iterable[str] = ()) -> tuple[bool, str]:
    """Is ``out`` what running ``notebook`` now would give? The second value is the reason, for the log.

    Raises:
        NotebookError: the parameters do not fit the notebook.
    """
    values = validate(notebook, parameters)
    try:
        manifest = read_manifest(out)
    except NotebookError as error:
        return False, str(error)
    if manifest["notebook_sha256"] != _sha256(notebook):
        return False, "the notebook has changed"
    if manifest["parameters"] != json.loads(json.dumps(values)):
        return False, "other parameters"
    if manifest["inputs"] != sorted(inputs):
        return False, "other records"
    if manifest["code"] != _code():
        return False, "the package's code has changed"
    return True, "current"


def manifest_path(out: Path) -> Path:
    """Where the manifest of an executed notebook lies."""
    return out.with_name(f"{out.stem}.manifest.json")


def read_manifest(out: Path) -> dict:
    """The manifest of an executed notebook, after checking that the notebook is the one that it was written for.

    Raises:
        NotebookError: notebook or manifest is missing or damaged, or the two do not belong together.
    """
    path = manifest_path(out)
    if not out.is_file():
        return _no(f"{out.name} has not been executed")
    if not path.is_file():
        return _no(f"{out.name} has no manifest: its run did not finish")
    try:
        manifest = read_json(path)
        complete = {"notebook", "notebook_sha256", "executed_sha256", "parameters", "inputs", "code"} <= manifest.keys()
    except (ValueError, AttributeError):
        complete = False
    if not complete:
        return _no(f"{path.name} is not a complete manifest")
    if manifest["executed_sha256"] != _sha256(out):
        return _no(f"{out.name} was changed after it was executed")
    return manifest


def _no(problem: str) -> dict:
    raise NotebookError(problem)


def _run(notebook: Path, running: Path, parameters: dict, *, cwd: Path, timeout_s: float, progress: bool) -> None:
    def cell(index: int) -> str:  # counted from 1 in the source, which lacks papermill's injected cell
        first = next(i for i, c in enumerate(_read(notebook).cells) if "parameters" in c.metadata.get("tags", []))
        return f"{notebook.name}: cell {index + 1 - (bool(parameters) and index > first)}"

    def unfinished() -> str:  # papermill saves the notebook as it goes; its 'status' is no help, its times are
        cells = _read(running).cells if running.is_file() else []
        begun = [i for i, c in enumerate(cells) if c.metadata.get("papermill", {}).get("start_time")]
        return cell(begun[-1]) if begun else f"{notebook.name}: before the first cell"

    try:
        with tempfile.TemporaryDirectory(prefix="echolib-") as sockets:
            papermill.execute_notebook(notebook, running, parameters=copy.deepcopy(parameters), kernel_name=NATIVE_KERNEL_NAME,
                                       language="python", cwd=cwd, progress_bar=progress, execution_timeout=timeout_s,
                                       kernel_manager_class=manager(Path(sockets)))
    except PapermillExecutionError as error:
        raise NotebookError(f"{cell(error.cell_index)}: {error.ename}: {error.evalue}") from error
    except CellTimeoutError as error:
        raise NotebookError(f"{unfinished()}: took longer than {timeout_s:g} s") from error
    except DeadKernelError as error:
        raise NotebookError(f"{unfinished()}: the kernel died (killed, or out of memory)") from error
    except RuntimeError as error:  # all that jupyter_client says of a kernel that does not come up
        raise NotebookError(f"{unfinished()}: {error}; what the kernel said stands above") from error


def _tidy(executed: Path, source: str, target: str) -> None:
    """Keep papermill's metadata of the run, without this machine's folders."""
    book = _read(executed)
    for cell in book.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.metadata["tags"].append("remove-input")  # as the parameters cell is: one folded block at the head is enough
    metadata = book.metadata.setdefault("papermill", {})
    metadata.update(input_path=source, output_path=target)
    metadata.pop("environment_variables", None)
    nbformat.write(book, executed)


def _adapter(annotation: str) -> TypeAdapter:
    nodes = list(ast.walk(ast.parse(annotation, mode="eval").body))
    if not all(isinstance(n, _GRAMMAR) for n in nodes) or {n.id for n in nodes if isinstance(n, ast.Name)} - _TYPES.keys():
        raise ValueError(f"unknown type {annotation!r}; expected one made of {', '.join(_TYPES)}, None")
    try:
        return TypeAdapter(eval(annotation, {"__builtins__": {}}, dict(_TYPES)))  # nothing but these names, [] and | get here
    except (TypeError, NameError, RuntimeError, AttributeError):  # int[3], 3 | 4, list["x"]; pydantic's own are among these
        raise ValueError(f"{annotation!r} is not a type") from None


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from (*_strings(key), *_strings(item))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _strings(item)


def _escapes(text: str) -> bool:
    path = PureWindowsPath(text)  # reads both kinds of slash
    return bool(path.anchor) or text.startswith("~") or ".." in path.parts or "\0" in text


def _inside(path: Path, folder: Path) -> str:
    """``path`` relative to ``folder``, with '/' between the parts."""
    if not path.resolve().is_relative_to(folder):
        raise NotebookError(f"{path.name} lies outside the working folder; notebooks are read and written inside it only")
    return path.resolve().relative_to(folder).as_posix()


def _read(notebook: Path) -> nbformat.NotebookNode:
    """A notebook of format 4, held to its schema: nbformat by itself only logs what breaks it."""
    try:
        raw = json.loads(notebook.read_text(encoding="utf-8"))
        if not (isinstance(raw, dict) and raw.get("nbformat") == 4 and type(raw.get("nbformat_minor")) is int):
            raise NotebookError(f"{notebook.name}: not a notebook: expected a mapping with nbformat 4")
        nbformat.validate(raw)
        return nbformat.reads(json.dumps(raw), as_version=4)
    except FileNotFoundError:
        raise NotebookError(f"no notebook {notebook.name}") from None
    except RecursionError:
        raise NotebookError(f"{notebook.name}: not a notebook: it is nested too deeply") from None
    except (ValueError, nbformat.ValidationError) as error:
        raise NotebookError(f"{notebook.name}: not a notebook: {str(error).splitlines()[0][:120]}") from None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _code() -> str:
    """Fingerprint of the whole package: a notebook may use any part of it."""
    return code_fingerprint((".",))
