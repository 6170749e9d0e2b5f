# SPDX-License-Identifier: Apache-2.0
"""Emergency stop: latched by anyone, released only by a reset while the inputs are healthy."""

from __future__ import annotations

from collections.abc import Sequence


class EmergencyStop:
    """The latch.

    Attributes:
        latched: nothing may move.
        pressed: the topic's last word; a reset is refused while it is True.
    """

    def __init__(self) -> None:
        self.latched = False
        self.pressed = False

    def press(self, pressed: bool = True) -> None:
        """The button (topic) spoke; False says that it is out again, and never releases the latch."""
        self.pressed = pressed
        self.latched = self.latched or pressed

    def latch(self) -> None:
        """The service spoke: a stop without a button that would have to come out again."""
        self.latched = True

    def reset(self, unhealthy: Sequence[str]) -> str:
        """Release the latch.

        Args:
            unhealthy: what is wrong with the inputs, for people.

        Returns:
            Why it stays latched; empty: it is released.
        """
        if not self.latched:
            return "there is no emergency stop to reset"
        reasons = ["the stop is still pressed"] if self.pressed else []
        reasons += unhealthy
        if not reasons:
            self.latched = False
        return "; ".join(reasons)
