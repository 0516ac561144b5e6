"""Weights on disk: safetensors written, safetensors and tensors-only torch files read. Nothing that a file says is executed.

A torch file is a pickle, and a pickle can run code. It is read with ``weights_only=True``, which builds tensors, numbers,
text and containers and nothing else; any other content is a WeightsError before it runs.
"""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from echolib.errors import WeightsError

#: what torch.load raises on a file that is damaged, is no torch file, or holds more than plain data
_UNREADABLE = (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError,
               TypeError, AssertionError, ImportError, OverflowError, MemoryError, zipfile.BadZipFile, struct.error)
#: entries under which training programs keep the weights in a torch file
_NESTED = ("state_dict", "model", "model_state_dict")
_SHOWN = 5


def save_weights(weights: nn.Module | Mapping[str, Tensor], path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write weights as safetensors: to a temporary name first, then in place; the same weights give the same bytes.

    Args:
        weights: a network, or its state dict.
        path: target file.
        metadata: text stored in the file's header, such as the network's name and the run's key.

    Raises:
        WeightsError: a value is not a tensor, or metadata is not text.
    """
    path = Path(path)
    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    metadata = dict(metadata or {})
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise WeightsError(f"{path.name}: metadata {key!r} = {value!r} is not text")
    _check_tensors(state, path.name)
    # clones: safetensors refuses tensors that share memory, and a view would save what lies around it
    blob = safetensors.torch.save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}, metadata)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            header, data = _sorted_header(blob)
            file.write(header)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _sorted_header(blob: bytes) -> tuple[bytes, memoryview]:
    """The header with its metadata in alphabetical order (safetensors writes it in random order), and the tensor bytes."""
    (length,) = struct.unpack("<Q", blob[:8])
    header = json.loads(blob[8:8 + length])
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the format wants the tensors aligned to 8 bytes
    return struct.pack("<Q", len(text)) + text, memoryview(blob)[8 + length:]


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict (CPU) from a safetensors file or from a torch file of plain tensors.

    A torch file may hold the state dict itself or keep it under ``state_dict`` or ``model``.

    Raises:
        WeightsError: the file is missing, damaged, or holds anything but plain tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"no weights file {path.name!r}")
    if _is_safetensors(path):
        try:
            return safetensors.torch.load_file(path, device="cpu")
        except (safetensors.SafetensorError, OSError, ValueError) as error:
            raise WeightsError(f"{path.name}: damaged safetensors file: {_first_line(error)}") from None
    state = load_plain(path)
    for name in _NESTED:
        if isinstance(state, Mapping) and isinstance(state.get(name), Mapping):
            state = state[name]
    if not isinstance(state, Mapping):
        raise WeightsError(f"{path.name}: holds a {type(state).__name__}; expected a mapping of names to tensors")
    _check_tensors(state, path.name)
    return dict(state)


def load_metadata(path: str | Path) -> dict[str, str]:
    """The text in the header of a safetensors file.

    Raises:
        WeightsError: the file is missing or is not a safetensors file.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"no weights file {path.name!r}")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path.name}: not a safetensors file: {_first_line(error)}") from None


def load_plain(path: Path) -> object:
    """Read a torch file that holds tensors, numbers, text and containers only. WeightsError on anything else."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise WeightsError(f"{path.name}: not a torch file of plain tensors: {_first_line(error)}") from None


def load_into(model: nn.Module, state: Mapping[str, Tensor], file: str) -> None:
    """Copy ``state`` into ``model``. Every name and shape must fit.

    Raises:
        WeightsError: naming the file and the first names that are missing, unexpected or of another shape.
    """
    complaint = misfit(model.state_dict(), state)
    if complaint:
        raise WeightsError(f"{file}: weights of another network: {complaint}")
    model.load_state_dict(dict(state))


def misfit(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """How ``state`` differs from ``expected`` in names and shapes, in words; empty when it does not."""
    shapes = [f"{name} {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
              for name, tensor in expected.items() if name in state and state[name].shape != tensor.shape]
    parts = (("missing", [name for name in expected if name not in state]),
             ("unexpected", [name for name in state if name not in expected]), ("of another shape", shapes))
    return "; ".join(f"{len(names)} {what}: {_some(names)}" for what, names in parts if names)


def transfer(state: Mapping[str, Tensor], model: nn.Module) -> list[str]:
    """Start ``model`` from the weights of another stage: all that fits is copied, a head that does not fit stays as built.

    Stage 1 may reconstruct three channels and stage 2 segments one; only the network's ``head`` depends on that. The head is
    taken as a whole: if one of its tensors does not fit, none is copied.

    Args:
        state: weights of the same architecture and width.
        model: the network to fill, in place.

    Returns:
        names of the parameters and buffers that keep their fresh initialisation (empty: everything was copied).

    Raises:
        WeightsError: anything but the head does not fit, or ``state`` has names that the network lacks.
    """
    _check_tensors(state, "the weights to start from")
    own = model.state_dict()
    head = [name for name in own if name.startswith(model.head)]
    fits = all(name in state and state[name].shape == own[name].shape for name in head)
    fresh = [] if fits else head
    body = {name: tensor for name, tensor in own.items() if name not in fresh}
    given = {name: tensor for name, tensor in state.items() if name not in fresh}
    complaint = misfit(body, given)
    if complaint:
        raise WeightsError(f"the weights to start from do not fit {type(model).__name__}: {complaint}")
    model.load_state_dict({**given, **{name: own[name] for name in fresh}})
    return fresh


def _check_tensors(state: Mapping[str, Tensor], file: str) -> None:
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise WeightsError(f"{file}: entry {name!r} is a {type(value).__name__}; expected a tensor under a text name")


def _is_safetensors(path: Path) -> bool:
    """By content, not by name: 8 bytes of header length, then a JSON object."""
    with path.open("rb") as file:
        return path.suffix == ".safetensors" or file.read(9)[8:] == b"{"


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
