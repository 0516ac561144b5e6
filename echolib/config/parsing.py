"""Options from a file or a command line, with every problem in one sentence."""

from __future__ import annotations

import reprlib

from pydantic import BaseModel, ValidationError

from echolib.errors import ConfigError


def parse(kind: type[BaseModel], raw: dict, name: str):
    """Validate ``raw`` as ``kind``; every problem becomes one line of a ConfigError that starts with ``name``."""
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        lines = [f"{name}: {'.'.join(map(str, e['loc'])) or '(top)'}: {e['msg']} (found {_brief(e.get('input'))!r})"
                 for e in error.errors()]
        raise ConfigError("\n".join(lines)) from None


def _brief(value: object) -> str:
    """At most 80 characters of a value; containers only to a small depth: a YAML alias can stand for gigabytes of text."""
    return (reprlib.repr(value) if isinstance(value, (dict, list, tuple, set)) else str(value))[:80]
