# SPDX-License-Identifier: Apache-2.0
"""Killed (-9) at any moment, again and again: whole files, and the end of a run never stopped."""

from __future__ import annotations

import multiprocessing
import random
from pathlib import Path

from kill_support import run_and_tell
from state_support import assert_same_state, saved
from training_sizes import SMALL_CHANGES

from adamoe_ros.policy.checkpoint import read_checkpoint
from adamoe_ros.training.demonstration_set import DemonstrationSet
from adamoe_ros.training.demonstration_store import write_demonstrations
from adamoe_ros.training.run_state import latest_state
from adamoe_ros.training.training_config import TrainingConfig, dump_config
from adamoe_ros.training.training_log import read_lines
from adamoe_ros.training.training_run import train

STEPS, KILLS = 20, 5


def test_killed_again_and_again(demonstrations: DemonstrationSet, tmp_path: Path) -> None:
    write_demonstrations(tmp_path / "data", demonstrations.episodes, demonstrations.layout)
    config = TrainingConfig.model_validate(
        {
            "steps": STEPS,
            "batch_size": 4,
            "threads": 1,
            "log_every": 1,
            "save_every": 1,
            "tensorboard": False,
            "model": {"changes": SMALL_CHANGES},
            "data": {
                "dataset": tmp_path / "data",
                "cache": tmp_path / "pictures",
                "balanced_tasks": True,
            },
            "augment": {"state_noise": 0.1, "shift": 0.1, "brightness": 0.1},
            "evaluation": {"every_steps": 1},
        }
    )
    settings, killed = tmp_path / "settings.yaml", tmp_path / "killed"
    settings.write_text(dump_config(config), encoding="utf-8")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["adamoe_ros.training.training_run", "torch._dynamo"]
    )  # once for all
    rng = random.Random(0)
    reached = 0
    for _ in range(KILLS):
        mine, theirs = context.Pipe(duplex=False)
        process = context.Process(target=run_and_tell, args=(settings, killed, theirs))
        process.start()
        theirs.close()
        for _ in range(rng.randint(1, 3)):
            assert mine.poll(120), "the run says nothing"
            assert mine.recv() != "end"
        mine.poll(rng.uniform(0, 0.02))  # somewhere in a save, a checkpoint, or a step
        process.kill()
        process.join(30)
        if latest_state(killed) is not None:
            step = int(saved(killed)["counters/step"])  # whole
            assert step >= reached
            reached = step
        if (killed / "checkpoint").exists():
            read_checkpoint(killed / "checkpoint").load_network()  # whole, too
    assert 0 < reached < STEPS
    quiet = config.model_copy(update={"evaluation": type(config.evaluation)(), "save_every": STEPS})
    train(quiet, killed, resume=True)
    train(quiet, tmp_path / "straight")
    assert_same_state(killed, tmp_path / "straight")
    rows = [r for r in read_lines(killed / "log.jsonl") if "loss" in r]
    straight = [r for r in read_lines(tmp_path / "straight" / "log.jsonl") if "loss" in r]
    assert [(r["step"], r["loss"]) for r in rows] == [(r["step"], r["loss"]) for r in straight]
