"""The network behind ``echolib segment``: the default weights, a run of the ledger, a released checkpoint, or a file.

A weights file that this package writes says in its own header which network it belongs to, how that network is fed, and
what it was trained on. Loading executes nothing that a file says.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from echolib import models
from echolib.clinic.calibration import Calibration
from echolib.config import DataSpec, RunSpec, parse
from echolib.errors import ConfigError, DataError, WeightsError
from echolib.files import read_json, write_json
from echolib.models.weights import load_into, load_plain

DEFAULT = Path(__file__).parent / "weights" / "default.safetensors"
MADE_BY = "echolib train-default"
#: Header entries of a self-describing file.
_ENTRIES = ("network", "width", "frames", "period", "size", "trained_on")
_KINDS = "a run's folder, a .safetensors file of `echolib train-default`, or a checkpoint that SimLVSeg's authors released"
MOST_BYTES = 10 * 2 ** 20


@dataclass(frozen=True)
class Segmenter:
    """A network ready to segment clips.

    Attributes:
        model: clip (B, 3, F, S, S) normalised -> logits (B, 1, F, S, S); in evaluation mode.
        frames: F.
        period: frames of the video between two frames of a clip.
        size: S, px.
        origin: where the weights come from, in words.
        architecture: name and width, in words.
        trained_on: data, in words.
        sha256: of the weights file, 16 hex digits.
        ef_error: mean absolute EF error on held-out simulated clips, in points, as the record says; None where no record does.
        interval: how doubts make an interval of the EF, as the record says; None where no record does.
    """

    model: nn.Module
    frames: int
    period: int
    size: int
    origin: str
    architecture: str
    trained_on: str
    sha256: str
    ef_error: float | None = None
    interval: Calibration | None = None

    def described(self) -> dict[str, str]:
        """The words, for reports."""
        return {"origin": self.origin, "architecture": self.architecture, "trained_on": self.trained_on, "sha256": self.sha256}


def load_segmenter(weights: str | Path | None = None, *, default: Path = DEFAULT) -> Segmenter:
    """Load a network.

    Args:
        weights: None for the packaged default; the folder of a run (``spec.json`` and ``weights.safetensors``); a safetensors
            file that says which network it belongs to; or a released checkpoint of the 3D U-Net.
        default: the packaged file.

    Raises:
        WeightsError: nothing there, damage, weights of another network, or a file that does not say what it is.
    """
    if weights is None:
        return _default(default)
    path = Path(weights)
    if path.is_dir():
        return _of_run(path)
    if not path.is_file():
        raise WeightsError(f"no weights at {path.name!r}; expected {_KINDS}")
    if path.suffix == ".safetensors" or _holds_safetensors(path):
        if (path.parent / "spec.json").is_file() and "network" not in models.load_metadata(path):
            return _of_run(path.parent)
        return _of_file(path, "a weights file")
    return _released(path)


def save_segmenter(model: nn.Module, path: Path, *, network: str, width: float, frames: int, period: int, size: int,
                   trained_on: str, record: dict | None = None, half: bool = False) -> None:
    """Write weights that say what they are, and beside them their record with the file's checksum.

    Args:
        model: a network of ``models.build(network, width=width, frames=frames, size=size)``.
        path: ``<name>.safetensors``; the record becomes ``<name>.json``.
        network, width, frames, period, size: see :class:`Segmenter`.
        trained_on: one or two sentences for the report.
        record: how it was trained and what it scored; None writes no record.
        half: store 16-bit floats, half the size; the network computes in 32 bits all the same.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {key: value.half() if half and value.is_floating_point() else value for key, value in model.state_dict().items()}
    models.save_weights(state, path, {"network": network, "width": f"{width:g}", "frames": str(frames), "period": str(period),
                                      "size": str(size), "trained_on": trained_on})
    if record is not None:
        write_json(path.with_suffix(".json"), {**record, "sha256": _sha256(path), "bytes": path.stat().st_size})


def _default(path: Path) -> Segmenter:
    if not path.is_file():
        raise WeightsError(f"the package holds no default weights; make them with `{MADE_BY}`, or name others with --weights "
                           "(a run's folder, a .safetensors file or a released checkpoint)")
    try:
        record = read_json(path.with_suffix(".json"))
        errors = [score["ef_mae_points"] for score in record["validation"].values() if score["ef_mae_points"] is not None]
        interval = Calibration.of_record(record["interval"]) if "interval" in record else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, DataError):
        raise WeightsError(f"{path.name}: its record {path.with_suffix('.json').name} is missing or damaged; "
                           f"make both anew with `{MADE_BY}`") from None
    if record.get("sha256") != _sha256(path):
        raise WeightsError(f"{path.name}: the checksum is not the one in its record: the file is damaged or was exchanged; "
                           f"install the package again or run `{MADE_BY}`")
    return replace(_of_file(path, "the default weights of echolib"), ef_error=max(errors, default=None), interval=interval)


