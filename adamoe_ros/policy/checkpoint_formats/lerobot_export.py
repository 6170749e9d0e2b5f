# SPDX-License-Identifier: Apache-2.0
"""Settings, processors and statistics for LeRobot's pi0 or pi0.5 beside exported weights.

LeRobot adds 1e-8 to a spread on the way in and nothing on the way out; another checkpoint's eps is
therefore added to the spread itself, which gives its numbers to a part in 1e8 or better.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from safetensors.torch import save

from adamoe_ros.contract.errors import Problems
from adamoe_ros.policy.checkpoint import Checkpoint
from adamoe_ros.policy.checkpoint_formats.lerobot import (
    ACTION,
    CAMERAS,
    POSTPROCESSOR,
    PREPROCESSOR,
    STATE,
    STATE_STEP,
    relative_flags,
)
from adamoe_ros.policy.normalise import FeatureStats

_EPS = 1e-8
_VARIANTS = {2048: "gemma_2b", 1024: "gemma_300m"}  # by width
_METHODS = {"mean_std": "MEAN_STD", "quantile": "QUANTILES"}


def variant(width: int) -> str:
    """openpi's name of a stack; ``dummy`` for any other size."""
    return _VARIANTS.get(width, "dummy")


def check(checkpoint: Checkpoint, problems: Problems) -> None:
    """What LeRobot cannot express."""
    manifest = checkpoint.manifest
    if manifest.raw_only:
        return
    if manifest.adapt_to_pi not in (None, "none"):
        do = "LeRobot has no such step; retrain without it, or keep our format"
        problems.add("manifest.json: adapt_to_pi", "none", manifest.adapt_to_pi, do)
    if checkpoint.config.pi05 and manifest.prompt_state != "joints":
        expected = "joints: LeRobot's prompt always holds the state, from 0.5 on unpadded"
        held = manifest.prompt_state or "null"
        problems.add("manifest.json: prompt_state", expected, held, "keep our format")
    if manifest.prompt_style == "plain":
        do = "LeRobot tokenises with bos and newline; keep our format"
        problems.add("manifest.json: prompt_style", "lerobot or openpi", "plain", do)
    roles = [entry.role for entry in manifest.action_entries]
    flags = tuple(entry.representation == "relative" for entry in manifest.action_entries)
    if any(flags) and relative_flags(roles, _excluded(checkpoint)) != flags:
        got = ", ".join(roles)
        do = "a role's name contains another's; keep our format"
        problems.add("manifest.json: joints", "roles that LeRobot can tell apart", got, do)


def files(checkpoint: Checkpoint, dtype: str) -> dict[str, bytes]:
    """``config.json`` and, unless the checkpoint is raw-only, the processors."""
    out = {"config.json": _json(_settings(checkpoint, dtype))}
    if not checkpoint.manifest.raw_only:
        out |= _processors(checkpoint)
    return out


def _json(tree: Any) -> bytes:
    return (json.dumps(tree, indent=2) + "\n").encode()


def _excluded(checkpoint: Checkpoint) -> list[str]:
    """Roles that stay absolute; ``gripper`` where those are all the grippers."""
    joints = checkpoint.manifest.action_entries
    absolute = [joint.role for joint in joints if joint.representation != "relative"]
    grippers = [joint.role for joint in joints if joint.kind == "gripper"]
    return ["gripper"] if absolute and absolute == grippers else absolute


