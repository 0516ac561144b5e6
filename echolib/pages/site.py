"""From prose, executed notebooks and generated pages to a folder of HTML that needs no network.

:func:`assemble` gathers what the book is made of in a staging folder; :func:`build` renders it with every warning an
error, checks that the pages load nothing from elsewhere and tell nothing of this machine, and puts them in place whole.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path, PurePosixPath

import yaml

from echolib.errors import EcholibError, NotebookError
from echolib.files import write_atomic, write_json
from echolib.pages.notebooks import read_manifest

#: Left in the built folder: what it was built from.
STAMP = "build.json"
_RENDERERS = ("jupyter-book", "Sphinx", "sphinx-book-theme", "myst-nb", "sphinxcontrib-bibtex", "sphinx_design")
_REMOTE = re.compile(r"<(?:script|link|img|iframe|video|audio|source|embed|object)\b[^>]*?\s(?:src|href|data|srcset)\s*=\s*"
                     r"[\"']?((?:https?:)?//[^\"'\s>]+)", re.IGNORECASE)
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_HOME = re.compile(r"(?<![\w.])(?:/home/|/Users/|/root/|/tmp/ipykernel|[A-Za-z]:\\Users\\)[^\s\"'<>&]*")


class BookError(EcholibError):
    """The book cannot be assembled or built; the page at fault is named."""


def assemble(root: Path, staging: Path, toc: Mapping, executed: Sequence[Path], generated: Mapping[str, str],
             files: Mapping[str, Path] | None = None, notes: Mapping[str, Path] | None = None) -> Path:
    """Gather the sources of the book in ``staging``, which is emptied first.

    Args:
        root: the checkout, with ``_config.yml``, ``book/`` and ``notebooks/``.
        staging: folder to fill; its former content is removed.
        toc: the table of contents in Jupyter Book's form; it becomes ``_toc.yml``.
        executed: executed notebooks, each with its manifest beside it; they become ``notebooks/<name>.ipynb``.
        generated: texts by file name, written to ``generated/<name>``, for pages to include.
        files: further files by their path in the built site (films and the like).
        notes: notebooks that stand in for pages that could not be made, by name.

    Returns:
        ``staging``.

    Raises:
        BookError: a page of the table of contents is missing, or a name leads out of the folder.
        NotebookError: a notebook has no manifest, was changed since, or its source in ``root`` has.
    """
    for name in [*generated, *(files or {}), *toc_pages(toc)]:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise BookError(f"{name!r} leads out of the book's folder; expected a path relative to it, without '..'")
    fresh = staging.with_name(f".{staging.name}.part")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    shutil.copyfile(root / "_config.yml", fresh / "_config.yml")
    write_atomic(fresh / "_toc.yml", yaml.safe_dump(dict(toc), sort_keys=False))
    shutil.copytree(root / "book", fresh / "book", ignore=shutil.ignore_patterns("offline"))
    shutil.copytree(root / "book" / "offline", fresh / "extra" / "offline", ignore=shutil.ignore_patterns("README.md"))
    for notebook in executed:
        _check_current(root, notebook)
        _copy(notebook, fresh / "notebooks" / notebook.name)
    for name, note in (notes or {}).items():
        _copy(note, fresh / "notebooks" / f"{name}.ipynb")
    for name, text in generated.items():
        write_atomic(fresh / "generated" / name, text)
    for name, source in (files or {}).items():
        _copy(source, fresh / "extra" / name)
    missing = [page for page in toc_pages(toc)
               if not any((fresh / f"{page}{suffix}").is_file() for suffix in (".md", ".ipynb"))]
    if missing:
        raise BookError(f"the table of contents names pages that are not there: {', '.join(missing)}")
    shutil.rmtree(staging, ignore_errors=True)
    fresh.rename(staging)
    return staging


def build(staging: Path, out: Path, *, progress: bool = True) -> Path:
    """Render an assembled book to ``out``; skipped when ``out`` was built from exactly this.

    Returns:
        The home page, ``out/index.html``.

    Raises:
        BookError: Sphinx warned or failed, or a page loads from the network or names this machine. ``out`` is then
            what it was before.
    """
    inputs, home = _fingerprint(staging), out / "index.html"
    _recover(out)
    if home.is_file() and _stamp(out) == inputs:
        return home
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as folder:
        log = _jupyter_book(staging, Path(folder), progress)
        built = Path(folder) / "_build" / "html"
        if log or not (built / "index.html").is_file():
            raise BookError("the book does not build:\n  " + "\n  ".join(log[:20] or ["no home page was written"]))
        (built / ".buildinfo").unlink(missing_ok=True)
        (built / ".nojekyll").touch()  # GitHub Pages would leave out folders that begin with '_'
        wrong = [*check_offline(built), *check_private(built, {str(p.resolve()) for p in (staging, Path(folder), Path.cwd())})]
        if wrong:
            raise BookError("the built pages are not fit to be shown:\n  " + "\n  ".join(wrong[:20]))
        write_json(built / STAMP, {"inputs": inputs, "renderers": {n: version(n) for n in _RENDERERS}})
        _swap(built, out)
    return home


def toc_pages(toc: Mapping) -> list[str]:
    """Pages of a table of contents in reading order, without suffix."""
    def walk(entry: object) -> Iterator[str]:
        if isinstance(entry, dict):
            for key, value in entry.items():
                if key in ("root", "file"):
                    yield str(value)
                else:
                    yield from walk(value)
        elif isinstance(entry, list):
            for item in entry:
                yield from walk(item)

    return list(walk(dict(toc)))


def check_offline(html: Path) -> list[str]:
    """``page: address`` for every script, style, image or film that a page would fetch from elsewhere."""
    return [f"{page.relative_to(html).as_posix()}: loads {address}" for page in sorted(html.rglob("*.html"))
            for address in _REMOTE.findall(page.read_text(encoding="utf-8"))]


def check_private(html: Path, folders: set[str]) -> list[str]:
    """``page: text`` for every absolute path, and for the host name where it stands alone or after an ``@``.

    Args:
        html: the built pages; their text files are read, vendored scripts are not.
        folders: folders of this machine whose names must not appear.
    """
    host = socket.gethostname()
    named = sorted({f for f in folders if len(f) > 1} | {str(Path.home())} - {"/", "/root"})
    patterns = [_HOME, *(re.compile(re.escape(f) + r"(?=[/\\\s\"'<&)]|$)", re.MULTILINE) for f in named)]
    if not host.isalpha():  # a host called 'desk' cannot be told from prose
        patterns.append(re.compile(rf"(?<![\w-]){re.escape(host)}(?![\w-])"))
    found = []
    for page in sorted(html.rglob("*")):
        inside = page.relative_to(html).as_posix()
        if page.suffix in (".html", ".ipynb", ".md", ".json", ".txt") or inside == "searchindex.js":
            if not inside.startswith("offline/"):
                text = page.read_text(encoding="utf-8")
                found += [f"{inside}: names this machine: {m.group(0)[:80]}" for p in patterns if (m := p.search(text))]
    return found


def _jupyter_book(staging: Path, folder: Path, progress: bool) -> list[str]:
    """Run Jupyter Book; the warnings and errors that it gave, with pages relative to the book."""
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", str(staging), "--all", "-W", "-n",
               "--keep-going", "--path-output", str(folder)]
    environment = os.environ | {"NO_COLOR": "1", "PYTHONUNBUFFERED": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    wrong, tail = [], []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
                          encoding="utf-8", errors="replace") as running:
        for line in running.stdout:
            line = _COLOUR.sub("", line).rstrip().replace(f"{staging.resolve()}{os.sep}", "").replace(f"{staging}{os.sep}", "")
            tail = [*tail, line][-15:]
            if re.search(r"\b(WARNING|ERROR|CRITICAL|SEVERE)\b", line):
                wrong.append(line)
            elif progress and re.match(r"(reading sources|writing output)\.\.\.", line):
                print(f"  {line}", flush=True)
    if running.returncode and not wrong:
        return [text for text in tail if text.strip()] or [f"jupyter-book ended with status {running.returncode}"]
    return wrong


def _check_current(root: Path, notebook: Path) -> None:
    manifest = read_manifest(notebook)
    source = root / manifest["notebook"]
    if not source.is_file() or hashlib.sha256(source.read_bytes()).hexdigest() != manifest["notebook_sha256"]:
        raise NotebookError(f"{notebook.name}: its source {manifest['notebook']} has changed since it was executed")


def _fingerprint(staging: Path) -> str:
    """SHA-256 over the names and contents of the staging folder, the renderers' versions and this module."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    digest.update(repr([(n, version(n)) for n in _RENDERERS]).encode())
    for path in sorted(p for p in staging.rglob("*") if p.is_file()):
        digest.update(path.relative_to(staging).as_posix().encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _stamp(out: Path) -> str | None:
    if not (out / STAMP).is_file():
        return None
    return json.loads((out / STAMP).read_text(encoding="utf-8"))["inputs"]


def _old(out: Path) -> Path:
    return out.with_name(f".{out.name}.old")


def _swap(built: Path, out: Path) -> None:
    """Put ``built`` in the place of ``out``: exchanged in one step where the system can, else by two renames."""
    if not out.exists():
        built.rename(out)
    elif not _exchange(built, out):
        shutil.rmtree(_old(out), ignore_errors=True)
        out.rename(_old(out))  # a kill between these two lines is mended by _recover
        built.rename(out)
        shutil.rmtree(_old(out))


def _recover(out: Path) -> None:
    if _old(out).exists() and not out.exists():
        _old(out).rename(out)


def _exchange(a: Path, b: Path) -> bool:
    """Linux' ``renameat2(RENAME_EXCHANGE)``; False where system or file system lacks it."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    here, exchange = -100, 2
    if call(here, os.fsencode(a), here, os.fsencode(b), exchange) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(b))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
