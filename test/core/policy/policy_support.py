# SPDX-License-Identifier: Apache-2.0
"""A small random checkpoint for a two-arm robot, and observations for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from adamoe_ros.contract.manifest import (
    CheckpointManifest,
    GripperConvention,
    JointRole,
    Provenance,
)
from adamoe_ros.contract.observation import Observation
from adamoe_ros.model.config import ModelConfig, preset
from adamoe_ros.model.layers import initialise
from adamoe_ros.model.policy_model import AdaMoEPolicy
from adamoe_ros.policy.checkpoint import write_checkpoint
from adamoe_ros.policy.normalise import FeatureStats, NormStats
from adamoe_ros.policy.tensor_file import specs_of

ROLES = tuple(
    f"{arm}_{joint}"
    for arm in ("left", "right")
    for joint in (["0", "1", "2", "3", "4", "5", "gripper"])
)
SLOTS = ("cam_high", "cam_left_wrist", "cam_right_wrist")
WORDS = ("<pad>", "<eos>", "<bos>", "<unk>", "lift", "the", "yellow", "bar", "with", "both", "arms")
STATE_WORDS = (*map(str, range(256)), "Task", "State", "Action", ",", ":", ";", "-")
PI05 = {"architecture": "pi05", "prompt_length": 64, "prefix.vocab": 300}


def tiny_config(**changes: Any) -> ModelConfig:
    """Fourteen joints, three cameras, 49 k parameters."""
    return preset("tiny").changed({"action_dim": 16, "state_dim": 16, **changes})


def manifest(**changes: Any) -> CheckpointManifest:
    """Of a checkpoint for ALOHA's simulated arms."""
    joints = tuple(
        JointRole(
            role=role,
            kind="gripper" if role.endswith("gripper") else "revolute",
            representation="absolute",
        )
        for role in ROLES
    )
    settings: dict[str, Any] = {
        "raw_only": False,
        "embodiment": "vx300s_dual",
        "joints": joints,
        "gripper": GripperConvention(open=1.0, closed=0.0),
        "control_rate_hz": 50.0,
        "camera_slots": SLOTS,
        "normalization": "mean_std",
        "normalization_eps": 1e-6,
        "adapt_to_pi": "none",
        "prompt_style": "plain",
        "tokenizer": "tokenizer.json",
        "state_source": "measured",
        "provenance": Provenance(source="test", created_by="test", created="2026-01-01"),
    }
    return CheckpointManifest(**(settings | changes))


def statistics(width: int = 14) -> NormStats:
    """Means and spreads that differ by dimension."""
    places = np.arange(width)
    stats = FeatureStats(
        mean=tuple(0.05 * places - 0.3),
        std=tuple(0.1 + 0.02 * places),
        q01=tuple(-1.0 - 0.01 * places),
        q99=tuple(1.5 + 0.01 * places),
    )
    return NormStats(state=stats, actions=stats)


def tokenizer_bytes(words: tuple[str, ...] = WORDS) -> bytes:
    """A word tokenizer as a file."""
    table = {word: number for number, word in enumerate(words)}
    made = Tokenizer(models.WordLevel(table, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return bytes(made.to_str(), "utf-8")


def network(config: ModelConfig, seed: int = 0) -> AdaMoEPolicy:
    """Random weights."""
    made = AdaMoEPolicy(config)
    initialise(made, torch.Generator().manual_seed(seed))
    return made.eval().requires_grad_(False)


def make_checkpoint(folder: Path, config: ModelConfig | None = None, **changes: Any) -> Path:
    """Write one; ``changes`` are the manifest's."""
    config = config or tiny_config()
    tensors, meaning = network(config).state_dict(), manifest(**changes)
    stats = statistics(len(meaning.joints) or len(ROLES))
    words = (*WORDS, *STATE_WORDS) if config.pi05 else WORDS
    files = {"tokenizer.json": tokenizer_bytes(words)}
    return write_checkpoint(
        folder, config, meaning, stats, specs_of(tensors), tensors.items(), files
    )


def make_pi05_checkpoint(folder: Path) -> Path:
    """One of pi0.5, the state in its prompt."""
    meaning = {"architecture": "pi05", "normalization": "quantile", "prompt_state": "joints"}
    return make_checkpoint(folder, tiny_config(**PI05), **meaning)


def write_dense(
    folder: Path, model: AdaMoEPolicy, words: tuple[str, ...] = WORDS, **changes: Any
) -> Path:
    """The checkpoint of a given network; raw-only unless it is wide enough for the joints."""
    tensors, stats = model.state_dict(), statistics()
    files = {"tokenizer.json": tokenizer_bytes(words)}
    if model.config.action_dim < len(ROLES):
        changes |= {"raw_only": True, "joints": (), "gripper": None}
    meaning = manifest(**changes)
    specs = specs_of(tensors)
    return write_checkpoint(folder, model.config, meaning, stats, specs, tensors.items(), files)


def observation(seed: int = 0, absent: tuple[str, ...] = ()) -> Observation:
    """Random pictures of 64x48 and a random state."""
    rng = np.random.default_rng(seed)
    pictures = {slot: rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for slot in SLOTS}
    images = {slot: picture for slot, picture in pictures.items() if slot not in absent}
    state = rng.normal(size=14) * 0.2
    return Observation(1_000, images, state, "lift the yellow bar with both arms")
