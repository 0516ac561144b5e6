"""What every part of the ledger shares: the workspace, the data that are here, and whether to compute.

``ECHOLIB_ANEW=1`` asks to compute whatever is committed; ``ECHOLIB_PROCESSES`` says how many processes share a training.
Variables, so that notebooks, which run in processes of their own, do the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from echolib.config.specs import DataSpec
from echolib.data.store import ClipStore
from echolib.errors import ConfigError, RecordError
from echolib.ledger import committed
from echolib.ledger.committed import Shelf, anew_asked
from echolib.ledger.provenance import Provenance
from echolib.ledger.workspace import Workspace

#: Studies of a split that are simulated for a page that draws a few clips.
SAMPLE = 12


def processes_asked() -> int:
    """Processes that share a training: the variable ``ECHOLIB_PROCESSES``, 1 where it is not set.

    Raises:
        ConfigError: it is no whole number of at least 1.
    """
    text = os.environ.get("ECHOLIB_PROCESSES", "1")
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"ECHOLIB_PROCESSES is {text!r}; expected a whole number, 1 or more")
    return int(text)


@dataclass
class Context:
    """One profile's folders and data.

    Attributes:
        workspace: the profile's folders.
        say: where a line of news goes (default: print).
        progress: show bars.
        computes: False: a result that has no usable record is an error, not a reason to compute.
        anew: records in ``results/`` do not count.
        fingerprints: of cohorts that are known without opening a store, by the JSON of their DataSpec (a plan fills it).
    """

    workspace: Workspace
    say: Callable[[str], None] = partial(print, flush=True)
    progress: bool = True
    computes: bool = True
    anew: bool = field(default_factory=anew_asked)
    fingerprints: dict[str, str] = field(default_factory=dict, repr=False)
    _store: ClipStore | None = field(default=None, repr=False)
    _others: dict[str, ClipStore] = field(default_factory=dict, repr=False)
    _agreed: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def store(self) -> ClipStore:
        """The packed EchoNet-style cohort of the profile."""
        if self._store is None:
            self._store = self.workspace.store("echonet", progress=self.progress)
        return self._store

    def store_of(self, data: DataSpec) -> ClipStore:
        """The packed clips of a cohort; cohorts other than the profile's (a probed preset, say) are built on demand."""
        if data == self.workspace.profile.echonet:
            return self.store
        name = data.model_dump_json()
        if name not in self._others:
            self._others[name] = self.workspace.store_of(data, progress=self.progress)
        return self._others[name]

    def sample(self, *, train: int = SAMPLE, test: int = SAMPLE) -> tuple[ClipStore, Path]:
        """The first so many studies of two splits of the profile's cohort, and their folder: for pages that draw a few clips.

        Of a phantom no other study is simulated; what is drawn is the same whether the whole cohort is here or not. Pages that
        ask for the same number share one sample, which is simulated once.
        """
        return self.workspace.sample(self.workspace.profile.echonet, train=train, test=test, progress=self.progress)

    @property
    def results(self) -> Path | None:
        """The profile's folder in ``results/``; None where committed records do not count."""
        if self.anew or not self.workspace.profile.quotable:
            return None
        return self.workspace.root / "results" / self.workspace.profile.name

    def shelf(self, kind: str) -> Shelf | None:
        """The committed results of a kind; None where committed records do not count."""
        return None if self.results is None else Shelf(self.results / kind)

    def known(self, data: DataSpec) -> str | None:
        """Fingerprint of a cohort that is here; None of a phantom that is not simulated yet. Nothing is simulated."""
        name = data.model_dump_json()
        if name not in self.fingerprints:
            loaded = self._others.get(name) or (self._store if data == self.workspace.profile.echonet else None)
            if loaded is not None:
                return loaded.fingerprint
            if data.phantom is None:
                return self.store_of(data).fingerprint
            if not self.workspace.is_simulated(data):
                return None
            self.fingerprints[name] = self.workspace.read(data).fingerprint
        return self.fingerprints[name]

    def knows(self, data: DataSpec) -> bool:
        """Can :meth:`fingerprint_of` tell without simulating? True as well where committed records contradict each other."""
        if self.results is None or self.known(data) is not None:
            return self.known(data) is not None
        try:
            return self.agreed(data) is not None
        except RecordError:
            return True

    def fingerprint_of(self, data: DataSpec) -> str:
        """Fingerprint of a cohort; of a phantom that is not simulated yet the one on which all committed records agree."""
        name = data.model_dump_json()
        if name not in self.fingerprints and self.results is not None and self.known(data) is None:
            agreed = self.agreed(data)
            if agreed is not None:
                return agreed
        return self.fingerprints.get(name) or self.store_of(data).fingerprint

    def agreed(self, data: DataSpec) -> str | None:
        """Fingerprint on which all committed records of a cohort agree, looked up once; None where none is committed.

        Raises:
            RecordError: they do not agree.
        """
        name = data.model_dump_json()
        if name not in self._agreed:
            found = committed.fingerprint_of(self.results, data)
            if found is None:
                return None
            self._agreed[name] = found
        return self._agreed[name]

    def usable(self, provenance: Provenance, data: DataSpec, code: str) -> tuple[bool, str]:
        """May a committed result be used, and what has to be said of it?

        Args:
            provenance: of the committed result.
            data: the cohort it was computed on.
            code: today's fingerprint of the code that computes such results.

        Raises:
            RecordError: the committed results of the cohort do not agree on its data.
        """
        here = self.known(data)
        if here is None:
            self.agreed(data)  # they must agree
        elif here != provenance.data:
            return False, (f"data differ: the record in results/{self.workspace.profile.name} comes from {provenance.data[:16]}, "
                           f"here are {here[:16]}")
        changed = committed.code_changed(provenance, code)
        return True, f"results/{self.workspace.profile.name}" + (f"; {changed}" if changed else "")
