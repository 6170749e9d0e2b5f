# SPDX-License-Identifier: Apache-2.0
"""A whole run: data, network, loop. ``cli`` adds the evaluation and the checkpoint folder.

May import: contract, model, sim, policy, torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.model.config import ModelConfig as Sizes
from adamoe_ros.model.config import preset
from adamoe_ros.model.initial import initialise
from adamoe_ros.model.policy_model import AdaMoEPolicy
from adamoe_ros.training.config import TrainingConfig, dump_config
from adamoe_ros.training.demonstrations import DemonstrationSet
from adamoe_ros.training.export import NORMALIZATION_EPS
from adamoe_ros.training.objective import FlowObjective, Standardiser
from adamoe_ros.training.shards import read_shards
from adamoe_ros.training.statistics import column_statistics
from adamoe_ros.training.storage import write_atomic
from adamoe_ros.training.trainer import Evaluate, Trainer
from adamoe_ros.training.vocabulary import build_tokenizer

_LEAST_STD = 0.01  # rad, m, or share of the gripper's way: a joint at rest is not blown up to noise


@dataclass(frozen=True)
class Prepared:
    """A run before its first step.

    Attributes:
        statistics: ``state``, ``actions`` and, where the data has them, ``objects``.
    """

    config: TrainingConfig
    sizes: Sizes
    data: DemonstrationSet
    statistics: dict[str, dict[str, list[float]]]
    tokenizer: Tokenizer
    trainer: Trainer


def floored(statistics: dict[str, list[float]]) -> dict[str, list[float]]:
    """The same with no standard deviation below ``_LEAST_STD``."""
    return statistics | {"std": [max(value, _LEAST_STD) for value in statistics["std"]]}


def choose_device(name: str) -> torch.device:
    """``auto``: CUDA where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def prepare(
    config: TrainingConfig, folder: Path, resume: bool, evaluate: Evaluate | None = None
) -> Prepared:
    """Read the data, build network and trainer, and load the state of a run that goes on.

    Raises:
        ContractError: settings, data and network do not fit.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    sizes = preset(config.model.preset).changed(config.model.changes)
    data = read_shards(config.data.folder, sizes.horizon, config.data.episodes)
    _check_fit(sizes, data)
    statistics = {
        "state": floored(column_statistics(data.states())),
        "actions": floored(column_statistics(data.action_rows())),
    }
    objects = data.objects() if sizes.aux_positions else None
    if objects is not None:
        statistics["objects"] = floored(column_statistics(objects))
    tokenizer = build_tokenizer(data.sentences())
    device = choose_device(config.device)
    network = AdaMoEPolicy(sizes)
    initialise(network, torch.Generator().manual_seed(config.seed))
    objective = FlowObjective(
        config,
        Standardiser(statistics["state"], NORMALIZATION_EPS, sizes.state_dim),
        Standardiser(statistics["actions"], NORMALIZATION_EPS, sizes.action_dim),
        None if objects is None else Standardiser(statistics["objects"], NORMALIZATION_EPS, None),
        tokenizer,
        sizes.prompt_length,
        device,
    )
    trainer = Trainer(config, network.to(device), objective, data, folder, evaluate)
    if resume:
        trainer.resume()
    text = dump_config(config).encode()
    write_atomic(folder / "config.yaml", lambda stream: stream.write(text))
    return Prepared(config, sizes, data, statistics, tokenizer, trainer)


def _check_fit(sizes: Sizes, data: DemonstrationSet) -> None:
    height, width = sizes.vision.image_size
    shown = data.episodes[0].images.shape[2:4]
    lines = []
    if shown != (height, width):
        lines.append(
            problem("data: images", f"{width}x{height}", f"{shown[1]}x{shown[0]}", "generate anew")
        )
    if len(data.camera_slots) != sizes.num_views:
        lines.append(
            problem("data: cameras", sizes.num_views, len(data.camera_slots), "set num_views")
        )
    if len(data.roles) > min(sizes.state_dim, sizes.action_dim):
        lines.append(
            problem(
                "data: joints", f"at most {sizes.state_dim}", len(data.roles), "widen the model"
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
