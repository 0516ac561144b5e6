"""The ejection fraction that a finished run's network gives for a video, beside the one from masks.

The network is fed as in evaluation (:mod:`echolib.evaluation.numbers`): clips of the run's frames and period over the whole
video, their mean; where it takes masks, those of the very segmenter that it was trained with. A video in EchoNet-Dynamic's
framing is taken as the store packs one, grey levels included, so that it gives the number of the evaluation; any other is cut to
its cone and brought to EchoNet-Dynamic's brightness, as for the segmenter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from echolib.clinic.network import brightness_gain
from echolib.clinic.result import Flag, RegressedEF
from echolib.clinic.weights import architecture, learnt_from
from echolib.config.specs import DataSpec, RecipeOptions, RunSpec, chain
from echolib.data.sector import Sector, cut_frame, framing, is_framed
from echolib.errors import WeightsError
from echolib.evaluation.inference import segment_studies
from echolib.evaluation.numbers import predicted, video_clips
from echolib.ledger.committed import WEIGHTS, Shelf
from echolib.ledger.records import parse_record, read_record
from echolib.models.weights import load_into
from echolib.training.recipe import Parent, skeleton

#: Frames of the video between the starts of two clips: that of evaluations.
STRIDE = 16


@dataclass(frozen=True)
class EFModel:
    """A network that gives the ejection fraction, ready for a video.

    Attributes:
        spec: its run.
        model: normalised clip (B, 3 or 4, F, S, S) -> (B,), %; in evaluation mode.
        segmenter: run and network of the masks that it takes as a fourth channel; None: it takes the frames alone.
        sha256: of the weights file, 16 hex digits.
    """

    spec: RunSpec
    model: nn.Module
    segmenter: tuple[RunSpec, nn.Module] | None
    sha256: str

    def measure(self, video: Iterable[np.ndarray], sector: Sector, place: torch.device, name: str = "clip"
                ) -> tuple[RegressedEF, list[Flag]]:
        """The ejection fraction of a video, and what must be said about it.

        Args:
            video: frames (H, W, 3) uint8, upright.
            sector: its cone.
            place: where the networks run.
            name: what messages call it.

        Raises:
            DataError: it is black.
        """
        return self.read(in_data_form(video, sector, self.spec.data, name), place)

    def read(self, frames: np.ndarray, place: torch.device) -> tuple[RegressedEF, list[Flag]]:
        """As :meth:`measure`, of frames (T, S, S, C) uint8 as the run's store holds them."""
        clip, film, masks = self.spec.clip, _Video(frames), None
        if self.segmenter is not None:  # windows do not overlap, as in the product that the network was trained with
            spec, network = self.segmenter
            (found,) = segment_studies(network, film, [""], spec.clip, overlap=False, device=place)
            masks = _Video(found)
        indices = video_clips(len(frames), clip, STRIDE)
        ((_, _, values),) = predicted(self.model, film, [("", indices)], masks, device=place)
        ef, sd = float(values.mean()), float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
        flags, span = [], (clip.frames - 1) * clip.period + 1
        if len(frames) < span:
            flags.append(Flag("ef_model_short", f"The video has {len(frames)} frames and a clip of the EF network spans {span}: "
                              "its one clip ends in black frames, as those of short videos did in training.", "note"))
        if not 0 <= ef <= 100:
            flags.append(Flag("ef_model_impossible", f"The EF network gives {ef:.0f} %, which is no ejection fraction."))
        return RegressedEF(ef, sd, len(values), self.words, self.described()), flags

    def described(self) -> dict[str, str]:
        """The network in words, for reports."""
        masks = "none" if self.segmenter is None else f"those of run {self.segmenter[0].key}, {self.segmenter[0].label}"
        share = self.spec.subset.labelled
        known = f", the EF known of {share[0]}/{share[1]} of them" if share else ""
        return {"origin": f"run {self.spec.key} of the ledger, recipe {self.spec.recipe.kind}", "masks": masks,
                "architecture": architecture(self.spec), "trained_on": f"{learnt_from(self.spec.data)}{known}.",
                "sha256": self.sha256}

    @property
    def words(self) -> str:
        """One sentence for reports: what it learnt from."""
        simulated = any(one.data.phantom is not None for one in chain(self.spec))
        data = "simulated clips" if simulated else learnt_from(self.spec.data)
        return f"The regressed EF comes from a network that learnt from {data}; it is no diagnosis."


