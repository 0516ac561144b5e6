"""ImageNet weights: from a file, and what is said when they cannot be fetched."""

from __future__ import annotations

import huggingface_hub
import pytest
import torch

from echolib import models
from echolib.errors import WeightsError
from echolib.models import imagenet
from echolib.models.imagenet import SOURCES, fill_encoder
from tests.models.helpers import small

CLASSIFIER = {"si_uniformer_s": {}, "si_resnet18": {"fc.weight": torch.zeros(1000, 64), "fc.bias": torch.zeros(1000)},
              "si_mobilenetv3": {"conv_head.weight": torch.zeros(1), "classifier.weight": torch.zeros(1)}, "si_vit_b16": {},
              "deeplabv3_r50": {"fc.weight": torch.zeros(1)}}


def downloaded(name: str, seed: int) -> dict[str, torch.Tensor]:
    """What an ImageNet file of a (narrow) encoder would hold: the encoder's own names plus a classifier."""
    model = small(name, seed=seed)
    inner = model.encoder.state_dict()
    prefix = SOURCES[name].prefix
    return {**{key.removeprefix(prefix): value for key, value in inner.items()}, **CLASSIFIER[name]}


@pytest.mark.parametrize("name", CLASSIFIER)
def test_a_file_fills_the_encoder_and_nothing_else(name):
    state, model = downloaded(name, seed=1), small(name, seed=2)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fill_encoder(model, state, SOURCES[name], "file.pth")
    inside = "network.backbone." if name.startswith("deeplab") else "network.encoder."
    filled = small(name, seed=1).state_dict()
    for key, value in model.state_dict().items():
        assert torch.equal(value, filled[key] if key.startswith(inside) else before[key]), key


@pytest.mark.parametrize("name", [name for name in SOURCES if name not in CLASSIFIER])
def test_networks_of_one_grey_channel_keep_their_own_stem(name):
    """PKEcho-Net has one encoder, SSCF one for each place in the window; all start from the same file, but for the stem."""
    donor, model = small(name, seed=1), small(name, seed=2)
    encoder = donor.encoder[0] if name.startswith("sscf") else donor.encoder
    state = {**encoder.state_dict(), "conv1.weight": torch.zeros(8, 3, 7, 7), "fc.weight": torch.zeros(1)}
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fill_encoder(model, state, SOURCES[name], "file.pth")
    filled = 0
    for key, value in model.state_dict().items():
        inner = key.split(".", 2 if name.startswith("sscf") else 1)[-1]
        known = key.startswith("encoder") and inner != "conv1.weight"
        assert torch.equal(value, state[inner] if known else before[key]), key
        filled += known
    assert filled == (len(encoder.state_dict()) - 1) * (3 if name in ("sscf", "sscf_tce") else 1)
    assert SOURCES[name].timm == f"resnet{name[-2:] if name.startswith('pkecho') else 18}.tv_in1k"


