"""Where everything of a profile lies: ``build/<profile>/{cohort,store,runs,notebooks,html}`` in the checkout.

The real data sets are found through the environment variables ``ECHOLIB_ECHONET`` and ``ECHOLIB_CAMUS`` (the Makefile's
``ECHONET=`` and ``CAMUS=``), so that no path of a machine gets into a specification, a record or a notebook.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from echolib.config.parsing import parse
from echolib.config.profile import Profile, load_profile
from echolib.config.specs import DataSpec, Layout, RunSpec
from echolib.data import camus, echonet
from echolib.data.cohort import Cohort
from echolib.data.store import ClipStore, open_verified, pack
from echolib.errors import ConfigError, DataError
from echolib.files import locked
from echolib.hardware import cores
from echolib.words import counted

#: Last table of a simulated cohort: a folder without it is unfinished.
LAST_TABLE = {"echonet": "FileList.csv", "camus": "database_split/subgroup_testing.txt"}


def find_root(start: Path | None = None) -> Path:
    """The checkout: the nearest folder upwards that holds ``profiles`` and ``pyproject.toml``."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "profiles").is_dir() and (folder / "pyproject.toml").is_file():
            return folder
    raise ConfigError("not inside a checkout of the companion: no folder upwards holds profiles/ and pyproject.toml")


