# SPDX-License-Identifier: Apache-2.0
"""``make libero``: the simulator, the expert and the server together, by LIBERO's own judge.

One task, one of LIBERO's initial states. The policy server is the real one with a real checkpoint; only
its rows are replaced by those of a demonstration, at the very end, so everything between is as in a benchmark.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving_support import running

from adamoe_ros.cli.main import main
from adamoe_ros.contract.workers import Workers
from adamoe_ros.data.lerobot.dataset_writer import assemble
from adamoe_ros.evaluation.blocks import Blocks, Job
from adamoe_ros.evaluation.evaluation_settings import LiberoSettings
from adamoe_ros.evaluation.libero_benchmark import Benchmark, run_benchmark
from adamoe_ros.serving.batching import Answer
from adamoe_ros.serving.requests import ClientRequest
from adamoe_ros.serving.service import PolicyService, ServeSettings
from adamoe_ros.sim.libero.process import SimulatorProcess, libero_python
from adamoe_ros.training.libero_dataset import CAMERAS, LiberoJob, write_episode
from adamoe_ros.training.suite_dataset import SuiteOutcome

CONFIG = Path(__file__).parents[2] / "config" / "training" / "libero_object.yaml"
SETTINGS = LiberoSettings()
TASK = "object/0"


class ReplayService(PolicyService):
    """Answers with a demonstration's rows, as many further with each chunk as a client executes."""

    rows: np.ndarray = np.zeros((0, 7))
    asked = 0

    async def infer(self, request: ClientRequest, arrived: float) -> Answer:
        answer = await super().infer(request, arrived)
        first = self.asked * SETTINGS.replan
        self.asked += 1
        places = np.minimum(np.arange(first, first + self.actor.horizon), len(self.rows) - 1)
        inference = dataclasses.replace(answer.inference, positions=self.rows[places])
        return dataclasses.replace(answer, inference=inference)


@pytest.fixture(scope="module")
def python() -> Path:
    return libero_python(lambda line: print(line, file=sys.stderr, flush=True))


@pytest.fixture(scope="module")
def simulator(python: Path) -> Iterator[SimulatorProcess]:
    one = SimulatorProcess(python)
    yield one
    one.close()


@pytest.fixture(scope="module")
def demonstration(simulator: SimulatorProcess) -> dict[str, Any]:
    opened = simulator.ask("open", suite="libero_object", task=0)
    shown = simulator.ask("demonstrate", seed=SETTINGS.seed, initial=0, pictures=False)
    return {**shown, "sentence": opened["sentence"]}


@pytest.fixture(scope="module")
def dataset(
    simulator: SimulatorProcess,
    demonstration: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Its first rows, with pictures: enough for a checkpoint that says what its numbers mean."""
    simulator.ask("open", suite="libero_object", task=0)
    job = LiberoJob(tmp_path_factory.mktemp("data") / "set", ("libero_object-0",), 1)
    rows = demonstration["actions"][:8]
    seen = [simulator.ask("begin", seed=SETTINGS.seed, initial=0)]
    seen += [simulator.ask("step", actions=row[None]) for row in rows[:-1]]
    made = {
        "states": [one["state"] for one in seen],
        "actions": rows,
        "objects": demonstration["objects"][:8],
        "pictures": {name: [one["pictures"][name] for one in seen] for name in CAMERAS},
    }
    facts = {"task": job.tasks[0], "seed": 0, "success": True}
    write_episode(job, demonstration["sentence"], made, facts)
    details = job.details(SuiteOutcome())
    assemble([job.folder(job.tasks[0], 0)], job.target, job.schema(), "v3.0", details)
    return job.target


@pytest.fixture(scope="module")
def checkpoint(dataset: Path) -> Path:
    out = dataset.parent / "run"
    changes = {
        "steps": 2,
        "perception_steps": 1,
        "batch_size": 2,
        "tensorboard": False,
        "data.dataset": str(dataset),
    }
    changes["data.cache"] = str(dataset.parent / "cache")
    words = [f"--set={key}={json.dumps(value)}" for key, value in changes.items()]
    assert main(["train", "--config", str(CONFIG), "--out", str(out), *words]) == 0
    return out / "checkpoint"


def test_pictures_are_those_of_liberos_own_observation(simulator: SimulatorProcess) -> None:
    """Taken on demand, they are to the bit what LIBERO gives every step."""
    simulator.ask("open", suite="libero_object", task=0)
    assert simulator.ask("same_pictures", seed=SETTINGS.seed, initial=0) == {
        "image": True,
        "wrist_image": True,
    }


def test_a_replayed_demonstration_succeeds_through_the_server(
    checkpoint: Path, python: Path, demonstration: dict[str, Any], tmp_path: Path
) -> None:
    assert demonstration["success"]
    service = ReplayService(checkpoint, ServeSettings(device="cpu", interface=("libero",)))
    service.rows = demonstration["actions"]
    job = Job(checkpoint, "", (TASK,), ("plain",), (0,), SETTINGS, videos=1)
    blocks = Blocks(job, tmp_path)
    service.start()
    try:
        with running(service) as port:
            where = Benchmark(
                python, tmp_path, f"ws://127.0.0.1:{port}/openpi", {TASK: demonstration["sentence"]}
            )
            run_benchmark(blocks, where, Workers(), lambda episodes: None)
    finally:
        service.stop()
    (episode,) = blocks.episodes()
    assert episode.success
    assert episode.details["steps"] == len(demonstration["actions"])


@pytest.mark.parametrize(("suite", "task"), [("libero_object", 9), ("libero_spatial", 2)])
def test_the_expert_grips_at_its_first_attempt(
    simulator: SimulatorProcess, suite: str, task: int
) -> None:
    """A tall carton from straight above, else it falls over; a bowl low enough, else it slips."""
    simulator.ask("open", suite=suite, task=task)
    shown = simulator.ask("demonstrate", seed=0, pictures=False)
    assert shown["success"]
    assert shown["attempts"] == 1
