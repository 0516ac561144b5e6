"""Stage 1: self-supervised temporal masking (SimLVSeg eq. 1).

A random share of a clip's frames is set to 0 and the network reconstructs the clip. The frames are blanked on the 0-1
scale, before normalisation; the target is the clip as the network would have seen it unmasked, that is augmented and
normalised; the error is taken over all frames, not only the blanked ones. The paper reconstructs the three channels, the
released program the first one from a network with one output channel: ``MaskingSpec.target`` chooses.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from torch import Tensor

from echolib.config import RunSpec
from echolib.data.store import ClipStore
from echolib.errors import TrainingError
from echolib.losses import reconstruction_mse
from echolib.models import build
from echolib.training.batches import Batch, ClipBatches
from echolib.training.engine import Outcome, finished, fit


def train_reconstruct(spec: RunSpec, store: ClipStore, run_dir: str | Path, **engine_options: object) -> Outcome:
    """Pre-train a network on the videos of the training split; the last epoch's weights are kept.

    Args:
        spec: a run of task "reconstruct".
        store: the frames.
        run_dir: directory of the run.
        engine_options: see ``engine.fit``.

    Raises:
        TrainingError: the task is another one, the split is empty, or as ``engine.fit``.
    """
    if spec.task != "reconstruct" or spec.masking is None:
        raise TrainingError(f"stage 1 takes a run of task 'reconstruct', not {spec.task!r}")
    done = finished(spec, run_dir)
    if done is not None:
        return done
    batches = ClipBatches(store, "train", spec)
    model = build(spec.model.name, width=spec.model.width, frames=spec.clip.frames, size=spec.data.size,
                  out_channels=3 if spec.masking.target == "clip" else 1, imagenet=spec.model.imagenet, seed=spec.seed)
    return fit(spec, model, batches, partial(_loss, spec.masking.target), run_dir, **engine_options)


def _loss(target: str, output: Tensor, batch: Batch) -> Tensor:
    return reconstruction_mse(output, batch.target, target)