@dataclass(frozen=True)
class Workspace:
    """A profile and its folders.

    Attributes:
        root: the checkout.
        profile: the profile.
        build: ``root/build/<profile name>``.
    """

    root: Path
    profile: Profile
    build: Path

    @classmethod
    def open(cls, profile: str = "smoke", root: Path | None = None) -> Workspace:
        """The workspace of ``profiles/<profile>.yml``; the variable ``ECHOLIB_ENGINE`` (fast or plain) overrides its engine.

        A variable, so that notebooks, which run in processes of their own, look for the same runs.
        """
        root = root or find_root()
        if not profile.replace("_", "").replace("-", "").isalnum():
            raise ConfigError(f"a profile name has letters, digits, '-' and '_' only, not {profile!r}")
        loaded = load_profile(root / "profiles" / f"{profile}.yml")
        if loaded.name != profile:
            raise ConfigError(f"profiles/{profile}.yml names itself {loaded.name!r}")
        engine = os.environ.get("ECHOLIB_ENGINE")
        if engine:
            loaded = parse(Profile, loaded.model_dump() | {"engine": engine}, "ECHOLIB_ENGINE")
        return cls(root=root, profile=loaded, build=root / "build" / profile)

    def run_dir(self, spec: RunSpec) -> Path:
        """The directory of a run."""
        return self.build / "runs" / spec.key

    def cohort_dir(self, data: DataSpec) -> Path:
        """Where the cohort of ``data`` lies; for real data the folder that the environment names.

        Raises:
            ConfigError: real data was asked for and no folder is given.
        """
        if data.phantom is not None:
            from echolib.phantom.folder import simulator_fingerprint
            spec = hashlib.sha256(data.phantom.model_dump_json().encode()).hexdigest()[:8]
            return self.build / "cohort" / f"{data.layout}-{data.phantom.preset}-{spec}-{simulator_fingerprint()[:8]}"
        variable = f"ECHOLIB_{data.layout.upper()}"
        if not os.environ.get(variable):
            raise ConfigError(f"profile {self.profile.name!r} reads the real {data.layout} data: give its folder with "
                              f"`make book PROFILE={self.profile.name} {data.layout.upper()}=...` or the variable {variable}")
        return Path(os.environ[variable])

    def is_simulated(self, data: DataSpec) -> bool:
        """Is the cohort of ``data``, a phantom, here and finished?"""
        return (self.cohort_dir(data) / LAST_TABLE[data.layout]).is_file()

    def older_cohort(self, data: DataSpec) -> Path | None:
        """A finished folder of this phantom cohort that other sources of the simulator wrote; None where there is none."""
        today = self.cohort_dir(data)
        found = [path for path in sorted(today.parent.glob(f"{today.name[:-8]}????????"))
                 if path != today and (path / LAST_TABLE[data.layout]).is_file()]
        return found[-1] if found else None

    def read(self, data: DataSpec, folder: Path | None = None) -> Cohort:
        """Read the cohort of ``data`` as it lies there, or in another folder; nothing is simulated.

        Raises:
            DataError: it is not there or damaged.
            ConfigError: real data was asked for and no folder is given.
        """
        folder = folder or self.cohort_dir(data)
        return camus.read(folder, views=data.views) if data.layout == "camus" else echonet.read(folder)

    def cohort(self, data: DataSpec, *, workers: int | None = None, progress: bool = True) -> Cohort:
        """Read the cohort of ``data``, simulating it first where it is a phantom that is not there yet; ``workers`` None: a
        process for each core.

        Raises:
            DataError: a study is damaged (the first is named; ``echolib check`` lists all).
        """
        folder = self.cohort_dir(data)
        if data.phantom is not None:
            from echolib.phantom.cohort import write_camus, write_echonet  # only this step writes phantoms
            write = {"echonet": write_echonet, "camus": write_camus}[data.layout]
            with locked(_lock(folder)):
                write(folder, data.phantom, workers=workers or cores(), progress=progress,
                      device="cuda" if torch.cuda.is_available() else "cpu")
        # A split that was asked to be empty (a probed preset has test studies only) is no damage.
        empty = data.phantom is not None and 0 in (data.phantom.train, data.phantom.val, data.phantom.test)
        return _whole(self.read(data), empty)

    def store(self, layout: Layout = "echonet", *, workers: int | None = None, progress: bool = True) -> ClipStore:
        """The packed clips of the profile's cohort, made if they are missing or the cohort has changed.

        Raises:
            ConfigError: the profile has no cohort in this layout, or there is no such layout.
        """
        cohorts = {"echonet": self.profile.echonet, "camus": self.profile.camus}
        if layout not in cohorts:
            raise ConfigError(f"no layout is called {layout!r}; expected one of {', '.join(cohorts)}; another cohort is opened "
                              "with store_of")
        data = cohorts[layout]
        if data is None:
            raise ConfigError(f"profile {self.profile.name!r} has no {layout} cohort")
        return self.store_of(data, workers=workers, progress=progress)

    def store_dir(self, data: DataSpec, cohort: Cohort) -> Path:
        """Where the packed clips of a cohort lie."""
        return self.build / "store" / f"{data.layout}-{data.size}px-{data.channels}ch-{cohort.fingerprint[:12]}"

    def store_of(self, data: DataSpec, *, workers: int | None = None, progress: bool = True) -> ClipStore:
        """The packed clips of any cohort, simulated and packed first where they are not there yet."""
        return self.packed(data, self.cohort(data, workers=workers, progress=progress), progress=progress)

    def sample(self, data: DataSpec, *, train: int = 0, val: int = 0, test: int = 0,
               progress: bool = True) -> tuple[ClipStore, Path]:
        """The first so many studies of each split of a cohort, without simulating the others.

        A phantom study is made from its own seed, so these are the same bytes as in the whole cohort. Of real data it is the
        whole store.

        Returns:
            the packed clips, and the folder of the cohort (with the truth of phantoms).
        """
        if data.phantom is None:
            return self.store_of(data, progress=progress), self.cohort_dir(data)
        from echolib.phantom.cohort import studies_of
        count = {"train": train, "val": val, "test": test}
        names = [name for name, (split, k) in studies_of(data.phantom).items() if k < count[split]]
        return self.some(data, names, progress=progress)

    def names(self, data: DataSpec, split: str) -> list[str]:
        """The studies of a split by name; of a phantom nothing is simulated, of real data the tables are read."""
        if data.phantom is None:
            studies = self.read(data).studies
            return sorted(studies.index[studies["split"] == split])
        from echolib.phantom.cohort import studies_of
        return sorted(name for name, (part, _) in studies_of(data.phantom).items() if part == split)

    def some(self, data: DataSpec, names: Iterable[str], *, progress: bool = True) -> tuple[ClipStore, Path]:
        """Named studies of a phantom cohort in EchoNet-Dynamic's layout, packed, and their folder; see :meth:`sample`.

        Raises:
            ConfigError: another layout, or no study of that name.
        """
        if data.phantom is None or data.layout != "echonet":
            raise ConfigError(f"only phantoms in EchoNet-Dynamic's layout can be simulated study by study, not {data.layout}")
        from echolib.phantom.cohort import write_echonet
        names, whole = sorted(set(names)), self.cohort_dir(data)
        folder = whole.with_name(f"{whole.name}-{len(names)}-{hashlib.sha256(' '.join(names).encode()).hexdigest()[:8]}")
        with locked(_lock(whole)), locked(_lock(folder)):  # studies of the whole are taken from there
            write_echonet(folder, data.phantom, workers=cores(), progress=progress, only=names, whole=whole,
                          device="cuda" if torch.cuda.is_available() else "cpu")
        return self.packed(data, _whole(self.read(data, folder), True), progress=progress), folder

    def packed(self, data: DataSpec, cohort: Cohort, *, progress: bool = True) -> ClipStore:
        """The packed clips of a cohort that was read, made if they are missing."""
        out = self.store_dir(data, cohort)
        return open_verified(pack(cohort, out, size=data.size, channels=data.channels, progress=progress, workers=cores()).path)


def _lock(folder: Path) -> Path:
    """The lock of whoever writes ``folder``: one a folder, so that a process does not wait for a cohort that it needs not."""
    return folder.with_name(f".{folder.name}.lock")


def _whole(cohort: Cohort, empty_split: bool) -> Cohort:
    """The cohort, if none of its studies is unusable; ``empty_split``: a split without studies, whose finding names none, may be.

    Raises:
        DataError: a study is damaged.
    """
    bad = [f for f in cohort.report.findings
           if f.action == "dropped" and not f.known_quirk and not (empty_split and f.study is None)]
    if bad:
        raise DataError(f"{counted(len(bad), 'study is', 'studies are')} unusable, the first: {bad[0].problem}",
                        file=bad[0].file, row=bad[0].row, expected="a folder on which `echolib check DIR` finds nothing wrong")
    return cohort
