# SPDX-License-Identifier: Apache-2.0
"""What a run starts from: fresh weights of a preset, or a checkpoint that goes on learning.

A checkpoint may be upcycled on the way, and may give its meaning and statistics or only its weights
and tokenizer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.manifest import CheckpointManifest
from adamoe_ros.model.config import ModelConfig, MoEConfig, preset
from adamoe_ros.model.dense_to_moe import UpcycleSettings, upcycle_from_dense
from adamoe_ros.model.layers import initialise
from adamoe_ros.model.policy_model import AdaMoEPolicy
from adamoe_ros.model.weights import load_policy, parameter_shapes
from adamoe_ros.policy.checkpoint import Checkpoint, read_checkpoint
from adamoe_ros.policy.normalise import NormStats
from adamoe_ros.policy.prompt import state_prompt
from adamoe_ros.training.data_manifest import check_meaning, make_manifest
from adamoe_ros.training.data_statistics import check_statistics, data_statistics, inner_statistics
from adamoe_ros.training.demonstration_set import DemonstrationSet
from adamoe_ros.training.training_config import TrainingConfig
from adamoe_ros.training.vocabulary import build_tokenizer


@dataclass(frozen=True)
class Start:
    """Network, statistics and tokenizer of a run; a checkpoint brings all three.

    Attributes:
        manifest: what the trained checkpoint's will say, provenance apart.
        tokenizer: content of the tokenizer's file.
    """

    sizes: ModelConfig
    network: AdaMoEPolicy
    statistics: NormStats
    tokenizer: bytes
    manifest: CheckpointManifest


def read_base(config: TrainingConfig) -> Checkpoint | None:
    """The checkpoint to go on from, if the settings name one.

    Raises:
        ContractError: it is damaged, has no tokenizer, or lacks the meaning that it is to give.
    """
    wanted = config.model
    if wanted.checkpoint is None:
        lines = [
            problem(f"model.{name}", "model.checkpoint with it", "none", "name a checkpoint")
            for name, value in (("upcycle", wanted.upcycle), ("inherit", wanted.inherit != "all"))
            if value
        ]
        if lines:
            raise ContractError(lines)
        return None
    base = read_checkpoint(wanted.checkpoint)
    if wanted.inherit != "weights":
        base.vectors()  # refuses a raw-only one
    if base.manifest.tokenizer is None or base.manifest.prompt_style is None:
        where, do = f"checkpoint {base.folder}", "convert it with --tokenizer and --prompt-style"
        raise ContractError(problem(where, "a tokenizer and a prompt style", "none", do))
    return base


def meaning_of(config: TrainingConfig, base: Checkpoint | None) -> CheckpointManifest | None:
    """The manifest that the data must fit; None: the data say themselves what they mean."""
    return None if base is None or config.model.inherit == "weights" else base.manifest


def model_sizes(config: TrainingConfig, base: Checkpoint | None = None) -> ModelConfig:
    """Sizes of the network to train.

    Raises:
        ContractError: no such preset, sizes that do not fit the checkpoint's tensors, or a clean
            prefix of the whole chunk.
    """
    if base is None:
        sizes = preset(config.model.preset).changed(config.model.changes)
    else:
        sizes = base.config.changed(config.model.changes)
        if parameter_shapes(sizes) != parameter_shapes(base.config):
            got, do = sorted(config.model.changes), "leave them out: the checkpoint has its sizes"
            expected = "nothing that changes the checkpoint's tensors"
            raise ContractError(problem("model.changes", expected, got, do))
        sizes = _mixture(config, sizes)
    if config.rtc_max_delay >= sizes.horizon:
        expected, do = f"less than the {sizes.horizon} rows of a chunk", "lower it"
        raise ContractError(problem("rtc_max_delay", expected, config.rtc_max_delay, do))
    return sizes


def _mixture(config: TrainingConfig, sizes: ModelConfig) -> ModelConfig:
    wanted = config.model.upcycle
    if wanted is None:
        return sizes
    if sizes.moe.variant != "dense":
        do = "leave model.upcycle out: it has experts already"
        raise ContractError(problem("model.checkpoint", "a dense one", sizes.moe.variant, do))
    return replace(sizes, moe=MoEConfig(wanted.variant, wanted.experts, wanted.top_k))


def make_start(
    config: TrainingConfig, base: Checkpoint | None, sizes: ModelConfig, data: DemonstrationSet
) -> Start:
    """Everything a run needs besides its data.

    Raises:
        ContractError: the data means something else than the checkpoint does.
    """
    sentences = data.sentences()
    if base is None:
        network = AdaMoEPolicy(sizes)
        initialise(network, torch.Generator().manual_seed(config.seed))
        statistics = data_statistics(data, wanted=sizes.aux_positions > 0)
        numbers = [state_prompt("", np.arange(-1, 256))] if sizes.pi05 else []
        tokenizer = build_tokenizer([*sentences, *numbers]).to_str().encode()
        how = (config.rtc_max_delay, sizes.architecture)
        manifest = make_manifest(data.layout, sentences, *how)
        return Start(sizes, network, statistics, tokenizer, manifest)
    manifest, statistics = _inherited(config, base, sizes, data)
    assert base.manifest.tokenizer is not None
    tokenizer = (base.folder / base.manifest.tokenizer).read_bytes()
    instructions = (*base.manifest.instructions, *sentences)
    update = {
        "instructions": tuple(dict.fromkeys(instructions)),
        "rtc_max_delay": config.rtc_max_delay,
    }
    network = _network(config, base, sizes)
    return Start(sizes, network, statistics, tokenizer, manifest.model_copy(update=update))


def _inherited(
    config: TrainingConfig, base: Checkpoint, sizes: ModelConfig, data: DemonstrationSet
) -> tuple[CheckpointManifest, NormStats]:
    """Meaning and statistics, of the checkpoint or of the data."""
    objects = sizes.aux_positions > 0
    if config.model.inherit == "weights":
        kept = ("tokenizer", "tokenizer_size", "prompt_style", "prompt_state")
        manifest = make_manifest(data.layout, architecture=sizes.architecture).model_copy(
            update={name: getattr(base.manifest, name) for name in kept}
        )
        return manifest, data_statistics(data, wanted=objects)
    check_meaning(base.manifest, data.layout)
    if config.model.inherit == "meaning":
        return base.manifest, inner_statistics(data, base.vectors(), wanted=objects)
    assert base.statistics is not None
    check_statistics(base.vectors(), base.manifest, data)
    return base.manifest, base.statistics


def _network(config: TrainingConfig, base: Checkpoint, sizes: ModelConfig) -> AdaMoEPolicy:
    """The checkpoint's weights in float32, upcycled if asked for, ready to be trained."""
    network = base.load_network("cpu", torch.float32)
    wanted = config.model.upcycle
    tensors = network.state_dict()
    if wanted is not None:
        how = UpcycleSettings(wanted.noise_std, wanted.router_std, wanted.preserve)
        generator = torch.Generator().manual_seed(config.seed)
        tensors = upcycle_from_dense(tensors, sizes, how, generator)
    if sizes != base.config:
        network = load_policy(sizes, tensors, "cpu", torch.float32)
    return network.train().requires_grad_(True)
