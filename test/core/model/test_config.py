# SPDX-License-Identifier: Apache-2.0
"""Model configuration: validation, plain form, presets, and parameter counts at full size."""

from __future__ import annotations

import json

import pytest
import torch

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.model.config import PRESETS, ModelConfig, adamoe_pi0, pi0, preset, tiny
from adamoe_ros.model.policy_model import AdaMoEPolicy


@pytest.mark.parametrize("name", PRESETS)
def test_plain_form_survives_json(name):
    config = preset(name)
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_unknown_keys_are_all_named():
    with pytest.raises(ContractError) as error:
        ModelConfig.from_dict({"horizn": 3, "moe": {"experts": 4}, "vision": {"depht": 2}})
    text = str(error.value)
    assert all(name in text for name in ("horizn", "moe.experts", "vision.depht"))


def test_wrong_values_are_all_named():
    changes = {"moe.top_k": 5, "moe.router_dtype": "float16", "horizon": 7, "action_patch": 2}
    with pytest.raises(ContractError) as error:
        tiny().changed({**changes, "vision.image_size": [28, 30]})
    assert len(error.value.problems) == 4


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "7", None])
def test_sizes_must_be_whole_numbers(value):
    with pytest.raises(ContractError, match=r"config\.horizon"):
        tiny().changed({"horizon": value})


@pytest.mark.parametrize("key", ["prefix", "moe"])
def test_a_section_must_be_a_section(key):
    with pytest.raises(ContractError, match=key):
        ModelConfig.from_dict({key: 3})


def test_a_changed_section_keeps_what_it_does_not_name():
    """As ``--set model.changes.vision.image_size=...`` has it."""
    by_section = preset("small").changed({"vision": {"image_size": [48, 48]}})
    assert by_section == preset("small").changed({"vision.image_size": [48, 48]})
    assert by_section.vision.keypoints == preset("small").vision.keypoints


def test_a_dense_model_has_no_experts():
    with pytest.raises(ContractError, match="dense"):
        tiny().changed({"moe.variant": "dense"})


def test_unknown_preset_lists_the_known_ones():
    with pytest.raises(ContractError, match="small"):
        preset("large")


def count(config: ModelConfig, start: str = "") -> int:
    with torch.device("meta"):
        model = AdaMoEPolicy(config)
    return sum(p.numel() for name, p in model.named_parameters() if name.startswith(start))


def test_parts_of_pi0():
    config = pi0()
    assert count(config) == 3_238_048_528
    assert count(config, "vision.") == 414_803_696
    assert count(config, "vision.head.") == 2_361_344
    assert count(config, "prefix.") == 1_981_884_416
    assert count(config, "embed.") == 526_647_296
    assert count(config, "expert.") == 311_464_960
    assert count(config, "state_proj.") + count(config, "action_") == 3_248_160


@pytest.mark.parametrize(
    ("variant", "experts", "expected"),
    [
        ("adamoe", 4, 4_144_165_648),
        ("vanilla", 4, 4_144_091_920),
        ("csmoe", 4, 4_144_165_936),
        ("adamoe", 8, 5_050_282_768),
    ],
)
def test_mixtures_at_full_size(variant, experts, expected):
    config = adamoe_pi0(experts, variant=variant)
    assert count(config) == expected
    if variant == "adamoe" and experts == 4:
        assert count(config, "expert.") == 1_217_582_080


def test_shapes_at_full_size():
    with torch.device("meta"):
        shapes = {k: tuple(v.shape) for k, v in AdaMoEPolicy(adamoe_pi0()).state_dict().items()}
    assert shapes["vision.patch_embed.weight"] == (1152, 3, 14, 14)
    assert shapes["vision.pos_embed"] == (256, 1152)
    assert shapes["vision.blocks.26.mlp.fc1.weight"] == (4304, 1152)
    assert shapes["vision.head.weight"] == (2048, 1152)
    assert shapes["embed.weight"] == (257152, 2048)
    assert shapes["prefix.layers.17.attn.k.weight"] == (256, 2048)
    assert shapes["prefix.layers.17.ffn.down.weight"] == (2048, 16384)
    assert shapes["expert.layers.0.attn.q.weight"] == (2048, 1024)
    assert shapes["expert.layers.0.attn.o.weight"] == (1024, 2048)
    assert shapes["expert.layers.0.ffn.shared.gate.weight"] == (4096, 1024)
    assert shapes["expert.layers.0.ffn.experts.gate"] == (4, 4096, 1024)
    assert shapes["expert.layers.0.ffn.experts.down"] == (4, 1024, 4096)
    assert shapes["expert.layers.0.ffn.router.weight"] == (4, 1024)
    assert shapes["expert.layers.0.ffn.scale_adapter.weight"] == (4, 1024)
    assert shapes["action_time_mlp_in.weight"] == (1024, 2048)
    assert shapes["action_out_proj.weight"] == (32, 1024)


def test_small_fits_into_twelve_megabytes_at_half_precision():
    assert count(preset("small")) * 2 <= 12_000_000
