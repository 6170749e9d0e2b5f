# SPDX-License-Identifier: Apache-2.0
"""Why arms may not move: named doubts (inputs missing, arms that do not follow), emergency stop.

Each has a name that appears as ``hold_cause``; the arms brake and hold while a doubt lasts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.topics import state_topics
from adamoe_ros.control.limits import JointLimits

Vector = NDArray[np.float64]

DIVERGED_SHARE = 0.9  # of the allowed tracking error, and ...
DIVERGED_S = 0.3  # ... for this long: the arms do not follow
RECOVERED_SHARE = 0.5  # of it: they follow again


class Watchdogs:
    """Ages of the inputs and the distance between command and feedback.

    Args:
        profile: time-outs.
        limits: allowed tracking errors.
    """

    def __init__(self, profile: RobotProfile, limits: JointLimits) -> None:
        self.state_timeout_ns = round(
            max(topic.source.timeout for topic in state_topics(profile)) * 1e9
        )
        self._policy_ns = round(profile.watchdogs.policy * 1e9)
        self._limits = limits
        self.restart()

    def restart(self) -> None:
        """Nothing has been heard."""
        self.measured: Vector | None = None
        self.state_ns: int | None = None
        self.policy_ns: int | None = None
        self._valid_until_ns = 0
        self._diverging_since_ns: int | None = None
        self._diverged = False
        self._fresh = False
        self._heard_ns = 0

    def state(self, stamp_ns: int, measured: Vector, valid_until_ns: int | None) -> None:
        """A joint state arrived.

        Args:
            stamp_ns: of its oldest part.
            measured: (J,) command units, finite.
            valid_until_ns: when the first of its topics times out; None: the longest time-out.
        """
        self.measured = measured
        self.state_ns = stamp_ns
        self._valid_until_ns = valid_until_ns or stamp_ns + self.state_timeout_ns
        self._fresh = True

    def heartbeat(self, now_ns: int) -> None:
        """The policy is alive."""
        self.policy_ns = now_ns

    def went_back(self, now_ns: int) -> None:
        """The clock went back: what was stamped with later times says nothing any more."""
        if self.state_ns is not None and self.state_ns > now_ns:
            self.measured = self.state_ns = None
            self._fresh = False
        if self.policy_ns is not None and self.policy_ns > now_ns:
            self.policy_ns = None
        self._heard_ns = min(self._heard_ns, now_ns)
        self._diverging_since_ns = None

    def look(self, now_ns: int, command: Vector) -> None:
        """Once per tick, before the questions below."""
        if self._fresh:
            self._heard_ns, self._fresh = now_ns, False
        if self.measured is None:
            return
        error = np.abs(command - self.measured)
        if (error <= RECOVERED_SHARE * self._limits.tracking).all():
            self._diverged = False
        if (error <= DIVERGED_SHARE * self._limits.tracking).all():
            self._diverging_since_ns = None
        elif self._diverging_since_ns is None:
            self._diverging_since_ns = now_ns
        elif now_ns - self._diverging_since_ns > DIVERGED_S * 1e9:
            self._diverged = True

    def state_stale(self, now_ns: int) -> bool:
        """No joint state, or too old by its stamp, or (whatever the stamp says) none arriving."""
        return (
            self.measured is None
            or now_ns > self._valid_until_ns
            or now_ns - self._heard_ns > self.state_timeout_ns
        )

    def policy_lost(self, now_ns: int) -> bool:
        """No heartbeat within the time-out."""
        return self.policy_ns is None or now_ns - self.policy_ns > self._policy_ns

    @property
    def diverged(self) -> bool:
        """The arms do not follow the command."""
        return self._diverged

    def state_age_s(self, now_ns: int) -> float:
        """s; negative: never received."""
        return -1.0 if self.state_ns is None else max(0.0, (now_ns - self.state_ns) / 1e9)

    def policy_age_s(self, now_ns: int) -> float:
        """s; negative: never received."""
        return -1.0 if self.policy_ns is None else max(0.0, (now_ns - self.policy_ns) / 1e9)


class EmergencyStop:
    """The latch: set by anyone, released only by a reset while the inputs are healthy.

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
