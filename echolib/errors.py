"""The errors that echolib raises on purpose.

Every message answers four questions: which file, which row, which value, and what would be right.
Paths in messages are relative to the data folder, so a log can be shared.
"""

from __future__ import annotations


class EcholibError(Exception):
    """Base of every error that echolib raises on purpose; the CLI prints it without a traceback."""


class DataError(EcholibError):
    """A file of a data set is missing, damaged or contradicts another one.

    Args:
        problem: what is wrong, in words.
        file: file name relative to the data folder.
        row: 1-based line of a text file or frame of a video, where it applies.
        value: the offending value.
        expected: what would have been right.
    """

    def __init__(self, problem: str, *, file: object = None, row: int | None = None, value: object = None,
                 expected: str | None = None) -> None:
        self.problem, self.file, self.row, self.value, self.expected = problem, file, row, value, expected
        where = str(file) if file is not None else ""
        if row is not None:
            where += f", row {row}" if where else f"row {row}"
        text = f"{where}: {problem}" if where else problem
        if value is not None:
            text += f" (found {value!r})"
        if expected is not None:
            text += f"; expected {expected}"
        super().__init__(text)

    def __reduce__(self):  # keep the fields when a worker process sends the error back
        return _rebuild_data_error, (self.problem, self.file, self.row, self.value, self.expected)


def _rebuild_data_error(problem, file, row, value, expected):
    return DataError(problem, file=file, row=row, value=value, expected=expected)


class ConfigError(EcholibError):
    """A profile, run specification or notebook parameter is not valid."""


class WeightsError(EcholibError):
    """A weights file is missing, damaged, of another network, or holds anything but plain tensors."""


class TrainingError(EcholibError):
    """Training cannot go on (a loss that is not finite, an empty split, ...)."""


class RecordError(EcholibError):
    """A run record is missing, incomplete, or does not belong to the specification asked for."""


class NotebookError(EcholibError):
    """A notebook failed, is stale, or was given parameters that it does not have."""