def load_ef_model(run: str | Path) -> EFModel:
    """Load a run that gives the ejection fraction, and the segmenter whose masks it takes.

    Args:
        run: folder of a finished run (``build/PROFILE/runs/KEY``), or a record committed with its weights
            (``results/PROFILE/runs/KEY``). The segmenter's run must lie beside it, or in the other of these two folders.

    Raises:
        WeightsError: no finished run, one that gives no ejection fraction of a video, a missing segmenter, other weights.
        RecordError: a record is damaged, or was committed without its weights.
    """
    from echolib.training import recipes  # noqa: F401  makes the recipes known; it takes seconds

    path = Path(run).resolve()
    runs, name = path.parent, path.name.removesuffix(".json")
    numbers = [kind for kind, options in sorted(RecipeOptions.known.items()) if options.gives == "number"]
    wanted = f"expected the folder of a finished run of recipe {', '.join(numbers[:-1])} or {numbers[-1]}"
    found = _finished(runs, name)
    if found is None:
        raise WeightsError(f"no finished run at {name!r}; {wanted}")
    spec, weights = found
    if spec.recipe.gives != "number":
        raise WeightsError(f"{name}: a run of recipe {spec.recipe.kind!r}, which gives {spec.recipe.gives} and no EF; {wanted}")
    if spec.data.layout != "echonet":
        raise WeightsError(f"{name}: the run learnt from half cycles in the layout of {spec.data.layout}; expected one that "
                           "learnt from videos in the layout of echonet")
    parents = [spec.parents[role] for role, about in spec.recipe.roles.items() if about.channel and role in spec.parents]
    segmenter = (parents[0], _segmenter(parents[0], runs, name)) if parents else None
    with weights.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    return EFModel(spec, _network(spec, weights), segmenter, sha256)


def in_data_form(video: Iterable[np.ndarray], sector: Sector, data: DataSpec, name: str = "clip") -> np.ndarray:
    """A video as the store of ``data`` holds one, black outside its cone: (T, S, S, C) uint8.

    Args:
        video: frames (H, W, 3) uint8.
        sector: their cone.
        data: size and channels.
        name: what messages call the video.

    Raises:
        DataError: it is black.
    """
    size, framed = data.size, is_framed(sector)
    matrix, out = framing(sector, size), []
    way = cv2.INTER_AREA if len(sector.mask) >= size else cv2.INTER_LINEAR
    for frame in video:
        if data.channels == 1 or not framed:
            frame = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[..., None]
        if framed:  # as data.store packs it
            inside = np.where(sector.mask[..., None], frame, np.uint8(0))
            out.append(inside if len(inside) == size else cv2.resize(inside, (size, size), interpolation=way))
        else:
            out.append(cut_frame(frame[..., 0], sector, matrix, (size, size)))
    frames = np.stack(out).reshape(len(out), size, size, -1)
    if not framed:
        frames = cv2.convertScaleAbs(frames.reshape(len(out), -1), alpha=brightness_gain(frames, name)).reshape(frames.shape)
    return np.ascontiguousarray(np.broadcast_to(frames, (*frames.shape[:3], data.channels)))


@dataclass(frozen=True)
class _Video:
    """The face of a ClipStore, or of its FrameMasks, over a single video: ``frames`` (T, S, S, C) uint8, or (T, S, S) bool."""

    frames: np.ndarray

    @property
    def size(self) -> int:
        return self.frames.shape[1]

    def video(self, study: str) -> np.ndarray:
        return self.frames

    def clip(self, study: str, indices: np.ndarray) -> np.ndarray:
        clip = self.frames[np.maximum(indices, 0)]
        clip[indices < 0] = 0
        return clip


def _finished(runs: Path, name: str) -> tuple[RunSpec, Path] | None:
    """Specification and weights of a finished run in a folder of runs, this machine's own or committed; None: there is none."""
    folder, shelf = runs / name, Shelf(runs)
    if folder.is_dir():
        if not (folder / "record.json").is_file():
            return None
        if not (folder / WEIGHTS).is_file():
            raise WeightsError(f"{name}: the run has no {WEIGHTS} beside its record; expected the whole folder of the run")
        return read_record(folder / "record.json").spec, folder / WEIGHTS
    if not shelf.holds(name):
        return None
    record = shelf.record(name, parse_record, (WEIGHTS,))
    return record.spec, runs / f"{name}.{WEIGHTS}"


def _segmenter(spec: RunSpec, runs: Path, name: str) -> nn.Module:
    """The network of the segmenter whose masks a run takes."""
    beside = [runs]
    if len(runs.parts) > 3 and runs.parts[-3] in ("build", "results"):
        beside = [runs.parents[2] / top / Path(*runs.parts[-2:]) for top in ("build", "results")]
    found = next(filter(None, (_finished(place, spec.key) for place in beside)), None)
    if found is None:
        raise WeightsError(f"{name}: the run takes the masks of run {spec.key} ({spec.label}), which is not there or not "
                           f"finished; expected the folder {spec.key} of that run beside {name}")
    return _network(spec, found[1])


def _network(spec: RunSpec, weights: Path) -> nn.Module:
    """The network of a run with its trained weights, which must be this run's."""
    model = skeleton(spec)
    load_into(model, Parent(spec, weights).state(), f"{spec.key}/{WEIGHTS}")
    return model.eval().requires_grad_(False)
