"""From a profile to a rendered book: cohort, store, runs, notebooks, pages.

What stops one page stops that page: it is replaced by a note that says so, the other pages are built, and the whole
ends with an error that names every page that is missing, why, and what to do.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

import nbformat
import pandas as pd
from nbformat.v4 import new_markdown_cell, new_notebook

from echolib.errors import EcholibError, RecordError
from echolib.files import locked, write_atomic
from echolib.ledger.code import code_fingerprint
from echolib.ledger.ledger import Ledger
from echolib.ledger.workspace import Workspace
from echolib.pages import decided, findings, footer, overview, scorecard, speed
from echolib.pages.catalogue import source, title
from echolib.pages.executing import Task, run_all
from echolib.pages.experiment import Experiment, Needs
from echolib.pages.notebooks import is_current
from echolib.pages.site import assemble, build
from echolib.pages.timing import is_known
from echolib.papers import book
from echolib.words import counted

Say = Callable[[str], None]


class IncompleteBook(EcholibError):
    """The book was built without some of its pages; ``pages`` says why, by page."""

    def __init__(self, home: Path, pages: dict[str, str]) -> None:
        self.home, self.pages = home, pages
        super().__init__(f"{counted(len(pages), 'page')} of the book {'was' if len(pages) == 1 else 'were'} not made:\n"
                         + "\n".join(f"  page {name}: {why}" for name, why in pages.items())
                         + f"\nThe other pages are in {home}. What was computed is kept: mend what is named, then give the same "
                         "command again.")


@dataclass
class _Making:
    """One making of the book: the ledger, the pages that failed so far with the reason, and those of them whose records are not
    all there (the others lack an executed notebook alone)."""

    ledger: Ledger
    say: Say
    failed: dict[str, str] = field(default_factory=dict)
    lacking: frozenset[str] = frozenset()
    broken: dict[str, EcholibError] = field(default_factory=dict)

    @property
    def workspace(self) -> Workspace:
        return self.ledger.workspace

    def attempt(self, page: str, work: Callable[[], object]) -> object | None:
        """The result of ``work``; None, and the page is marked as failed, when it raises one of our errors."""
        try:
            return work()
        except EcholibError as error:
            self.fail(page, error)
            return None

    def fail(self, page: str, error: EcholibError) -> None:
        """Mark a page as failed."""
        self.failed.setdefault(page, str(error))
        self.say(f"page {page} stops: {error}")

    def compute(self, key: str, work: Callable[[], object]) -> None:
        """Do ``work`` once: when it failed for one page, it is not tried again for the next."""
        if key not in self.broken:
            try:
                work()
            except EcholibError as error:
                self.broken[key] = error
        if key in self.broken:
            raise self.broken[key]


def make_book(profile: str) -> Path:
    """Make the book of a profile; whatever is current is not made again. Returns its home page.

    Raises:
        IncompleteBook: some pages could not be made; the others were.
        EcholibError: nothing could be made, the data being unusable, say. Pages already built stay as they were.
    """
    return _make(profile, computes=True)


def make_pages(profile: str) -> Path:
    """Build the book from what is there, and compute nothing: a page that lacks a record or is stale is left out, with a
    note in its place. Returns the home page.

    Raises:
        As :func:`make_book`.
    """
    return _make(profile, computes=False)


def make_notebook(profile: str, name: str, values: dict[str, object] | None = None) -> Path:
    """Execute one notebook of the book, unless the executed copy is current. Returns that copy.

    Args:
        profile: a file of ``profiles/``.
        name: of the notebook.
        values: parameters that a reader turned; the copy then goes to ``notebooks/variants/`` and never takes the place of the
            book's own page.

    Raises:
        EcholibError: it cannot be executed; the message names it and says why.
    """
    workspace, values = Workspace.open(profile), values or {}
    book.BOOK.check(name, workspace.root, workspace.profile, values)
    ledger = Ledger(workspace)
    if values:
        book.BOOK.inspect(name, ledger, values)
        wanted = book.BOOK.needs(name, workspace.profile, values)
        ledger.require(wanted.runs)
        ledger.evaluate(wanted.evaluations)
    task, why = _task(ledger, name, values)
    if why:
        print(f"notebook {name}: {why}", flush=True)
        task.run()
    return task.out


def notebook_inputs(ledger: Ledger, name: str, values: dict[str, object] | None = None) -> list[str]:
    """What an executed notebook rests on: its records, its evaluations, and the package's code.

    Raises:
        RecordError: one is missing or stale, and the ledger computes nothing.
    """
    wanted = book.BOOK.needs(name, ledger.workspace.profile, values)
    records = [f"{r.key} {r.provenance.finished}" for r in ledger.require(wanted.runs)]
    more = [f"{e.record.key} {e.record.provenance.finished}" for e in ledger.evaluate(wanted.evaluations)]
    return [*records, *more, f"code {code_fingerprint(('',))}"]


def _make(profile: str, computes: bool) -> Path:
    workspace = Workspace.open(profile)
    with locked(workspace.build / ".book.lock"):
        began = time.perf_counter()

        def say(text: str) -> None:
            print(f"[{time.perf_counter() - began:6.0f} s] {text}", flush=True)

        making = _Making(Ledger(workspace, say=say, computes=computes), say)
        say(f"profile {workspace.profile.name}: {workspace.profile.purpose}")
        for name in book.BOOK.notebooks:
            making.attempt(name, lambda name=name: book.BOOK.check(name, workspace.root, workspace.profile))
        _data(making)
        for name in book.BOOK.notebooks:
            if name not in making.failed:
                making.attempt(name, lambda name=name: _compute(making, name))
        making.lacking = frozenset(making.failed)
        say(f"{counted(len(making.failed), 'page lacks', 'pages lack')} something" if making.failed else "records are complete")
        home = _render(making, _execute(making))
        if making.failed:
            raise IncompleteBook(home.relative_to(workspace.root), making.failed)
        say("done")
        return home.relative_to(workspace.root)


def _data(making: _Making) -> None:
    """Cohort and store, unless every result on them is here or committed: then none is simulated, and a page that draws clips
    simulates those. Without data that are needed there is no page at all, so an error here ends it."""
    profile = making.workspace.profile
    pages = [name for name in book.BOOK.notebooks if name not in making.failed]
    if profile.echonet.phantom is not None and all(_settled(making, book.BOOK.needs(page, profile)) for page in pages):
        making.say("every result is here or committed: no cohort is simulated")
        return
    pretrained = sorted({s.model.name for page in pages for s in book.BOOK.needs(page, profile).runs if s.model.imagenet})
    if pretrained:
        from echolib.models.imagenet import check_obtainable  # seconds, for the profiles that start from ImageNet weights

        for name in pretrained:
            check_obtainable(name)
    store = making.ledger.store
    making.say(f"store: {counted(len(store.studies), 'study', 'studies')}, data fingerprint {store.fingerprint[:16]}")
    for finding in store.report.itertuples():
        making.say(f"  {finding.action}: {finding.file}: {finding.problem}")


def _settled(making: _Making, wanted: Needs) -> bool:
    """Is a page's every result here or committed? A damaged one counts too: it stops its page, and data would not mend it."""
    ledger = making.ledger
    asked = [lambda spec=spec: ledger.runs.find(spec) for spec in wanted.runs]
    asked += [lambda spec=spec: ledger.evaluations.find(spec) for spec in wanted.evaluations]
    if any(not ledger.knows(spec.data) for spec in (*wanted.runs, *wanted.evaluations)):
        return False
    for ask in asked:
        try:
            if ask().record is None:
                return False
        except RecordError:
            continue
    return True


