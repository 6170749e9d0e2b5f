# SPDX-License-Identifier: Apache-2.0
"""Parameters of sim_node."""

from __future__ import annotations

from dataclasses import dataclass

from adamoe_ros.contract.parameters import ManagedParameters, Parameters, param, same_as


@dataclass(frozen=True)
class SimParameters(Parameters):
    """Parameters of sim_node, declared here and nowhere else."""

    robot: str = same_as(ManagedParameters, "robot", default="aloha_sim")
    task: str = param("lift_bar", "Task that is set up at the start; registry name.")
    instruction: str = param("", "Sentence of the first episode; empty: the task's own.")
    seed: int = param(0, "Seed of the first episode.", bounds=(0, 2**31 - 1))
    real_time_factor: float = param(
        1.0,
        "Simulated seconds per second, at most; less where the machine cannot follow.",
        bounds=(0.02, 50.0),
        dynamic=True,
    )
    clock_rate: float = param(
        100.0, "Rate of /clock in simulation time.", unit="Hz", bounds=(50.0, 500.0)
    )
    publish_clock: bool = param(True, "Publish /clock, so that others may use simulation time.")
    camera_rate: float = param(
        25.0, "Rate of the cameras in simulation time.", unit="Hz", bounds=(1.0, 60.0)
    )
    status_rate: float = param(
        10.0, "Rate of task_status in simulation time.", unit="Hz", bounds=(1.0, 50.0)
    )
    human: bool = param(
        False,
        "The scripted expert takes over with the profile's leader arms: true presses its dead-man, "
        "false lets it go.",
        dynamic=True,
    )
    trace: str = param(
        "",
        "Folder for the simulator's states of each episode (.npz, for videos); empty: none.",
    )
