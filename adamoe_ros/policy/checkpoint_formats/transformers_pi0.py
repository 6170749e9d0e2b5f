# SPDX-License-Identifier: Apache-2.0
"""Hugging Face transformers' PI0 (5.4 and later): weights and ``config.json``, both ways.

Its own names and those it writes for other code are read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.model.config import ModelConfig
from adamoe_ros.policy.checkpoint_formats.foreign_checkpoint import (
    ForeignCheckpoint,
    check_called,
)
from adamoe_ros.policy.checkpoint_formats.metadata import CheckpointMetadata
from adamoe_ros.policy.checkpoint_formats.metadata_files import (
    PERIODS,
    expect,
    read_json,
    read_tokenizer,
)
from adamoe_ros.policy.checkpoint_formats.openpi_torch import open_torch
from adamoe_ros.policy.checkpoint_formats.sources import open_safetensors

_GEMMA = {
    "hidden_act": "gelu_pytorch_tanh",
    "rms_norm_eps": 1e-6,
    "attention_bias": False,
    "rope_parameters.rope_theta": 10_000.0,
    "rope_parameters.rope_type": "default",
}
_FIXED: dict[str, Any] = {
    **PERIODS,
    **{f"vlm_config.text_config.{key}": value for key, value in _GEMMA.items()},
    **{f"dit_config.{key}": value for key, value in _GEMMA.items()},
    "vlm_config.vision_config.hidden_act": "gelu_pytorch_tanh",
    "vlm_config.vision_config.layer_norm_eps": 1e-6,
}


def open_source(source: Path, asset: str | None) -> ForeignCheckpoint:
    """Open a dense pi0.

    Raises:
        ContractError: missing or damaged files, or another model.
    """
    folder = source.parent if source.is_file() else source
    settings = read_json(folder / "config.json")
    if settings.get("model_type") != "pi0":
        got = repr(settings.get("model_type", "no config.json"))
        do = "check the path and --from"
        raise ContractError(problem(f"{folder}/config.json", "model_type 'pi0'", got, do))
    expect(f"{folder}/config.json", settings, _FIXED)
    metadata = CheckpointMetadata()
    metadata.set("transformers' processor for PI0", prompt_length=48)
    metadata.set(
        "config.json",
        horizon=settings.get("chunk_size"),
        flow_steps=settings.get("num_inference_steps"),
    )
    read_tokenizer(metadata, folder)
    foreign = open_torch(source, open_safetensors(source), metadata, _known(settings))
    check_called(f"{folder}/config.json: model_type", "pi0", foreign.architecture)
    return foreign


def _known(settings: dict[str, Any]) -> dict[str, int]:
    """Sizes that no shape tells."""
    vlm = settings.get("vlm_config") or {}
    text, vision = vlm.get("text_config") or {}, vlm.get("vision_config") or {}
    found = {
        "heads": text.get("num_attention_heads"),
        "kv_heads": text.get("num_key_value_heads"),
        "head": text.get("head_dim"),
        "vision_heads": vision.get("num_attention_heads"),
    }
    return {name: value for name, value in found.items() if value is not None}


def settings_of(config: ModelConfig) -> dict[str, Any]:
    """``config.json`` for ``PI0ForConditionalGeneration``."""
    prefix, vision = config.prefix, config.vision
    shared = {
        "model_type": "gemma",
        "num_hidden_layers": prefix.depth,
        "num_attention_heads": prefix.heads,
        "num_key_value_heads": prefix.kv_heads,
        "head_dim": prefix.head_dim,
        "vocab_size": prefix.vocab,
        "hidden_act": "gelu_pytorch_tanh",
        "use_bidirectional_attention": True,
    }
    text = {**shared, "hidden_size": prefix.width, "intermediate_size": prefix.mlp}
    expert = {
        **shared,
        "hidden_size": config.expert.width,
        "intermediate_size": config.expert.mlp,
    }
    images = {
        "model_type": "siglip_vision_model",
        "hidden_size": vision.width,
        "intermediate_size": vision.mlp,
        "num_hidden_layers": vision.depth,
        "num_attention_heads": vision.heads,
        "patch_size": vision.patch,
        "image_size": vision.image_size[0],
        "vision_use_head": False,
        "vocab_size": prefix.vocab,
    }
    return {
        "architectures": ["PI0ForConditionalGeneration"],
        "model_type": "pi0",
        "chunk_size": config.horizon,
        "max_action_dim": config.action_dim,
        "max_state_dim": config.state_dim,
        "num_inference_steps": config.flow_steps,
        "dit_config": expert,
        "vlm_config": {
            "model_type": "paligemma",
            "text_config": text,
            "vision_config": images,
            "projection_dim": prefix.width,
            "image_token_index": prefix.vocab,
        },
    }
