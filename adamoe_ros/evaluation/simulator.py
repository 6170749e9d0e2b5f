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
from adamoe_ros.evaluation.rollout import EpisodeResult, EpisodeSettings, Infer, run_episode
from adamoe_ros.evaluation.sim_scene import SimScene
from adamoe_ros.sim.bimanual import CONTROL_RATE, BimanualSim
from adamoe_ros.sim.tasks import make_task

if TYPE_CHECKING:
    from adamoe_ros.policy.runtime import PolicyRuntime

Report = Callable[[EpisodeResult], None]


def policy_infer(runtime: PolicyRuntime) -> Infer:
    """The policy as a roll-out calls it; the noise of a chunk follows from its seed."""

    def infer(observation: Observation, seed: int) -> NDArray[np.float64]:
        return runtime.infer(observation, runtime.noise(seed)).actions

    return infer


def evaluate_task(
    runtime: PolicyRuntime,
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
    manifest = runtime.checkpoint.manifest
    if manifest.control_rate_hz != CONTROL_RATE:
        where, do = "manifest: control_rate_hz", "evaluate it on its own robot"
        raise ContractError(problem(where, f"{CONTROL_RATE} Hz", manifest.control_rate_hz, do))
    profile = load_profile(profile_path(robot, robots_dir()))
    sim = BimanualSim(task, instruction)
    scene = SimScene(sim, build_joint_map(profile, manifest))
    infer, results = policy_infer(runtime), []
    try:
        for seed in seeds:
            result = run_episode(scene, infer, task, sim.instruction, seed, settings)
            results.append(result)
            if report is not None:
                report(result)
    finally:
        scene.close()
    return results
