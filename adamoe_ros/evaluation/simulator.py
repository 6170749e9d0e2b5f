# SPDX-License-Identifier: Apache-2.0
"""A checkpoint's success in the embedded simulator, in this process, seed by seed.

May import: contract, sim, policy, torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.joint_map import build_joint_map
from adamoe_ros.contract.observation import Observation
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.evaluation.rollout import EpisodeResult, EpisodeSettings, run_episode
from adamoe_ros.evaluation.sim_scene import SimScene
from adamoe_ros.sim.bimanual import CONTROL_RATE, BimanualSim
from adamoe_ros.sim.tasks import make_task

if TYPE_CHECKING:
    from adamoe_ros.policy.runtime import PolicyRuntime

Report = Callable[[EpisodeResult], None]


class PolicyPlayer:
    """A policy as a roll-out calls it; the noise of a chunk follows from its seed.

    Attributes:
        seconds: wall clock of every inference, from pictures to commands.
    """

    def __init__(self, runtime: PolicyRuntime) -> None:
        self.runtime = runtime
        self.seconds: list[float] = []

    def __call__(self, observation: Observation, seed: int) -> NDArray[np.float64]:
        """(H, J) rows in the checkpoint's units."""
        output = self.runtime.infer(observation, self.runtime.noise(seed))
        self.seconds.append(output.stages["total"])
        return output.actions

    def timing(self) -> dict[str, float]:
        """p50 and p95 of an inference, s, and how many there were."""
        p50, p95 = np.percentile(self.seconds, [50, 95])
        return {
            "p50_s": round(float(p50), 4),
            "p95_s": round(float(p95), 4),
            "count": len(self.seconds),
        }


def evaluate_task(
    player: PolicyPlayer,
    task: str,
    seeds: Sequence[int],
    settings: EpisodeSettings,
    instruction: str | None = None,
    robot: str = "aloha_sim",
    report: Report | None = None,
) -> list[EpisodeResult]:
    """Run one episode for each seed.

    Args:
        instruction: sentence; None: the task's usual one.
        robot: profile with the simulator's units.
        report: called after every episode.

    Raises:
        ContractError: unknown task, or checkpoint and simulated robot do not fit.
    """
    make_task(task)  # an unknown one is told before anything is built
    manifest = player.runtime.checkpoint.manifest
    if manifest.control_rate_hz != CONTROL_RATE:
        where, do = "manifest: control_rate_hz", "evaluate it on its own robot"
        raise ContractError(problem(where, f"{CONTROL_RATE} Hz", manifest.control_rate_hz, do))
    profile = load_profile(profile_path(robot, robots_dir()))
    joint_map = build_joint_map(profile, manifest)
    scene = SimScene(BimanualSim(task, instruction), joint_map)
    results = []
    try:
        for seed in seeds:
            result = run_episode(scene, player, task, seed, settings)
            results.append(result)
            if report is not None:
                report(result)
    finally:
        scene.close()
    return results
