"""Kinetics-400 weights for the networks of :mod:`echolib.models.video_resnet`: torchvision's, or a file that the user brings."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import torch
from torchvision.models import get_model_weights

from echolib.errors import ConfigError, WeightsError
from echolib.models.imagenet import local_file
from echolib.models.video_resnet import VideoRegressor, with_channels
from echolib.models.weights import load_into, load_weights


def load_kinetics(name: str, model: VideoRegressor, *, channels: int, seed: int, weights: Path | None = None) -> str:
    """Fill all layers but the last with Kinetics-400 weights; a fourth input channel is drawn, see ``with_channels``.

    The file is ``weights``, else ``<name>.pth`` in the folder that ``ECHOLIB_IMAGENET`` (the Makefile's ``IMAGENET=``) names,
    else torchvision's own, fetched.

    Args:
        name: of the network.
        model: the network, at width 1.
        channels: of its input.
        seed: of the fourth channel.
        weights: the file.

    Returns:
        the file's name, for a line of news.

    Raises:
        ConfigError: the network is narrow.
        WeightsError: the file cannot be had or does not fit.
    """
    if model.fc.in_features != 512:
        raise ConfigError(f"Kinetics weights fit the published width only: {name} ends in {model.fc.in_features} channels, "
                          "expected 512; train it from random weights")
    file = Path(weights) if weights is not None else local_file(name)
    if file is not None:
        state, told = load_weights(file), file.name
    else:
        state, told = _fetch(name)
    own = model.state_dict()
    state = {key: value for key, value in state.items() if not key.startswith("fc.")}
    state = with_channels(state, channels, torch.Generator().manual_seed(seed)) | {k: own[k] for k in own if k.startswith("fc.")}
    load_into(model, state, told)
    return told


def _fetch(name: str) -> tuple[dict[str, torch.Tensor], str]:
    found = get_model_weights(name).DEFAULT
    try:
        return dict(found.get_state_dict(progress=False, check_hash=True)), Path(found.url).name
    except (URLError, OSError, RuntimeError) as error:
        raise WeightsError(f"cannot fetch {found.url} ({type(error).__name__}); put the file into a folder as {name}.pth and "
                           "name the folder with `make book IMAGENET=...` or ECHOLIB_IMAGENET, or start at random") from None


