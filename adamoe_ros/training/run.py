# SPDX-License-Identifier: Apache-2.0
"""A whole run: data, network, loop. ``cli`` adds the evaluation and the checkpoint folder.

May import: contract, model, sim, policy, torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.model.config import ModelConfig as Sizes
from adamoe_ros.model.config import preset
from adamoe_ros.model.initial import initialise
from adamoe_ros.model.policy_model import AdaMoEPolicy
from adamoe_ros.policy.normalise import FeatureStats, Normalizer, NormStats, make_normalizer
from adamoe_ros.policy.prompt import PromptEncoder, load_tokenizer
from adamoe_ros.policy.runtime import choose_device
from adamoe_ros.training.config import TrainingConfig
from adamoe_ros.training.demonstrations import DemonstrationSet
from adamoe_ros.training.export import NORMALIZATION_EPS, TOKENIZER_FILE
from adamoe_ros.training.generate_shards import generate_missing
from adamoe_ros.training.objective import FlowObjective
from adamoe_ros.training.shards import read_shards
from adamoe_ros.training.statistics import column_statistics
from adamoe_ros.training.storage import write_atomic
from adamoe_ros.training.trainer import Trainer
from adamoe_ros.training.vocabulary import build_tokenizer

_LEAST_STD = 0.01  # rad, m, or share of the gripper's way: a joint at rest is not blown up to noise


@dataclass(frozen=True)
class Prepared:
    """A run before its first step.

    Attributes:
        sizes: of the network.
        statistics: of state, actions and, where the data has them, object positions.
        folder: of the run; holds the tokenizer.
    """

    config: TrainingConfig
    sizes: Sizes
    data: DemonstrationSet
    statistics: NormStats
    folder: Path
    trainer: Trainer


def model_sizes(config: TrainingConfig) -> Sizes:
    """Sizes of the network to train.

    Raises:
        ContractError: no such preset, sizes that do not fit, or a clean prefix of the whole chunk.
    """
    sizes = preset(config.model.preset).changed(config.model.changes)
    if config.rtc_max_delay >= sizes.horizon:
        expected, do = f"less than the {sizes.horizon} rows of a chunk", "lower it"
        raise ContractError(problem("rtc_max_delay", expected, config.rtc_max_delay, do))
    return sizes


def prepare(config: TrainingConfig, folder: Path) -> Prepared:
    """Make missing demonstrations, read them, build network and trainer.

    Args:
        folder: of the run; made if absent.

    Raises:
        ContractError: settings, data and network do not fit.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    sizes = model_sizes(config)
    if config.data.generate is not None:
        generate_missing(config.data.generate, sizes.vision.image_size, config.data.folder)
    made = config.data.generate.episodes if config.data.generate is not None else None
    data = read_shards(config.data.folder, sizes.horizon, config.data.episodes or made)
    _check_fit(sizes, data)
    statistics = data_statistics(data, wanted=sizes.aux_positions > 0)
    folder.mkdir(parents=True, exist_ok=True)
    network = AdaMoEPolicy(sizes)
    initialise(network, torch.Generator().manual_seed(config.seed))
    device = choose_device(config.device)
    prompt = prompt_encoder(data.sentences(), sizes, folder)
    objective = make_objective(config, sizes, statistics, prompt, device)
    trainer = Trainer(config, network.to(device), objective, data, folder)
    return Prepared(config, sizes, data, statistics, folder, trainer)


def data_statistics(data: DemonstrationSet, wanted: bool) -> NormStats:
    """Statistics of a data set, object positions if ``wanted`` and known."""
    objects = data.objects() if wanted else None
    return NormStats(
        state=column_statistics(data.states(), _LEAST_STD),
        actions=column_statistics(data.action_rows(), _LEAST_STD),
        objects=None if objects is None else column_statistics(objects, _LEAST_STD),
    )


def prompt_encoder(sentences: Sequence[str], sizes: Sizes, folder: Path) -> PromptEncoder:
    """Tokens as the checkpoint will make them: from the tokenizer's file in the run's folder.

    Raises:
        ContractError: the network's vocabulary is too small.
    """
    path = folder / TOKENIZER_FILE
    text = build_tokenizer(sentences).to_str().encode()
    write_atomic(path, lambda stream: stream.write(text))
    tokenizer = load_tokenizer(path)
    if tokenizer.size > sizes.prefix.vocab:
        raise ContractError(
            problem(
                "model.changes: prefix.vocab",
                f"at least {tokenizer.size}, the words of the data",
                sizes.prefix.vocab,
                "raise it",
            )
        )
    return PromptEncoder(tokenizer, "plain", sizes.prompt_length)


def make_objective(
    config: TrainingConfig,
    sizes: Sizes,
    statistics: NormStats,
    prompt: PromptEncoder,
    device: torch.device,
) -> FlowObjective:
    """The loss with the normalisation that the checkpoint will have."""

    def normalizer(stats: FeatureStats, width: int) -> Normalizer:
        return make_normalizer(stats, "mean_std", NORMALIZATION_EPS, width)

    objects = statistics.objects
    return FlowObjective(
        config,
        normalizer(statistics.state, sizes.state_dim),
        normalizer(statistics.actions, sizes.action_dim),
        None if objects is None else normalizer(objects, objects.width),
        prompt,
        device,
    )


def _check_fit(sizes: Sizes, data: DemonstrationSet) -> None:
    height, width = sizes.vision.image_size
    shown = data.episodes[0].images.shape[2:4]
    lines = []
    if shown != (height, width):
        lines.append(
            problem("data: images", f"{width}x{height}", f"{shown[1]}x{shown[0]}", "generate anew")
        )
    if len(data.layout.camera_slots) != sizes.num_views:
        lines.append(
            problem(
                "data: cameras",
                f"{sizes.num_views}",
                len(data.layout.camera_slots),
                "set num_views",
            )
        )
    if len(data.layout.roles) > min(sizes.state_dim, sizes.action_dim):
        lines.append(
            problem(
                "data: joints",
                f"at most {sizes.state_dim}",
                len(data.layout.roles),
                "widen the model",
            )
        )
    points = data.episodes[0].objects
    if points is not None and sizes.aux_positions and points.shape[1] != 3 * sizes.aux_positions:
        lines.append(
            problem(
                "data: object positions",
                f"{3 * sizes.aux_positions} numbers",
                points.shape[1],
                "set model.changes.aux_positions",
            )
        )
    if lines:
        raise ContractError(lines)
