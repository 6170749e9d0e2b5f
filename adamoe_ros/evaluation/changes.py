# SPDX-License-Identifier: Apache-2.0
"""Another sentence while the arms move."""

from __future__ import annotations

from dataclasses import dataclass

from adamoe_ros.control.scheduling import InstructionChange

CHANGE_AFTER_S = 0.8  # the hands are on their way and have touched nothing


@dataclass(frozen=True)
class Change:
    """What is said instead, and when.

    Attributes:
        instruction: the second sentence.
        after_s: s of simulated time from the beginning.
        how: as ``policy_node``'s parameter ``instruction_change``.
    """

    instruction: str
    after_s: float = CHANGE_AFTER_S
    how: InstructionChange = "blend"