def _features(checkpoint: Checkpoint) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs and outputs."""
    config, manifest = checkpoint.config, checkpoint.manifest
    image = {"type": "VISUAL", "shape": [3, *config.vision.image_size]}
    inputs: dict[str, Any] = {f"{CAMERAS}{slot}": image for slot in manifest.camera_slots}
    joints, actions = len(manifest.joints), len(manifest.action_entries)
    inputs[STATE] = {"type": "STATE", "shape": [joints or config.state_dim]}
    return inputs, {ACTION: {"type": "ACTION", "shape": [actions or config.action_dim]}}


def _norm_map(checkpoint: Checkpoint) -> dict[str, str]:
    method = _METHODS.get(checkpoint.manifest.normalization or "", "MEAN_STD")
    return {"VISUAL": "IDENTITY", "STATE": method, "ACTION": method}


def _relative(checkpoint: Checkpoint) -> bool:
    entries = checkpoint.manifest.action_entries
    return any(entry.representation == "relative" for entry in entries)


def _settings(checkpoint: Checkpoint, dtype: str) -> dict[str, Any]:
    config = checkpoint.config
    inputs, outputs = _features(checkpoint)
    relative = _relative(checkpoint)
    return {
        "type": config.architecture,
        "n_obs_steps": 1,
        "input_features": inputs,
        "output_features": outputs,
        "normalization_mapping": _norm_map(checkpoint),
        "paligemma_variant": variant(config.prefix.width),
        "action_expert_variant": variant(config.expert.width),
        "dtype": dtype,
        "chunk_size": config.horizon,
        "n_action_steps": config.horizon,
        "max_state_dim": config.state_dim,
        "max_action_dim": config.action_dim,
        "num_inference_steps": config.flow_steps,
        "image_resolution": list(config.vision.image_size),
        "tokenizer_max_length": config.prompt_length,
        "use_relative_actions": relative,
        "relative_exclude_joints": _excluded(checkpoint) if relative else ["gripper"],
        "action_feature_names": [e.role for e in checkpoint.manifest.action_entries] or None,
    }


def _processors(checkpoint: Checkpoint) -> dict[str, bytes]:
    inputs, outputs = _features(checkpoint)
    relative = _relative(checkpoint)
    roles = [entry.role for entry in checkpoint.manifest.action_entries]
    norm = {"eps": _EPS, "norm_map": _norm_map(checkpoint)}
    state_out = f"{POSTPROCESSOR}_step_0_unnormalizer_processor.safetensors"
    mask = {
        "enabled": relative,
        "exclude_joints": _excluded(checkpoint),
        "action_names": roles,
    }
    words = {
        "max_length": checkpoint.config.prompt_length,
        "task_key": "task",
        "padding_side": "right",
        "padding": "max_length",
        "truncation": True,
        "tokenizer_name": "google/paligemma-3b-pt-224",
    }
    start = [
        _step("rename_observations_processor", {"rename_map": {}}),
        _step("to_batch_processor", {}),
    ]
    tokenizer = _step("tokenizer_processor", words)
    device = _step("device_processor", {"device": "cpu", "float_dtype": None})
    relative_actions = _step("relative_actions_processor", mask)
    pi05 = checkpoint.config.pi05
    place = len(start) + (1 if pi05 else 4)
    state_in = f"{PREPROCESSOR}_step_{place}_normalizer_processor.safetensors"
    normalizer = _step(
        "normalizer_processor", {**norm, "features": {**inputs, **outputs}}, state_in
    )
    if pi05:  # the prompt's digits are of the normalised state
        rest = [relative_actions, normalizer, _step(STATE_STEP, {}), tokenizer, device]
    else:
        newline = _step("pi0_new_line_processor", {})
        rest = [newline, tokenizer, device, relative_actions, normalizer]
    before = [*start, *rest]
    after = [
        _step("unnormalizer_processor", {**norm, "features": outputs}, state_out),
        _step("absolute_actions_processor", {"enabled": relative}),
        _step("device_processor", {"device": "cpu", "float_dtype": None}),
    ]
    statistics = save(_statistics(checkpoint))
    return {
        f"{PREPROCESSOR}.json": _json({"name": PREPROCESSOR, "steps": before}),
        f"{POSTPROCESSOR}.json": _json({"name": POSTPROCESSOR, "steps": after}),
        state_in: statistics,
        state_out: statistics,
    }


def _step(name: str, config: dict[str, Any], state_file: str | None = None) -> dict[str, Any]:
    step: dict[str, Any] = {"registry_name": name, "config": config}
    return step if state_file is None else {**step, "state_file": state_file}


def _statistics(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    stats, eps = checkpoint.statistics, checkpoint.manifest.normalization_eps or 0.0
    assert stats is not None
    extra = 0.0 if eps == _EPS else eps
    pairs = ((STATE, stats.state), (ACTION, stats.actions))
    return {
        f"{feature}.{name}": torch.tensor(values, dtype=torch.float32)
        for feature, vector in pairs
        for name, values in _spread(vector, extra).items()
    }


def _spread(vector: FeatureStats, extra: float) -> dict[str, list[float]]:
    """Statistics whose spreads hold the eps."""
    out = {"mean": list(vector.mean), "std": [value + extra for value in vector.std]}
    if vector.q01 is not None and vector.q99 is not None:
        out |= {"q01": list(vector.q01), "q99": [value + extra for value in vector.q99]}
    return out
