"""Stage 2: weakly supervised segmentation (SimLVSeg eq. 2-6).

The network segments every frame of a clip; the loss sees the one traced frame. With a stage-1 run before it, the network
starts from that run's weights. Its head, which reconstructed three channels, begins afresh; after the released program's
stage 1 the head has one channel already and is carried over with the rest.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from torch import Tensor, nn

from echolib.config import RunSpec
from echolib.data.store import ClipStore
from echolib.errors import TrainingError, WeightsError
from echolib.files import write_json
from echolib.losses import SEGMENTATION, select_traced
from echolib.models import build, load_metadata, load_weights, transfer
from echolib.training.batches import Batch, ClipBatches
from echolib.training.engine import Outcome, finished, fit
from echolib.training.predict import mean_dice, resolve_device, traced_frames


def train_segment(spec: RunSpec, store: ClipStore, run_dir: str | Path, *, init: Path | None = None,
                  **engine_options: object) -> Outcome:
    """Train a segmenter on the traced frames of the training split; the epoch of best validation Dice is kept.

    ``run_dir/init.json`` says which parameters began afresh.

    Args:
        spec: a run of task "segment".
        store: the frames and masks.
        run_dir: directory of the run.
        init: weights of the run ``spec.init``; given if and only if the specification has one.
        engine_options: see ``engine.fit``.

    Raises:
        TrainingError: the task is another one, the training or validation split is empty, ``init`` and ``spec.init`` do
            not go together, or as ``engine.fit``.
        WeightsError: ``init`` cannot be read, is of another run, or does not fit.
    """
    if spec.task != "segment":
        raise TrainingError(f"stage 2 takes a run of task 'segment', not {spec.task!r}")
    if (init is None) != (spec.init is None):
        raise TrainingError("the run starts from another run, whose weights were not given" if init is None
                            else "weights to start from were given, but the specification names no run that made them")
    done = finished(spec, run_dir)
    if done is not None:
        return done
    batches = ClipBatches(store, "train", spec)
    traced_frames(store, "val")  # an empty validation split is found now, not after the first epoch
    model = build(spec.model.name, width=spec.model.width, frames=spec.clip.frames, size=spec.data.size,
                  imagenet=spec.model.imagenet and spec.init is None, seed=spec.seed)
    news = None if spec.init is None else start_from(model, Path(init), spec.init, Path(run_dir))
    device = resolve_device(engine_options.pop("device", "auto"))
    validate = partial(mean_dice, store=store, spec=spec, split="val", device=device)
    return fit(spec, model, batches, partial(_loss, spec.loss), run_dir, validate=validate, device=device, news=news,
               **engine_options)


def start_from(model: nn.Module, weights: Path, source: RunSpec, run_dir: Path) -> str:
    """Carry over what fits of a stage-1 run's weights; a line of news, and ``init.json``.

    Raises:
        WeightsError: the file cannot be read, was made by another run than ``source``, or does not fit.
    """
    made_by = load_metadata(weights).get("spec")
    if made_by != source.key:
        raise WeightsError(f"{weights.name}: made by run {made_by}, but the specification starts from run {source.key}")
    fresh = transfer(load_weights(weights), model)
    write_json(run_dir / "init.json", {"run": source.key, "reinitialised": fresh})
    return f"starts from run {source.key}; begins afresh: {', '.join(fresh) or 'nothing'}"


def _loss(name: str, output: Tensor, batch: Batch) -> Tensor:
    return SEGMENTATION[name](select_traced(output, batch.position), batch.mask)
