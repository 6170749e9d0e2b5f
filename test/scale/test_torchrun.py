# SPDX-License-Identifier: Apache-2.0
"""Training by two torchrun agents, as on two machines: one process is killed, no loss changes."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scale_support import children, digests, run
from training_sizes import SMALL_CHANGES

from adamoe_ros.training.demonstration_set import DataLayout, Demonstration
from adamoe_ros.training.demonstration_store import write_demonstrations
from adamoe_ros.training.run_state import latest_state
from adamoe_ros.training.training_config import TrainingConfig, dump_config
from adamoe_ros.training.training_log import read_lines

ROUNDS = 3  # of the measured scaling
STEPS, KILLED, EVERY = 40, 25, 10  # of the run, the step of the kill, between two states
FRAMES = 3000
MEASURED = {"prefix.width": 128, "prefix.mlp": 256, "expert.width": 96, "expert.mlp": 192}
CLOCK = ("samples_per_s", "data_share", "elapsed_s", "step")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of one episode, 10 MB of pictures in the model's size."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("data") / "set"
    actions = np.cumsum(rng.normal(0, 0.1, (FRAMES, 4)), 0).astype(np.float32)
    episode = Demonstration(
        images=rng.integers(0, 256, (FRAMES, 2, 24, 24, 3), dtype=np.uint8),
        steps=np.arange(FRAMES),
        state=actions,
        actions=actions,
        objects=np.zeros((FRAMES, 3), np.float32),
        instructions=("lift the bar",) * FRAMES,
        tasks=("lift_bar",) * FRAMES,
    )
    roles = ("left_0", "left_gripper", "right_0", "right_gripper")
    write_demonstrations(folder, [episode], DataLayout("arms", ("a", "b"), roles, 50.0))
    return folder


def settings(data: Path, path: Path, **changes: Any) -> Path:
    """A file of settings."""
    common: dict[str, Any] = {
        "steps": STEPS, "batch_size": 16, "threads": 1, "log_every": 1, "save_every": EVERY,
        "device": "cpu", "tensorboard": False, "data": {"dataset": data, "cache": data.with_name("pictures")},
        "model": {"preset": "small", "changes": SMALL_CHANGES}, "augment": {"state_noise": 0.1},
    }  # fmt: skip
    config = TrainingConfig.model_validate(common | changes)
    path.write_text(dump_config(config), encoding="utf-8")
    return path


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def two_machines(config: Path, out: Path) -> list[str]:
    """What doc/scale.md has a person type on each of two machines, both here."""
    words = f"""{sys.executable} -m torch.distributed.run --nnodes 2 --nproc-per-node 1
        --rdzv-backend c10d --rdzv-endpoint 127.0.0.1:{free_port()} --rdzv-id trial
        --max-restarts 3 -m adamoe_ros.cli.main train --config {config} --out {out}
        --resume if-any""".split()
    agent = shlex.join(words)
    return ["bash", "-c", f"{agent} & {agent}; code=$?; wait $! && exit $code"]


def workers(pid: int) -> list[int]:
    """The training processes below both agents."""
    found = children(pid, "adamoe_ros.cli.main")
    agent = "torch.distributed.run"
    return [p for p in found if agent not in Path(f"/proc/{p}/cmdline").read_text()]


def losses(folder: Path) -> list[dict[str, float]]:
    """Of every step, without what depends on the clock."""
    rows = read_lines(folder / "log.jsonl")
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    return [{n: v for n, v in row.items() if n not in CLOCK} for row in rows]


def mapped(pid: int, path: Path) -> tuple[float, float]:
    """MB of a file that a process has in memory, and its share of them (Rss and Pss)."""
    text = Path(f"/proc/{pid}/smaps").read_text()
    of_file = re.findall(rf"{re.escape(str(path))}\n(.*?)VmFlags", text, re.DOTALL)
    rss, pss = (
        sum(
            int(kb)
            for part in of_file
            for kb in re.findall(rf"^{name}: +(\d+)", part, re.MULTILINE)
        )
        for name in ("Rss", "Pss")
    )
    return rss / 1e3, pss / 1e3


def test_a_killed_process_changes_no_loss(
    data: Path, report: dict[str, Any], tmp_path: Path
) -> None:
    config, seconds, memory = settings(data, tmp_path / "settings.yaml"), {}, []

    def kill(pid: int) -> None:
        both = workers(pid)
        assert len(both) == 2
        (pictures,) = data.with_name("pictures").iterdir()
        memory.extend(mapped(process, pictures) for process in both)
        os.kill(both[-1], signal.SIGKILL)

    for way, do in (("straight", lambda pid: None), ("killed", kill)):
        begun = time.monotonic()
        output = run(
            two_machines(config, tmp_path / way), lambda line: f"step {KILLED}/" in line, do
        )
        seconds[way] = round(time.monotonic() - begun, 1)
        assert ("exitcode: -9" in output or "Signal 9" in output) == (way == "killed"), output[
            -3000:
        ]
    assert losses(tmp_path / "straight") == losses(tmp_path / "killed")
    assert len(losses(tmp_path / "killed")) == STEPS
    weights = [digests(tmp_path / way / "checkpoint") for way in ("straight", "killed")]
    assert weights[0]["model.safetensors"] == weights[1]["model.safetensors"]
    state = latest_state(tmp_path / "killed")
    assert state is not None
    shards = sorted(path.name for path in state.glob("*.distcp"))
    assert shards == ["__0_0.distcp", "__1_0.distcp"]
    (pictures,) = data.with_name("pictures").iterdir()
    size = pictures.stat().st_size / 1e6
    assert min(rss for rss, _ in memory) > 0.2 * size
    assert sum(pss for _, pss in memory) < 0.8 * sum(rss for rss, _ in memory)
    report["torchrun, two agents"] = {
        "steps": STEPS,
        "killed_at": KILLED,
        "went_on_from": EVERY * (KILLED // EVERY),
        "losses_and_weights_equal": True,
        "state": shards,
        "wall_s": seconds,
        "data_MB": round(size, 1),
        "of_them_in_memory_MB_rss_pss": [[round(x, 1) for x in pair] for pair in memory],
    }


def test_scaling(data: Path, report: dict[str, Any], tmp_path: Path) -> None:
    """Samples a second of one and of two processes, one thread each; a figure, not a bound.

    They take turns, and the best round of each counts: the one that other work disturbed least.
    """
    model = {"preset": "small", "changes": SMALL_CHANGES | MEASURED}
    config = settings(data, tmp_path / "settings.yaml", steps=30, save_every=30, model=model)
    rounds: dict[int, list[float]] = {1: [], 2: []}
    load = []
    for count in (1, 2) * ROUNDS:
        out = tmp_path / f"{count}_{len(rounds[count])}"
        words = f"-m torch.distributed.run --standalone --nproc-per-node {count}".split()
        train = f"-m adamoe_ros.cli.main train --config {config} --out {out}".split()
        run([sys.executable, *words, *train])
        rows = read_lines(out / "log.jsonl")[5:]
        rounds[count].append(round(statistics.median(row["samples_per_s"] for row in rows), 1))
        load.append(round(os.getloadavg()[0], 1))
    best = {count: max(rates) for count, rates in rounds.items()}
    report["scaling"] = {
        "samples_per_s": best,
        "two_over_one": round(best[2] / best[1], 2),
        "rounds": rounds,
        "load_average": load,
    }
