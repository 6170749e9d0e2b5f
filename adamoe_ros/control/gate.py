# SPDX-License-Identifier: Apache-2.0
"""The safety gate: whatever it is asked for, what it gives stays inside the joints' limits.

Pure numpy; knows nothing of chunks or policies. Its state is the last published command (position
p, velocity v, constant over a control period T). A tick chooses v' and publishes p' = p + v' T.
Every choice keeps

    |v'| <= V,   |v' - v| <= A T,   low <= p' and high >= p', and from (p', v') the joint can still
    stop inside [low, high] with |a| <= A,

so the next tick has a choice as well: no command ever leaves position, velocity or acceleration
limits. The stopping distance is that of the discrete motion, hence exact and not an estimate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.control.limits import JointLimits

Vector = NDArray[np.float64]
Counts = NDArray[np.int64]

# Share of the acceleration limit that catching up with a moving target plans with; the rest is left
# for the target's own acceleration, otherwise the approach would overshoot it.
APPROACH = 0.6
_ROUNDING = 1e-9  # relative; a clip smaller than this is arithmetic, not an intervention


def reachable_speed(gap: Vector, acceleration: Vector, period_s: float) -> Vector:
    """Fastest next velocity from which a joint still stops within a distance.

    With v = r + n A T (0 <= r < A T) the discrete motion v, v - A T, ..., r covers
    T ((n + 1) v - A T n (n + 1) / 2); this is its inverse.

    Args:
        gap: (J,) distance that is left, >= 0, rad or m.
        acceleration: (J,) largest deceleration A, > 0.
        period_s: T.

    Returns:
        (J,) speed >= 0 of the coming period.
    """
    step = acceleration * period_s
    whole = np.floor((np.sqrt(1.0 + 8.0 * gap / (step * period_s)) - 1.0) / 2.0)
    speed: Vector = gap / (period_s * (whole + 1.0)) + step * whole / 2.0
    return speed


def stopping_distance(speed: Vector, acceleration: Vector, period_s: float) -> Vector:
    """Distance covered after this period until rest, braking at the limit; inverse of the above.

    Args:
        speed: (J,) magnitude of the current velocity.
        acceleration: (J,) deceleration A, > 0.
        period_s: T.
    """
    step = acceleration * period_s
    whole = np.floor(speed / step)
    distance: Vector = period_s * (whole * speed - step * whole * (whole + 1.0) / 2.0)
    return distance


@dataclass
class Clips:
    """Ticks with an intervention, per joint and cause, (J,) int64."""

    position: Counts
    velocity: Counts
    acceleration: Counts
    step: Counts
    workspace: int = field(default=0)

    @classmethod
    def zeros(cls, joints: int) -> Clips:
        """No intervention yet."""
        first, second, third, fourth = np.zeros((4, joints), np.int64)
        return cls(first, second, third, fourth)


class Gate:
    """Turns wanted positions into commands that keep the limits.

    Args:
        limits: of every joint.
        period_s: control period T; one call of ``step`` or ``brake`` per period.
        inside: optional workspace check of a pose (J,); None: no check.
    """

    def __init__(
        self,
        limits: JointLimits,
        period_s: float,
        inside: Callable[[Vector], bool] | None = None,
    ) -> None:
        self.limits = limits
        self.period_s = period_s
        self.clips = Clips.zeros(limits.joints)
        self.position: Vector = np.zeros(limits.joints)
        self.velocity: Vector = np.zeros(limits.joints)
        self._inside = inside
        self._step = limits.acceleration * period_s

    def start(self, position: Vector) -> None:
        """Begin at rest; values outside of the position limits are taken to the nearest one."""
        self.position = np.clip(position, self.limits.low, self.limits.high)
        self.velocity = np.zeros_like(self.position)

    def latch(self) -> None:
        """Stop here: the last command stays as it is, and the next motion starts from rest."""
        self.velocity = np.zeros_like(self.position)

    @property
    def at_rest(self) -> bool:
        """Whether the last command stood still."""
        return not self.velocity.any()

    def brake(self) -> None:
        """One period of coming to rest, inside the acceleration limit."""
        self._move(np.zeros_like(self.velocity))

    def step(
        self,
        target: Vector,
        target_velocity: Vector,
        measured: Vector | None = None,
        speed_scale: float = 1.0,
    ) -> None:
        """One period towards a target; ``position`` and ``velocity`` are the command then.

        Args:
            target: (J,) wanted position now.
            target_velocity: (J,) its rate of change.
            measured: (J,) measured pose in command units; None: that distance is not limited.
            speed_scale: share of the velocity limits that may be used, 0..1.
        """
        if not (np.isfinite(target).all() and np.isfinite(target_velocity).all()):
            self.brake()
            return
        limits, clips, period = self.limits, self.clips, self.period_s
        bounded = np.clip(target, limits.low, limits.high)
        outside = bounded != target
        clips.position += np.abs(bounded - target) > _ROUNDING
        if measured is not None:
            near = np.clip(bounded, measured - limits.tracking, measured + limits.tracking)
            near = np.clip(near, limits.low, limits.high)
            clips.step += near != bounded
            outside |= near != bounded
            bounded = near
        rate = np.where(outside, 0.0, target_velocity)
        gap = bounded - self.position - rate * period
        catch_up = reachable_speed(np.abs(gap), APPROACH * limits.acceleration, period)
        wanted = rate + np.copysign(catch_up, gap)
        top = limits.velocity * speed_scale
        slower = np.clip(wanted, -top, top)
        clips.velocity += np.abs(wanted) > top * (1.0 + _ROUNDING)
        clips.acceleration += np.abs(slower - self.velocity) > self._step * (1.0 + _ROUNDING)
        before = self.position, self.velocity
        self._move(slower)
        if self._inside is not None and not self._stops_inside(self._inside):
            self.position, self.velocity = before
            clips.workspace += 1
            self.brake()

    def _move(self, wanted: Vector) -> None:
        """Publish the velocity nearest to the wanted one that keeps every limit."""
        limits, period = self.limits, self.period_s
        low = np.maximum(self.velocity - self._step, -limits.velocity)
        high = np.minimum(self.velocity + self._step, limits.velocity)
        velocity = np.clip(wanted, low, high)
        down = reachable_speed(self.position - limits.low, limits.acceleration, period)
        up = reachable_speed(limits.high - self.position, limits.acceleration, period)
        velocity = np.clip(velocity, -down, up)
        self.position = np.clip(self.position + velocity * period, limits.low, limits.high)
        self.velocity = velocity

    def _stops_inside(self, inside: Callable[[Vector], bool]) -> bool:
        rest = stopping_distance(np.abs(self.velocity), self.limits.acceleration, self.period_s)
        return inside(self.position) and inside(self.position + np.copysign(rest, self.velocity))
