# SPDX-License-Identifier: Apache-2.0
"""Roll-outs in the real simulator: units both ways, judgement, a policy from a checkpoint folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from policy_support import make_checkpoint, manifest, tiny_config

from adamoe_ros.cli.main import main
from adamoe_ros.contract.joint_map import build_joint_map
from adamoe_ros.contract.observation import Observation
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.evaluation.execution import ExecutionPlan
from adamoe_ros.evaluation.rollout import EpisodeSettings, run_episode
from adamoe_ros.evaluation.sim_scene import SimScene
from adamoe_ros.sim.bimanual import BimanualSim


@pytest.fixture
def scene() -> Iterator[SimScene]:
    """The bar and both arms, in the checkpoint's units."""
    profile = load_profile(profile_path("aloha_sim", robots_dir()))
    made = SimScene(BimanualSim("lift_bar"), build_joint_map(profile, manifest()))
    yield made
    made.close()


def test_the_expert_succeeds_through_a_roll_out(scene: SimScene) -> None:
    """Its plan in chunks of the checkpoint's units lifts the bar."""
    seen: list[Observation] = []
    plans: dict[int, np.ndarray] = {}

    def expert(observation: Observation, seed: int) -> np.ndarray:
        seen.append(observation)
        if not plans:
            plans[0] = scene.joint_map.model_from_command(scene.sim.plan())
        start = round(observation.stamp_ns / 1e9 * scene.rate_hz)
        rows = np.minimum(np.arange(start, start + 50), len(plans[0]) - 1)
        return plans[0][rows]

    settings = EpisodeSettings(plan=ExecutionPlan(execute_rows=40))
    result = run_episode(scene, expert, "lift_bar", 7, settings)
    assert result.success
    assert result.instruction == "lift the yellow bar with both arms"
    first = seen[0]
    assert first.state[[6, 13]] == pytest.approx(1, abs=0.05)  # open
    assert {image.shape for image in first.images.values()} == {(480, 640, 3)}


def test_blind_means_black(scene: SimScene) -> None:
    seen: list[Observation] = []

    def stay(observation: Observation, seed: int) -> np.ndarray:
        seen.append(observation)
        return np.repeat(observation.state[None], 50, 0)

    result = run_episode(scene, stay, "lift_bar", 7, EpisodeSettings(max_ticks=3, blind=True))
    assert not result.success
    assert not any(image.any() for image in seen[0].images.values())


def test_evaluate_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An untrained policy fails; the figures say so, sighted and blind."""
    folder = make_checkpoint(tmp_path / "policy", tiny_config())
    out = tmp_path / "results.json"
    arguments = ["--checkpoint", str(folder), "--episodes", "2", "--max-time", "0.4", "--blind"]
    assert main(["evaluate", *arguments, "--seed", "3", "--out", str(out)]) == 0
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in table[1:]] == [
        ["sighted", "lift_bar", "0/2"],
        ["blind", "lift_bar", "0/2"],
    ]
    document = json.loads(out.read_text())
    assert document["settings"]["seeds"] == [3, 4]
    sighted = document["runs"]["sighted"]
    assert sighted["all"]["wilson_95"][0] == 0 and 0.6 < sighted["all"]["wilson_95"][1] < 0.7
    assert [episode["seed"] for episode in sighted["episodes"]] == [3, 4]
    assert sighted["inference"]["count"] == sum(e["inferences"] for e in sighted["episodes"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--task", "juggle"], "juggle"),
        (["--instruction", "dance"], "dance"),
        (["--robot", "nobody"], "nobody"),
    ],
)
def test_bad_wishes_are_one_line(
    arguments: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_checkpoint(tmp_path / "policy", tiny_config())
    assert main(["evaluate", "--checkpoint", str(folder), "--episodes", "1", *arguments]) == 2
    error = capsys.readouterr().err
    assert expected in error and error.startswith("adamoe evaluate: ")
