# SPDX-License-Identifier: Apache-2.0
"""Parameters of policy_node."""

from __future__ import annotations

from dataclasses import dataclass

from adamoe_ros.contract.parameters import ManagedParameters, param
from adamoe_ros.control.policy_settings import PolicySettings


@dataclass(frozen=True)
class PolicyParameters(PolicySettings, ManagedParameters):
    """``PolicySettings`` and what the node alone has."""

    checkpoint: str = param("", "Checkpoint folder; empty with policy.")
    policy: str = param(
        "",
        "Server that infers instead of this computer, ws://host:port or wss://host:port (adamoe serve); "
        "device, engine and threads are the server's then.",
    )
    policy_token: str = param("", "File with the token that the server asks for.")
    policy_authority: str = param(
        "", "PEM file of who signed the server's certificate; empty: the system's authorities."
    )
    jpeg_quality: int = param(
        0, "Pictures go to the server as JPEG of this quality; 0: as they are.", bounds=(0, 100)
    )
    answer_timeout: float = param(
        1.0,
        "Longest time that the server's answer may take; then the link counts as lost and the arms hold.",
        unit="s",
        bounds=(0.05, 30.0),
    )
    link_patience: float = param(
        10.0,
        "How long the arms hold for a lost link, and go on, before the goal ends with POLICY_FAILED; "
        "0: it ends at once.",
        unit="s",
        bounds=(0.0, 3600.0),
        dynamic=True,
    )
    inference_nice: int = param(
        0,
        "How far the inference's threads stand back (nice) on cores that they share with control_node and "
        "drivers, 0: not at all. Not on a computer that is always busy: there the node waits for them.",
        bounds=(0, 19),
    )
    instruction_change: str = param(
        "blend",
        "What a new sentence does to the chunk that is being followed: it is used up (finish), "
        "replaced as soon as the next is ready (blend), or dropped at once (cut).",
        choices=("finish", "blend", "cut"),
        dynamic=True,
    )
    inject_latency: float = param(
        0.0,
        "Added to every inference, to see what a slower policy would do.",
        unit="s",
        bounds=(0.0, 2.0),
        dynamic=True,
    )
    preempt: bool = param(
        True,
        "A new goal takes over from the running one; false: it is refused.",
        dynamic=True,
    )
    feedback_rate: float = param(
        5.0,
        "Rate of the action's feedback.",
        unit="Hz",
        bounds=(0.5, 50.0),
        dynamic=True,
    )
    status_rate: float = param(
        10.0, "Rate of policy_status, the heartbeat.", unit="Hz", bounds=(5.0, 50.0)
    )
    input_timeout: float = param(
        5.0,
        "Activation waits so long for cameras and joints.",
        unit="s",
        bounds=(0.0, 60.0),
    )
    max_observation_age: float = param(
        0.5,
        "With older observations the arms hold.",
        unit="s",
        bounds=(0.02, 5.0),
        dynamic=True,
    )
    input_patience: float = param(
        2.0,
        "How long the arms hold for inputs that are late, and go on, before the goal ends with INPUT_LOST.",
        unit="s",
        bounds=(0.0, 60.0),
        dynamic=True,
    )
    check_state: bool = param(
        True, "Activation refuses a pose outside of the training data's range."
    )
    state_margin: float = param(
        0.2, "How far outside, as a share of that range.", bounds=(0.0, 10.0)
    )
    latency_window: int = param(
        200, "Inferences that the latency percentiles cover.", bounds=(10, 10000)
    )
