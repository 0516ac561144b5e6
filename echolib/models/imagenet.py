"""ImageNet weights for the encoders: fetched as timm lists them, or read from a file that the user brings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
import timm
from torch import Tensor, nn

from echolib.errors import ConfigError, WeightsError
from echolib.models.weights import load_into, load_weights


@dataclass(frozen=True)
class Source:
    """Where an encoder's ImageNet weights come from.

    Attributes:
        timm: name of timm's pretrained model; None where timm has none.
        file: the file, as a person would look for it.
        classifier: prefixes in the file that the encoder has no place for.
        prefix: put before every name of the file.
    """

    timm: str | None
    file: str
    classifier: tuple[str, ...] = ()
    prefix: str = ""


SOURCES = {
    "si_uniformer_s": Source(None, "uniformer_small_in1k.pth of the UniFormer authors (github.com/Sense-X/UniFormer)"),
    "si_resnet18": Source("resnet18.tv_in1k", "huggingface.co/timm/resnet18.tv_in1k/model.safetensors", ("fc.",)),
    "si_mobilenetv3": Source("mobilenetv3_large_100.ra_in1k",
                             "huggingface.co/timm/mobilenetv3_large_100.ra_in1k/model.safetensors",
                             ("conv_head.", "classifier."), "features."),
    "si_vit_b16": Source("vit_base_patch16_224.augreg2_in21k_ft_in1k",
                         "huggingface.co/timm/vit_base_patch16_224.augreg2_in21k_ft_in1k/model.safetensors"),
    "deeplabv3_r50": Source("resnet50.tv_in1k", "huggingface.co/timm/resnet50.tv_in1k/model.safetensors", ("fc.",)),
    **{f"pkecho_r{depth}": Source(f"resnet{depth}.tv_in1k", f"huggingface.co/timm/resnet{depth}.tv_in1k/model.safetensors",
                                  ("fc.",)) for depth in (18, 34, 50)},
    **{name: Source("resnet18.tv_in1k", "huggingface.co/timm/resnet18.tv_in1k/model.safetensors", ("fc.",))
       for name in ("sscf", "sscf_base", "sscf_tce", "sscf_bssf")},
}


def source_of(name: str) -> Source:
    """The source of a network's encoder weights. ConfigError where the network has no ImageNet encoder."""
    if name not in SOURCES:
        raise ConfigError(f"{name} has no ImageNet encoder; those that have one: {', '.join(SOURCES)}")
    return SOURCES[name]


def load_imagenet(name: str, model: nn.Module, weights: Path | None) -> None:
    """Fill ``model.encoder`` with ImageNet weights: from ``weights``, else the user's folder, else the network.

    The user's folder is the environment variable ``ECHOLIB_IMAGENET`` (the Makefile's ``IMAGENET=``); in it a file is named
    after the network, such as ``si_uniformer_s.pth``.

    Raises:
        ConfigError: the network has no ImageNet encoder.
        WeightsError: the file cannot be had (the message says which one, and that a local copy works) or does not fit.
    """
    source = source_of(name)
    file = Path(weights) if weights is not None else local_file(name) or _fetch(name, source)
    fill_encoder(model, load_weights(file), source, file.name)


def local_file(name: str) -> Path | None:
    """The file of the user's folder for a network, or None where there is no folder or no such file."""
    folder = os.environ.get("ECHOLIB_IMAGENET")
    found = [p for p in sorted(Path(folder).glob(f"{name}.*")) if p.suffix in (".safetensors", ".pth", ".pt")] if folder else []
    return found[0] if found else None


def check_obtainable(name: str) -> None:
    """Say before hours of training that a network's ImageNet weights can be had from no network.

    Raises:
        WeightsError: timm has none and the user's folder has no file for it.
    """
    source = source_of(name)
    if source.timm is None and local_file(name) is None:
        raise WeightsError(f"{name} starts from ImageNet weights that timm does not have: {source.file}; put the file into a "
                           f"folder as {name}.pth and name the folder with `make book IMAGENET=...` or ECHOLIB_IMAGENET")


def fill_encoder(model: nn.Module, state: Mapping[str, Tensor], source: Source, file: str) -> None:
    """Copy an ImageNet state dict into ``model.encoder``; only the classifier may find no place. WeightsError otherwise."""
    state = {f"{source.prefix}{key}": value for key, value in state.items() if not key.startswith(source.classifier)}
    inner = getattr(model, "network", model)
    if hasattr(inner, "adapt"):
        state = inner.adapt(state)
    own = model.encoder.state_dict()
    for key in own.keys() - state.keys():
        if key.endswith("num_batches_tracked"):  # files older than this counter lack it; it plays no part at momentum 0.1
            state[key] = own[key]
    load_into(model.encoder, state, file)


def _fetch(name: str, source: Source) -> Path:
    how = f"get it elsewhere and pass weights=FILE together with imagenet=True (encoder of {name})"
    if source.timm is None:
        raise WeightsError(f"timm has no ImageNet weights for this encoder: {source.file}; {how}")
    listed = timm.get_pretrained_cfg(source.timm)
    try:
        return Path(huggingface_hub.hf_hub_download(listed.hf_hub_id, "model.safetensors"))
    except OSError as error:  # huggingface_hub's own errors, no network and no disk are all OSErrors
        raise WeightsError(f"cannot fetch {source.file} ({type(error).__name__}); {how}") from None
