# SPDX-License-Identifier: Apache-2.0
"""The training loop: one step after another, saved so that it continues exactly where it stopped.

Everything random in a step follows from (seed, step); a saved state therefore holds weights,
averaged weights, optimiser and the step, nothing else. Several processes share each batch and give
the losses of one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.training.demonstration_set import Batch, DemonstrationSet
from adamoe_ros.training.finetuning import checkpoint_layers
from adamoe_ros.training.optimiser import (
    WeightAverage,
    ema_decay,
    make_optimiser,
    set_learning_rates,
    stage,
)
from adamoe_ros.training.processes import ALONE, Processes, shard
from adamoe_ros.training.run_state import (
    latest_state,
    load_counters,
    restore,
    save_state,
    state_tensors,
)
from adamoe_ros.training.sampling import BalancedOrder, Prefetcher, ShuffledOrder
from adamoe_ros.training.training_config import TrainingConfig
from adamoe_ros.training.training_log import LOG_FILE, TrainingLog

__all__ = ["LOG_FILE", "Objective", "StepLosses", "Trainer"]


@dataclass(frozen=True)
class StepLosses:
    """Loss of a batch.

    Attributes:
        total: scalar with gradient.
        parts: what a log shows, by name; scalars without gradient.
    """

    total: torch.Tensor
    parts: dict[str, torch.Tensor]


class Objective(Protocol):
    """What is minimised."""

    def __call__(self, network: nn.Module, batch: Batch, step: int) -> StepLosses:
        """Loss of one batch at a step."""


Evaluate = Callable[[], dict[str, float]]


def sample_order(config: TrainingConfig, source: DemonstrationSet) -> ShuffledOrder | BalancedOrder:
    """Which samples a step sees.

    Raises:
        ContractError: corrections are to be weighed and there are none.
    """
    data, weights = config.data, None
    if data.correction_weight != 1.0:
        led = source.led()
        if not led.any():
            expected, do = "frames in which a human led the arms", "leave it at 1"
            raise ContractError(problem("data.correction_weight", expected, "none", do))
        weights = np.where(led, data.correction_weight, 1.0)
    if not data.balanced_tasks and weights is None:
        return ShuffledOrder(len(source), config.batch_size, config.seed)
    tasks = source.tasks() if data.balanced_tasks else np.zeros(len(source), np.int64)
    return BalancedOrder(tasks, config.batch_size, config.seed, weights)


class Trainer:
    """One run in one folder.

    Args:
        config: settings.
        network: weights to train, on their device.
        objective: loss of a batch, or of this process's share of it.
        source: the data set.
        folder: gets ``state-<step>/``, ``log.jsonl`` and ``tensorboard/``.
        processes: that share each batch.

    Attributes:
        evaluate: tries the averaged weights every ``evaluation.every_steps``; None: never.
        step: finished steps.
        average: averaged weights; what is to be shipped.
    """

    def __init__(
        self,
        config: TrainingConfig,
        network: nn.Module,
        objective: Objective,
        source: DemonstrationSet,
        folder: Path,
        processes: Processes = ALONE,
    ) -> None:
        self.config, self.network, self.objective = config, network, objective
        self.source, self.folder = source, folder
        self.processes = processes
        self.evaluate: Evaluate | None = None
        self.average = WeightAverage(network)
        if config.gradient_checkpointing:
            checkpoint_layers(network)
        if processes.count > 1:
            shard(network)
            shard(self.average.module)
        self.optimiser = make_optimiser(network, config.optimiser)
        self.step = 0
        self._order = sample_order(config, source)

    def resume(self) -> None:
        """Continue from the folder's state.

        Raises:
            ContractError: there is none, or it belongs to another network or other data.
        """
        path = latest_state(self.folder)
        if path is None:
            expected, do = "the state of a run (state-*)", "start without --resume"
            raise ContractError(problem(str(self.folder), expected, "none", do))
        found = load_counters(path, self.processes)
        samples, seed = found.get("samples"), found.get("seed")
        if samples != len(self.source) or seed != self.config.seed:
            expected = f"a run on {len(self.source)} samples with seed {self.config.seed}"
            do = "continue with the same data and seed, or start anew"
            raise ContractError(problem(str(path), expected, f"{samples} samples, seed {seed}", do))
        restore(path, self.network, self.average.module, self.optimiser, self.processes)
        self.step = found["step"]

    def save(self) -> None:
        """Write the state; a kill at any moment leaves the old or the new one, whole."""
        seed, samples = self.config.seed, len(self.source)
        tensors = state_tensors(self.network, self.average.module, self.optimiser)
        counters = {"step": self.step, "seed": seed, "samples": samples}
        save_state(self.folder, counters, tensors, self.processes)

    def run(self, until: int | None = None) -> None:
        """Train up to ``until`` finished steps (None: all); saves at the end, too.

        Raises:
            ContractError: a loss is not finite, or the disk is full.
        """
        config = self.config
        end = min(config.steps, until if until is not None else config.steps)
        log = None
        if self.processes.first:
            log = TrainingLog(
                self.folder, self.step, config.steps, config.batch_size, config.tensorboard
            )
        samples = Prefetcher(self._samples, end)
        try:
            while self.step < end:
                losses = self._advance(samples, log)
                done = self.step
                if done % config.log_every == 0 or done == end:
                    values = self._values(losses)
                    if log is not None:
                        log.losses(done, values, self._rates())
                if self._evaluation_due(done, end):
                    self._run_evaluation(log)
                if done % config.save_every == 0 or done == end:
                    self.save()
        finally:
            samples.close()
            if log is not None:
                log.close()

    def _samples(self, step: int) -> Batch:
        """This process's share of a step's batch."""
        indices = self._order.indices(step)
        return self.source.batch(indices[self.processes.own(len(indices))])

    def _advance(self, samples: Prefetcher, log: TrainingLog | None) -> StepLosses:
        start = time.monotonic()
        batch = samples.get(self.step)
        if log is not None:
            log.waited(time.monotonic() - start)
        place = stage(self.step, self.config.steps, self.config.perception_steps)
        set_learning_rates(self.optimiser, self.config.optimiser, *place)
        self.network.train()
        losses = self.objective(self.network, batch, self.step)
        losses.total.backward()
        trained = [p for p in self.network.parameters() if p.requires_grad]
        norm = nn.utils.clip_grad_norm_(trained, self.config.optimiser.clip_norm)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        losses.parts["grad_norm"] = norm.detach()
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.average.update(self.network, ema_decay(self.config.ema_decay, self.step))
        self.step += 1
        return losses

    def _values(self, losses: StepLosses) -> dict[str, float]:
        """Losses of the whole batch."""
        names = ["loss", *losses.parts]
        mine = torch.stack([losses.total.detach().float(), *map(_scalar, losses.parts.values())])
        values = dict(zip(names, self.processes.mean(mine).tolist(), strict=True))
        if not math.isfinite(values["loss"]):
            raise ContractError(
                problem(
                    f"step {self.step}",
                    "a finite loss",
                    values["loss"],
                    "lower the learning rates; the last saved state is intact",
                )
            )
        return values

    def _rates(self) -> dict[str, float]:
        return {group["name"]: float(group["lr"]) for group in self.optimiser.param_groups}

    def _evaluation_due(self, done: int, end: int) -> bool:
        every = self.config.evaluation.every_steps
        return self.evaluate is not None and every > 0 and (done % every == 0 or done == end)

    def _run_evaluation(self, log: TrainingLog | None) -> None:
        if self.evaluate is None:
            return
        start = time.monotonic()
        values = self.evaluate()
        if log is not None:
            log.waited(time.monotonic() - start)
            log.evaluation(self.step, values)


def _scalar(part: torch.Tensor) -> torch.Tensor:
    return part.detach().float()
