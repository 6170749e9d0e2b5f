# SPDX-License-Identifier: Apache-2.0
"""How a policy runs and its chunks follow each other: declared here for nodes, commands and settings.

Where a caller's default differs, it says so with ``same_as(PolicySettings, name, default=...)``.
"""

from __future__ import annotations

from dataclasses import dataclass

from adamoe_ros.contract.parameters import Parameters, param
from adamoe_ros.control.strategies import STRATEGIES


@dataclass(frozen=True)
class PolicySettings(Parameters):
    """What ``policy_node``, evaluation and replay have in common."""

    device: str = param(
        "auto",
        "Where the model runs: cpu, cuda, cuda:N; auto is CUDA where there is a device.",
    )
    engine: str = param(
        "auto",
        "What runs the network: eager (as it is written), packed (CPU), captured (CUDA graphs); auto "
        "is the fastest of the device, and eager with rtc_jacobian vjp.",
        choices=("auto", "eager", "packed", "captured"),
    )
    flow_steps: int = param(
        0, "Flow-matching steps of an inference; 0: the checkpoint's.", bounds=(0, 100)
    )
    seed: int = param(
        -1,
        "Seed of the initial noise; -1: a new one at every start.",
        bounds=(-1, 2**31 - 1),
    )
    threads: int = param(0, "CPU threads of the model; 0: torch decides.", bounds=(0, 256))
    strategy: str = param(
        "async",
        "How chunks follow each other; the same in policy_node and control_node.",
        choices=tuple(STRATEGIES),
    )
    execution_horizon: int = param(
        0,
        "Rows of a chunk that are used before the next replaces it; 0: half.",
        bounds=(0, 1000),
    )
    age_budget: float = param(
        0.0,
        "A chunk whose observation is older than this when it is ready is dropped; 0: as long as a "
        "row of it is left.",
        unit="s",
        bounds=(0.0, 10.0),
    )
    rtc_jacobian: str = param(
        "identity",
        "How strategy rtc differentiates its guess of the finished chunk: not at all (identity), or "
        "back through the network (vjp), as the paper does.",
        choices=("identity", "vjp"),
    )
    rtc_max_weight: float = param(
        0.0,
        "Clip of the guidance weight of strategy rtc; 0: as many as flow steps. From twice the flow "
        "steps on it is refused.",
        bounds=(0.0, 100.0),
    )