def test_build_reads_the_encoder_from_a_torch_file(tmp_path):
    donor = models.build("si_resnet18", frames=4, size=32, seed=1)
    classifier = {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    torch.save({**donor.encoder.state_dict(), **classifier}, tmp_path / "r18.pth")
    model = models.build("si_resnet18", frames=4, size=32, imagenet=True, weights=tmp_path / "r18.pth", seed=2)
    assert torch.equal(model.encoder.conv1.weight, donor.encoder.conv1.weight)
    assert not torch.equal(model.network.logits.weight, donor.network.logits.weight)


def test_the_names_are_those_of_the_public_checkpoints():
    """torchvision's and timm's own networks, whose checkpoints are the public ones, fit to the name."""
    import timm
    import torchvision
    with torch.device("meta"):
        public = {"si_resnet18": torchvision.models.resnet18(), "deeplabv3_r50": torchvision.models.resnet50(),
                  "si_mobilenetv3": timm.create_model("mobilenetv3_large_100"),
                  "si_vit_b16": timm.create_model("vit_base_patch16_224")}
        for name, theirs in public.items():
            ours = models.build(name, frames=4 if name.startswith("si") else 1, size=112)
            source = SOURCES[name]
            kept = {f"{source.prefix}{key}": value.shape for key, value in theirs.state_dict().items()
                    if not key.startswith(source.classifier)}
            mine = {key: value.shape for key, value in ours.encoder.state_dict().items()}
            assert kept.keys() == mine.keys()
            assert {key for key in mine if mine[key] != kept[key]} <= {"pos_embed"}


def test_the_position_embedding_is_resampled_to_the_super_image():
    state, model = downloaded("si_vit_b16", seed=1), small("si_vit_b16", seed=2)
    hidden = state["pos_embed"].shape[-1]
    constant = torch.full((1, 1 + 14 * 14, hidden), 0.5)   # 224 px / 16: a constant stays one under any interpolation
    constant[:, 0] = 2.0                                    # the class token's own
    fill_encoder(model, {**state, "pos_embed": constant}, SOURCES["si_vit_b16"], "vit.pth")
    assert model.encoder.pos_embed.shape == (1, 1 + 8 * 8, hidden)
    torch.testing.assert_close(model.encoder.pos_embed[:, 1:], torch.full((1, 64, hidden), 0.5))
    torch.testing.assert_close(model.encoder.pos_embed[:, 0], torch.full((1, hidden), 2.0))


def test_a_file_without_the_batch_counters_still_fits():
    state = {key: value for key, value in downloaded("si_resnet18", seed=1).items() if not key.endswith("num_batches_tracked")}
    fill_encoder(small("si_resnet18", seed=2), state, SOURCES["si_resnet18"], "old.pth")
    del state["layer3.0.conv1.weight"]
    with pytest.raises(WeightsError, match=r"old.pth.*1 missing: layer3.0.conv1.weight"):
        fill_encoder(small("si_resnet18", seed=2), state, SOURCES["si_resnet18"], "old.pth")


def test_offline_the_error_says_which_file_and_the_way_round(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=r"timm/resnet18.tv_in1k/model.safetensors.*weights=FILE") as error:
        models.build("si_resnet18", frames=4, size=32, imagenet=True)
    assert str(tmp_path) not in str(error.value)


def test_uniformer_is_not_in_timm_and_the_error_says_where_it_is():
    with pytest.raises(WeightsError, match=r"uniformer_small_in1k.pth.*weights=FILE"):
        models.build("si_uniformer_s", frames=4, size=32, imagenet=True)


def test_a_download_lands_in_the_encoder(monkeypatch, tmp_path):
    donor = models.build("si_resnet18", frames=4, size=32, seed=1)
    models.save_weights(donor.encoder, tmp_path / "model.safetensors")
    asked = []
    monkeypatch.setattr(imagenet.huggingface_hub, "hf_hub_download",
                        lambda repo, file: asked.append((repo, file)) or str(tmp_path / "model.safetensors"))
    model = models.build("si_resnet18", frames=4, size=32, imagenet=True, seed=2)
    assert asked == [("timm/resnet18.tv_in1k", "model.safetensors")]
    assert torch.equal(model.encoder.layer4[1].conv2.weight, donor.encoder.layer4[1].conv2.weight)


def test_the_users_folder_comes_before_the_network(tmp_path, monkeypatch):
    from echolib.models.imagenet import check_obtainable, local_file

    monkeypatch.delenv("ECHOLIB_IMAGENET", raising=False)
    with pytest.raises(WeightsError, match="si_uniformer_s.pth"):
        check_obtainable("si_uniformer_s")
    monkeypatch.setenv("ECHOLIB_IMAGENET", str(tmp_path))
    assert local_file("si_uniformer_s") is None
    (tmp_path / "si_uniformer_s.txt").write_text("not weights")
    assert local_file("si_uniformer_s") is None
    (tmp_path / "si_uniformer_s.pth").write_bytes(b"")
    assert local_file("si_uniformer_s") == tmp_path / "si_uniformer_s.pth"
    check_obtainable("si_uniformer_s")
