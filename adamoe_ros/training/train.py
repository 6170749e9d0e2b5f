# SPDX-License-Identifier: Apache-2.0
"""From settings to a checkpoint folder: demonstrations, training, roll-outs in between, weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.training.config import TrainingConfig, dump_config
from adamoe_ros.training.finish import write_policy
from adamoe_ros.training.processes import stop_processes
from adamoe_ros.training.run import Prepared, prepare
from adamoe_ros.training.storage import write_atomic
from adamoe_ros.training.trainer import STATE_FILE

CONFIG_FILE, CHECKPOINT = "config.yaml", "checkpoint"

RollOut = Callable[[Path], dict[str, float]]
"""Checkpoint folder -> figures for the log, ``success`` among them."""


def train(
    config: TrainingConfig, folder: Path, resume: bool = False, roll_out: RollOut | None = None
) -> Path:
    """Run to the end.

    Args:
        folder: of the run: ``config.yaml``, ``log.jsonl``, ``state.pt``, ``checkpoint/``.
        resume: go on from ``state.pt``, bit-equal on a CPU to a run that was never stopped.
        roll_out: tries the checkpoint every ``evaluation.every_steps``.

    Returns:
        The checkpoint folder.

    Raises:
        ContractError: the folder holds a run and ``resume`` is not set, or there is none to
            resume; settings, data and network do not fit; the disk is full.
    """
    if not resume and (folder / STATE_FILE).exists():
        do = "add --resume to continue it, or give another --out"
        raise ContractError(problem(str(folder), "a folder without a run", STATE_FILE, do))
    run = prepare(config, folder)
    if resume:
        run.trainer.resume()
    text = dump_config(config).encode()
    if run.trainer.processes.first:
        write_atomic(folder / CONFIG_FILE, lambda stream: stream.write(text))
    checkpoint = folder / CHECKPOINT
    if roll_out is not None:
        run.trainer.evaluate = lambda: _evaluate(run, checkpoint, roll_out)
    run.trainer.run()
    write_policy(run, checkpoint)
    stop_processes()
    return checkpoint


def _evaluate(run: Prepared, checkpoint: Path, roll_out: RollOut) -> dict[str, float]:
    """Figures of the averaged weights in the first process; the others wait."""
    write_policy(run, checkpoint, picture=False)
    values: dict[str, float] = {}
    with run.trainer.processes.first_alone():
        if run.trainer.processes.first:
            values = roll_out(checkpoint)
    return values
