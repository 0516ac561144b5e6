"""The papers' numbers, one CSV per table or figure, exactly as transcribed; never edited, never computed.

``README.md`` in this folder gives the units. An empty cell was not printed or is not legible.
"""

from __future__ import annotations

from importlib.resources import files

import pandas as pd

from echolib.errors import ConfigError


def names() -> list[str]:
    """Names of all published tables, such as ``simlvseg_table1``."""
    return sorted(p.name[:-4] for p in files(__package__).iterdir() if p.name.endswith(".csv"))


def load(name: str) -> pd.DataFrame:
    """One published table.

    Raises:
        ConfigError: there is no table of that name.
    """
    if name not in names():
        raise ConfigError(f"no published table {name!r}; there are: {', '.join(names())}")
    with (files(__package__) / f"{name}.csv").open(encoding="utf-8") as stream:
        return pd.read_csv(stream)
