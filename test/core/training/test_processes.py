# SPDX-License-Identifier: Apache-2.0
"""Two processes under torchrun (gloo, FSDP2) train as one does, and either goes on from the other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from state_support import saved
from training_sizes import SMALL_CHANGES

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.training.demonstration_set import DemonstrationSet
from adamoe_ros.training.demonstration_store import write_demonstrations
from adamoe_ros.training.processes import Processes
from adamoe_ros.training.training_config import TrainingConfig, dump_config
from adamoe_ros.training.training_log import read_lines
from adamoe_ros.training.training_run import check_share, prepare, train

COMMON: dict[str, Any] = {
    "steps": 6,
    "batch_size": 4,
    "threads": 1,
    "log_every": 1,
    "device": "cpu",
    "tensorboard": False,
    "rtc_max_delay": 4,
    "model": {"preset": "small", "changes": SMALL_CHANGES},
    "augment": {"shift": 0.1, "state_noise": 0.1, "brightness": 0.2, "crop": 0.1},
    "loss": {"balance": {"form": "switch", "start": 0.5}, "z_weight": 0.01},
    # a large eps: with the usual one Adam's first steps are the gradients' signs, rounding included
    "optimiser": {"eps": 1e-2, **{g: {"peak_lr": 1e-3} for g in ("base", "experts", "router")}},
}
LORA = {"rank": 2, "targets": ["prefix", "expert"]}


@pytest.fixture
def config(demonstrations: DemonstrationSet, tmp_path: Path) -> TrainingConfig:
    """Everything that draws random numbers or sums over a batch is on."""
    write_demonstrations(tmp_path / "data", demonstrations.episodes, demonstrations.layout)
    return TrainingConfig.model_validate(
        {**COMMON, "data": {"dataset": tmp_path / "data", "cache": tmp_path / "pictures"}}
    )


def torchrun(config: TrainingConfig, folder: Path, *options: str) -> subprocess.CompletedProcess:
    """``adamoe train`` in two processes, each of which names its threads if the interpreter ends."""
    path = folder.with_suffix(".yaml")
    path.write_text(dump_config(config), encoding="utf-8")
    script = folder.with_suffix(".py")
    script.write_text(WATCHED, encoding="utf-8")
    words = ["--standalone", "--nproc-per-node=2", str(script), "train"]
    command = [sys.executable, "-m", "torch.distributed.run", *words]
    command += ["--config", str(path), "--out", str(folder), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=200, check=False
    )


WATCHED = """
import atexit, sys
from pathlib import Path
from adamoe_ros.cli.main import main

@atexit.register
def report() -> None:
    names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    print("threads at the interpreter's end:", *names, file=sys.stderr)

sys.exit(main())
"""


def losses(folder: Path) -> dict[int, dict[str, float]]:
    """Step -> what does not depend on the clock."""
    clock = ("samples_per_s", "data_share", "elapsed_s", "step")
    rows = read_lines(folder / "log.jsonl")
    return {r["step"]: {n: v for n, v in r.items() if n not in clock} for r in rows}


def assert_same_run(one: Path, two: Path, steps: int) -> None:
    """Losses of every step and every tensor of the state, within rounding."""
    left, right = losses(one), losses(two)
    assert sorted(left) == sorted(right) == list(range(1, steps + 1))
    for step, values in left.items():
        assert right[step] == pytest.approx(values, rel=2e-4, abs=1e-6), step
    states = [saved(folder) for folder in (one, two)]
    assert states[0].keys() == states[1].keys()
    for name, tensor in states[0].items():
        if not name.startswith("moments/"):
            torch.testing.assert_close(states[1][name], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("preset", ["small", "small_pi05"])
def test_two_processes_equal_one(preset: str, config: TrainingConfig, tmp_path: Path) -> None:
    """Several flow draws; the state of two processes continues in one."""
    changes = SMALL_CHANGES | ({"prompt_length": 40} if preset == "small_pi05" else {})
    model = config.model.model_copy(update={"preset": preset, "changes": changes})
    config = config.model_copy(update={"flow_draws": 2, "model": model})
    train(config, tmp_path / "one")
    done = torchrun(config, tmp_path / "two")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("checkpoint:") == 1  # only the first process speaks
    # such a thread that still releases tensors while the interpreter ends: SIGABRT
    assert "pt_gloo_runloop" not in done.stderr
    assert_same_run(tmp_path / "one", tmp_path / "two", 6)
    longer = config.model_copy(update={"steps": 8})
    for name in ("one", "two"):
        train(longer, tmp_path / name, resume=True)
    assert_same_run(tmp_path / "one", tmp_path / "two", 8)
    written = {path.name for path in (tmp_path / "two").iterdir()}
    assert written == {"config.yaml", "log.jsonl", "state-00000008", "tokenizer.json", "checkpoint"}


def test_two_processes_continue_what_one_began(config: TrainingConfig, tmp_path: Path) -> None:
    """With low-rank changes, gradient checkpointing and clipping that bites."""
    optimiser = config.optimiser.model_copy(update={"clip_norm": 0.1})
    model = {**COMMON["model"], "lora": LORA, "freeze": ["vision"]}
    config = TrainingConfig.model_validate(
        {
            **config.model_dump(),
            "model": model,
            "optimiser": optimiser.model_dump(),
            "gradient_checkpointing": True,
        }
    )
    train(config, tmp_path / "one")
    prepare(config, tmp_path / "two").trainer.run(until=3)
    done = torchrun(config, tmp_path / "two", "--resume")
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same_run(tmp_path / "one", tmp_path / "two", 6)


def test_a_batch_must_divide(config: TrainingConfig) -> None:
    with pytest.raises(ContractError, match="batch_size: expected a multiple of the 2 processes"):
        check_share(config.model_copy(update={"batch_size": 5}), Processes(0, 2))