def _compute(making: _Making, name: str) -> None:
    """The runs and evaluations of a page."""
    wanted = book.BOOK.needs(name, making.workspace.profile)
    for spec in wanted.runs:
        making.compute(spec.key, lambda spec=spec: making.ledger.require([spec]))
    for spec in wanted.evaluations:
        making.compute(spec.key, lambda spec=spec: making.ledger.evaluate([spec]))


def _execute(making: _Making) -> list[Path]:
    """Execute what is stale, several at a time; the executed notebooks of all pages that did not fail, in reading order."""
    tasks = {name: making.attempt(name, lambda name=name: _task(making.ledger, name)) for name in book.BOOK.notebooks
             if name not in making.failed}
    stale = []
    for task, why in (found for found in tasks.values() if found is not None):
        if why:
            making.say(f"notebook {task.name}: {why}")
            stale.append(task)
    for done, (name, error) in enumerate(run_all(stale), start=1):
        if error is None:
            making.say(f"notebook {name} is done, {done} of {len(stale)}")
        else:
            making.fail(name, error)
    return [found[0].out for name, found in tasks.items() if name not in making.failed]


def _task(ledger: Ledger, name: str, values: dict[str, object] | None = None) -> tuple[Task, str]:
    """How a notebook is executed, and why it has to be; "" when the executed copy is current.

    Raises:
        EcholibError: it has to be executed and the ledger computes nothing.
    """
    workspace, folder = ledger.workspace, ledger.workspace.build / "notebooks"
    given = book.BOOK.parameters(name, workspace.profile) | (values or {})
    out = folder / f"{name}.ipynb"
    if values:
        mark = sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
        out = folder / "variants" / f"{name}-{mark}.ipynb"
    task = Task(name, source(name, workspace.root), out, given, workspace.root, tuple(notebook_inputs(ledger, name, values)),
                alone=not is_known(partial(book.BOOK.take_times, name, ledger, values)))
    current, why = is_current(task.notebook, task.out, task.parameters, task.inputs)
    if not current and not ledger.computes:
        raise EcholibError(f"{why}; execute it with `echolib notebook {name} --profile {workspace.profile.name}`")
    return task, "" if current else why


