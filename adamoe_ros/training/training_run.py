# SPDX-License-Identifier: Apache-2.0
"""A whole run: data, network, loop, checkpoint folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from adamoe_ros.contract.errors import ContractError, Problems, problem
from adamoe_ros.model.config import ModelConfig
from adamoe_ros.policy.checkpoint import prompt_state_width
from adamoe_ros.policy.normalise import make_normalizer
from adamoe_ros.policy.prompt import PromptEncoder, load_tokenizer
from adamoe_ros.policy.runtime import choose_device
from adamoe_ros.policy.vectors import VectorSpace
from adamoe_ros.training.checkpoint_export import write_policy
from adamoe_ros.training.data_manifest import NORMALIZATION_EPS
from adamoe_ros.training.data_source import read_data
from adamoe_ros.training.demonstration_set import DemonstrationSet
from adamoe_ros.training.finetuning import prepare_parts
from adamoe_ros.training.objective import FlowObjective
from adamoe_ros.training.processes import ALONE, Processes, start_processes, stop_processes
from adamoe_ros.training.run_state import latest_state, write_file
from adamoe_ros.training.starting_point import Start, make_start, meaning_of, model_sizes, read_base
from adamoe_ros.training.trainer import Trainer
from adamoe_ros.training.training_config import TrainingConfig, dump_config


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
    with processes.in_turn():  # it makes what is missing
        data = read_data(config.data, sizes, meaning_of(config, base))
    _check_fit(sizes, data)
    start = make_start(config, base, sizes, data)
    _check_perception(config, start, processes)
    prepare_parts(start.network, config.model, config.seed)
    with processes.in_turn():
        prompt = prompt_encoder(start, folder)
    _check_sentences(prompt, data)
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
        write_file(file, lambda stream: stream.write(start.tokenizer))
    tokenizer = load_tokenizer(file)
    rows = start.sizes.prefix.vocab
    if tokenizer.size > rows + 1:  # PaliGemma's has one more, <image>, which no text produces
        expected = f"at least {tokenizer.size}, the words of the data"
        raise ContractError(problem("model.changes: prefix.vocab", expected, rows, "raise it"))
    width = prompt_state_width(start.manifest, start.sizes)
    return PromptEncoder(tokenizer, style, start.sizes.prompt_length, width)


def _check_sentences(prompt: PromptEncoder, data: DemonstrationSet) -> None:
    lines = [f"data: {line}" for line in map(prompt.check, data.sentences()) if line]
    if lines:
        raise ContractError(lines)


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


def _check_fit(sizes: ModelConfig, data: DemonstrationSet) -> None:
    lines = []
    if len(data.layout.camera_slots) != sizes.num_views:
        lines.append(
            problem(
                "data: cameras",
                f"{sizes.num_views}",
                len(data.layout.camera_slots),
                "set num_views",
            )
        )
    layout = data.layout
    for name, roles, most in (
        ("joints", layout.roles, sizes.state_dim),
        ("actions", layout.action_roles or layout.roles, sizes.action_dim),
    ):
        if len(roles) > most:
            lines.append(problem(f"data: {name}", f"at most {most}", len(roles), "widen the model"))
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


CONFIG_FILE, CHECKPOINT = "config.yaml", "checkpoint"

Resume = Literal[False, True, "if-any"]
RollOut = Callable[[Path], dict[str, float]]
"""Checkpoint folder -> figures for the log, ``success`` among them."""


def train(
    config: TrainingConfig, folder: Path, resume: Resume = False, roll_out: RollOut | None = None
) -> Path:
    """Run to the end.

    Args:
        folder: of the run: ``config.yaml``, ``log.jsonl``, ``state-<step>/``, ``checkpoint/``.
        resume: go on from the state, bit-equal on a CPU to a run that was never stopped;
            ``if-any``: begin where there is none.
        roll_out: tries the checkpoint every ``evaluation.every_steps``.

    Returns:
        The checkpoint folder.

    Raises:
        ContractError: the folder holds a run and ``resume`` is not set, or there is none to
            resume; settings, data and network do not fit; the disk is full.
    """
    state = latest_state(folder)
    if not resume and state is not None:
        do = "add --resume to continue it, or give another --out"
        raise ContractError(problem(str(folder), "a folder without a run", state.name, do))
    run = prepare(config, folder)
    there = run.trainer.processes.agree(state is not None, str(folder))
    if resume is True or (resume == "if-any" and there):
        run.trainer.resume()
    text = dump_config(config).encode()
    if run.trainer.processes.first:
        write_file(folder / CONFIG_FILE, lambda stream: stream.write(text))
    checkpoint = folder / CHECKPOINT
    if roll_out is not None:
        run.trainer.evaluate = lambda: _evaluate(run, checkpoint, roll_out)
    run.trainer.run()
    write_policy(run.trainer, run.start, checkpoint)
    run.trainer.processes.wait()  # nobody leaves before everything is on disk
    stop_processes()
    return checkpoint


def _evaluate(run: Prepared, checkpoint: Path, roll_out: RollOut) -> dict[str, float]:
    """Figures of the averaged weights in the first process; the others wait."""
    write_policy(run.trainer, run.start, checkpoint, picture=False)
    values: dict[str, float] = {}
    with run.trainer.processes.in_turn():
        if run.trainer.processes.first:
            values = roll_out(checkpoint)
    return values
