# SPDX-License-Identifier: Apache-2.0
"""What every episode of an evaluation has in common; the options of ``adamoe evaluate``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from adamoe_ros.contract.parameters import ManagedParameters, Parameters, param, same_as
from adamoe_ros.control.policy_settings import PolicySettings
from adamoe_ros.control.settings import ControlSettings

Wording = Literal["usual", "any", "unseen"]
WORDINGS: tuple[Wording, ...] = get_args(Wording)


@dataclass(frozen=True)
class EvaluationSettings(Parameters):
    """Set for a whole evaluation.

    Attributes:
        instruction: what every scene asks for; None: the seed's.
        others: tasks that other instructions may come from.
    """

    robot: str = same_as(ManagedParameters, "robot", default="aloha_sim")
    strategy: str = same_as(PolicySettings, "strategy", default="rtc")
    execution_horizon: int = same_as(PolicySettings, "execution_horizon", default=25)
    latency_s: float = param(
        0.15,
        "Simulated, from an observation to its chunk; over ROS it is the real one.",
        unit="s",
        bounds=(0.0, 10.0),
    )
    smoothing_s: float = same_as(ControlSettings, "smoothing", default=0.3)
    max_time_s: float = param(
        15.0, "Simulated, until an episode counts as failed.", unit="s", bounds=(0.0, 3600.0)
    )
    settle_s: float = param(
        0.5, "That a judgement must hold without a break.", unit="s", bounds=(0.0, 10.0)
    )
    wording: Wording = param(  # noqa: RUF009
        "usual",
        "Of the sentences: the first phrasing, any of training's, or one that training never shows.",
        choices=WORDINGS,
    )
    instruction: str | None = None
    others: tuple[str, ...] = ()
    device: str = same_as(PolicySettings, "device")
    engine: str = same_as(PolicySettings, "engine")
    threads: int = same_as(PolicySettings, "threads")
    parallel: int = param(16, "Episodes in step.", bounds=(1, 4096))
    routing: bool = param(True, "Keep a record of the routers' decisions.")


@dataclass(frozen=True)
class LiberoSettings(Parameters):
    """What every episode of a LIBERO benchmark has in common; defaults are those of openpi's client.

    Attributes:
        parallel: episodes of a task that a process runs in turn before they are kept.
        robot, strategy: for the report; rows are executed open loop.
    """

    replan: int = param(5, "Rows of a chunk that are executed.", bounds=(1, 1000))
    idle_steps: int = param(10, "Steps before the policy, until things lie still.", bounds=(0, 200))
    seed: int = param(7, "Of the simulator and of the policy's noise.", bounds=(0, 2**31 - 1))
    parallel: int = same_as(EvaluationSettings, "parallel", default=5)
    robot: str = "LIBERO's Panda"
    strategy: str = "sync"
