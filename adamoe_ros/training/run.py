# SPDX-License-Identifier: Apache-2.0
"""A whole run: data, network, loop. ``cli`` adds the evaluation and the checkpoint folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from adamoe_ros.contract.errors import ContractError, Problems, problem
from adamoe_ros.model.config import ModelConfig as Sizes
from adamoe_ros.policy.normalise import make_normalizer
from adamoe_ros.policy.prompt import PromptEncoder, load_tokenizer
from adamoe_ros.policy.runtime import choose_device
from adamoe_ros.policy.vectors import VectorSpace
from adamoe_ros.training.config import TrainingConfig
from adamoe_ros.training.data_source import read_data
from adamoe_ros.training.demonstrations import DemonstrationSet
from adamoe_ros.training.export import NORMALIZATION_EPS
from adamoe_ros.training.objective import FlowObjective
from adamoe_ros.training.parts import prepare_parts
from adamoe_ros.training.processes import ALONE, Processes, start_processes
from adamoe_ros.training.start import Start, make_start, meaning_of, model_sizes, read_base
from adamoe_ros.training.storage import write_atomic
from adamoe_ros.training.trainer import Trainer


@dataclass(frozen=True)
class Prepared:
    """A run before its first step.

    Attributes:
        start: what it began with; its network is the trainer's.
        folder: of the run; holds the tokenizer.
    """

    config: TrainingConfig
    data: DemonstrationSet
    start: Start
    folder: Path
    trainer: Trainer


def prepare(config: TrainingConfig, folder: Path) -> Prepared:
    """Make missing demonstrations, read them, build network and trainer.

    Args:
        folder: of the run; made if absent.

    Raises:
        ContractError: settings, data and network do not fit.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    processes, device = start_processes(choose_device(config.device))
    check_share(config, processes)
    base = read_base(config)
    sizes = model_sizes(config, base)
    with processes.first_alone():  # it makes what is missing
        data = read_data(config.data, sizes, meaning_of(config, base))
    _check_fit(sizes, data)
    start = make_start(config, base, sizes, data)
    _check_perception(config, start, processes)
    prepare_parts(start.network, config.model, config.seed)
    with processes.first_alone():
        prompt = prompt_encoder(start, folder)
    objective = make_objective(config, start, prompt, device, data.layout.camera_slots, processes)
    network = start.network.to(device)
    trainer = Trainer(config, network, objective, data, folder, processes)
    return Prepared(config, data, start, folder, trainer)


def _check_perception(config: TrainingConfig, start: Start, processes: Processes) -> None:
    if not config.perception_steps:
        return
    problems = Problems()
    where, got = "perception_steps", config.perception_steps
    if config.perception_steps >= config.steps:
        problems.add(where, f"fewer than the {config.steps} steps", got, "lower it")
    if not start.sizes.aux_positions or start.statistics.objects is None:
        expected = "0: data or network have no object positions"
        problems.add(where, expected, got, "leave it out")
    if processes.count > 1:
        problems.add(where, f"0 with {processes.count} processes", got, "use one process")
    problems.raise_if_any()


def prompt_encoder(start: Start, folder: Path) -> PromptEncoder:
    """Tokens as the checkpoint will make them: from the tokenizer's file in the run's folder.

    Raises:
        ContractError: the network's vocabulary is too small.
    """
    name, style = start.manifest.tokenizer, start.manifest.prompt_style
    assert name is not None and style is not None
    file = folder / name
    if not file.is_file() or file.read_bytes() != start.tokenizer:
        write_atomic(file, lambda stream: stream.write(start.tokenizer))
    tokenizer = load_tokenizer(file)
    rows = start.sizes.prefix.vocab
    if tokenizer.size > rows + 1:  # PaliGemma's has one more, <image>, which no text produces
        expected = f"at least {tokenizer.size}, the words of the data"
        raise ContractError(problem("model.changes: prefix.vocab", expected, rows, "raise it"))
    return PromptEncoder(tokenizer, style, start.sizes.prompt_length)


def make_objective(
    config: TrainingConfig,
    start: Start,
    prompt: PromptEncoder,
    device: torch.device,
    slots: tuple[str, ...] = (),
    processes: Processes = ALONE,
) -> FlowObjective:
    """The loss, with the very conversions that the checkpoint will have."""
    sizes, statistics = start.sizes, start.statistics
    vectors = VectorSpace(start.manifest, statistics, sizes.state_dim, sizes.action_dim)
    objects = statistics.objects
    positions = None
    if objects is not None:
        positions = make_normalizer(objects, "mean_std", NORMALIZATION_EPS, objects.width)
    return FlowObjective(config, vectors, positions, prompt, device, slots, processes)


def check_share(config: TrainingConfig, processes: Processes) -> None:
    """Every process gets as many samples of a batch.

    Raises:
        ContractError: the batch does not divide.
    """
    if config.batch_size % processes.count:
        expected, do = f"a multiple of the {processes.count} processes", "choose another"
        raise ContractError(problem("batch_size", expected, config.batch_size, do))


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