def _of_file(path: Path, origin: str) -> Segmenter:
    entries = models.load_metadata(path)
    missing = [name for name in _ENTRIES if name not in entries]
    if missing:
        raise WeightsError(f"{path.name}: the file does not say what network it belongs to (no {', '.join(missing)} in its "
                           "header); give the run's folder with its spec.json instead")
    try:
        width, frames, period, size = (float(entries["width"]), *(int(entries[name]) for name in ("frames", "period", "size")))
        if period < 1:
            raise ValueError
        model = models.build(entries["network"], width=width, frames=frames, size=size, weights=path)
    except ValueError:
        raise WeightsError(f"{path.name}: width, frames, period or size in its header is not a number that can be used") from None
    except ConfigError as error:
        raise WeightsError(f"{path.name}: its header describes no network: {error}") from None
    return Segmenter(model.eval(), frames, period, size, origin, _architecture(entries["network"], width, frames, period),
                     entries["trained_on"], _sha256(path)[:16])


def _of_run(folder: Path) -> Segmenter:
    try:
        raw = read_json(folder / "spec.json")
    except (OSError, ValueError):
        raise WeightsError(f"{folder.name}: not a run: spec.json is missing or damaged") from None
    if not isinstance(raw, dict):
        raise WeightsError(f"{folder.name}: not a run: spec.json holds no specification")
    from echolib.training import recipes  # noqa: F401  makes the recipes known; seconds that the default weights do not need

    try:
        spec = parse(RunSpec, raw, f"{folder.name}/spec.json")
    except ConfigError as error:
        raise WeightsError(str(error)) from None
    if spec.recipe.gives != "masks":
        raise WeightsError(f"{folder.name}: this run's network gives a {spec.recipe.gives}; expected one that gives masks")
    path = folder / "weights.safetensors"
    if not path.is_file():
        raise WeightsError(f"{folder.name}: the run has no weights.safetensors; it is not finished")
    if spec.data.layout != "echonet":
        raise WeightsError(f"{folder.name}: the run learnt from half cycles in the layout of {spec.data.layout}, whose frames "
                           "are squashed to a square; expected one that learnt from videos in the layout of echonet")
    from echolib.training.recipe import Parent, skeleton

    model = skeleton(spec)
    load_into(model, Parent(spec, path).state(), f"{folder.name}/{path.name}")
    return Segmenter(model.eval(), spec.clip.frames, spec.clip.period, spec.data.size, f"run {spec.key} of the ledger",
                     architecture(spec), f"{learnt_from(spec.data)}.", _sha256(path)[:16])


def architecture(spec: RunSpec) -> str:
    """The network of a run in words."""
    return _architecture(spec.model.name, spec.model.width, spec.clip.frames, spec.clip.period)


def learnt_from(data: DataSpec) -> str:
    """What a run learnt from, in words."""
    phantom = data.phantom
    return (f"{phantom.train} simulated clips (phantom, preset {phantom.preset}, layout {data.layout})" if phantom else
            f"the training split of {'EchoNet-Dynamic' if data.layout == 'echonet' else 'CAMUS'}")


def _holds_safetensors(path: Path) -> bool:
    with path.open("rb") as stream:  # 8 bytes of header length, then a JSON object
        return stream.read(9)[8:] == b"{"


def _released(path: Path) -> Segmenter:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols: what matters is whether it loads
            load_plain(path)
    except WeightsError:  # PyTorch's own words advise to load the file unsafely
        raise WeightsError(f"{path.name}: not a weights file, or a damaged one: it does not load as plain tensors, and nothing "
                           f"in it was run; expected {_KINDS}") from None
    from echolib.models.released import load_released  # it brings MONAI along, seconds that the default weights do not need

    problems = []
    for name in ("unet3d", "unet3d_s"):
        try:
            state = load_released(path, name)
        except WeightsError as error:
            problems.append(str(error))
            continue
        model = models.build(name, frames=32, size=112)
        model.load_state_dict(state)
        return Segmenter(model.eval(), 32, 1, 112, "a checkpoint released by the authors of SimLVSeg",
                         _architecture(name, 1.0, 32, 1), "EchoNet-Dynamic, by its authors' account.", _sha256(path)[:16])
    raise WeightsError(problems[0])


def _architecture(name: str, width: float, frames: int, period: int) -> str:
    return f"{name}, width {width:g}, clips of {frames} frames" + (f" with period {period}" if period > 1 else "")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