def _render(making: _Making, executed: list[Path]) -> Path:
    """Assemble and build; a page that failed is a note in its place."""
    workspace = making.workspace
    notes = workspace.build / "notes"
    shutil.rmtree(notes, ignore_errors=True)
    reader = replace(making.ledger, computes=False)
    generated, files = _generated(making, reader)
    generated |= (making.attempt("book/speed", lambda: speed.speed_pages(workspace.root))
                  or dict.fromkeys(speed.PARTS, _admonition(making, "book/speed")))
    for name, text in generated.items():
        write_atomic(workspace.build / "generated" / name, text)
    making.say("pages")
    missing = {name: _note(notes, name, making) for name in book.BOOK.notebooks if name in making.failed}
    staged = assemble(workspace.root, workspace.build / "staging", book.BOOK.toc(), executed, generated, files, notes=missing)
    return build(staged, workspace.build / "html")


def _generated(making: _Making, ledger: Ledger) -> tuple[dict[str, str], dict[str, Path]]:
    """Generated parts of the Markdown pages by file name, and files for the site. What lacks a record becomes a notice."""
    titles = {name: title(name, making.workspace.root) for name in book.BOOK.notebooks}
    texts = {"parameters.md": _raw_html(overview.parameters_html(book.BOOK, titles))}
    for paper in book.BOOK.papers:
        texts |= paper.generated(making.workspace.root / "profiles")
    card, parts, quotes, files, claims = [], [], [], {}, []
    stopped = {entry.id: "its page lacks a record" for entry in book.BOOK.entries.values() if entry.notebook in making.lacking}
    for paper in book.BOOK.papers:
        found = making.attempt("book/scorecard", lambda paper=paper: overview.all_cells(book.BOOK, paper, ledger, stopped))
        claimed = making.attempt("book/scorecard", lambda paper=paper: overview.all_claims(book.BOOK, paper, ledger, stopped))
        if found is None or claimed is None:
            text = _admonition(making, "book/scorecard")
            return texts | dict.fromkeys(("findings.md", "scorecard.md", "overview.md", "quotes.md", "decided.md"), text), {}
        claims.append(claimed)
        for entry in book.BOOK.pages[paper]:
            if entry.quote is not None and entry.id not in stopped:
                said = making.attempt("book/index", lambda entry=entry: entry.quote(ledger, entry.options))
                quotes.append(_admonition(making, "book/index") if said is None else _raw_html(said))
        if not len(found) and not len(claimed):
            continue
        parts += [f"## {paper.title}\n\n", _raw_html(overview.overview_html(book.BOOK, found, claimed))]
        files |= overview.record_files(book.BOOK, ledger, found)
        if paper.lead and paper.lead not in stopped:
            card += [_raw_html(part) for part in _lead(book.BOOK.entries[paper.lead], ledger, found)]
    claims = pd.concat(claims, ignore_index=True)
    said = making.attempt("book/index", lambda: findings.findings_html(book.BOOK, claims)
                          + findings.glance_html(book.BOOK, claims))
    texts["findings.md"] = _admonition(making, "book/index") if said is None else _raw_html(said)
    settled = making.attempt("book/scorecard", lambda: _decided(making, ledger, claims, stopped))
    texts["decided.md"] = _admonition(making, "book/scorecard") if settled is None else _raw_html(settled)
    return texts | {"scorecard.md": "".join(card), "overview.md": "".join(parts), "quotes.md": "".join(quotes)}, files


def _decided(making: _Making, ledger: Ledger, claims: pd.DataFrame, stopped: Collection[str]) -> str:
    """How much the seeds leave open, beside the same from before the profile's schedule changed, where that is kept."""
    profile = ledger.workspace.profile
    before = decided.load(making.workspace.root / "results" / "decided" / f"{profile.name}-before.json")
    now = decided.decided(book.BOOK, ledger, claims, what=decided.schedule(profile), stopped=stopped)
    return decided.decided_html(now, before)


def _lead(entry: Experiment, ledger: Ledger, found: pd.DataFrame) -> list[str]:
    """What the front page shows of a paper: how many cells have which status, its main table, and that table's claims."""
    profile = ledger.workspace.profile
    records = ledger.require(spec for group in entry.runs(profile).values() for spec in group)
    return [overview.counts_html(found, "published cells of the paper"), scorecard.scorecard_html(entry, ledger),
            scorecard.claims_html(scorecard.claims(entry, ledger)), footer.provenance_html(records, profile.name)]


def _note(folder: Path, name: str, making: _Making) -> Path:
    """A notebook that says that the page is missing."""
    book = new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}})
    text = f"# {title(name, making.workspace.root)}\n\n{_admonition(making, name)}"
    book.cells = [new_markdown_cell(text, id="note")]
    write_atomic(folder / f"{name}.ipynb", nbformat.writes(book) + "\n")
    return folder / f"{name}.ipynb"


def _admonition(making: _Making, page: str) -> str:
    """Says that a page is missing and how to see why. The reason itself stays in the log: it may name files of this machine."""
    return (":::{admonition} This page could not be made\n:class: warning\n"
            f"The build ended with an error that names `{page}`, the reason, and what to do. Everything that was computed is "
            f"kept: mend it, then give `make book PROFILE={making.workspace.profile.name}` again.\n:::\n")


def _raw_html(text: str) -> str:
    return f"````{{raw}} html\n{text}\n````\n\n"
