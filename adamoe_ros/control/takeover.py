# SPDX-License-Identifier: Apache-2.0
"""A human takes the arms over: who has them, and the motion that the leader arms ask for.

A press of the dead-man counts when a release was heard before it: one that is held when the node
starts, after an emergency stop or after its signal was lost moves nothing. Where nothing is said of
a joint (one arm alone is led) it rests. What is asked for here goes through the gate like a chunk.
"""

from __future__ import annotations

from enum import Enum

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.topics import leader_topics
from adamoe_ros.control.gate import stopping_distance
from adamoe_ros.control.interpolation import SHORTEST_PASSAGE_S, Reference
from adamoe_ros.control.limits import JointLimits
from adamoe_ros.control.settings import Cause

Vector = NDArray[np.float64]

GRIPPER_START = 0.25  # of a gripper's range: a leader's may be this far away, or it would let go
LONGEST_STEP_S = 0.1  # between leader messages that is bridged evenly


class Hands(Enum):
    """Who has the arms."""

    POLICY = "policy"
    HUMAN = "human"
    PARKED = "parked"  # the human has let go, the policy has them not yet back


class Takeover(Reference):
    """Dead-man, leader and the reference motion that they ask for.

    Args:
        profile: the robot; without ``teleop`` nobody ever takes over.
        limits: of its joints.
        period_s: control period.

    Attributes:
        led: (J,) joints that a human leads.
        hands: who has the arms, as of the last ``look``.
        cause: why nobody moves them while PARKED.
    """

    def __init__(self, profile: RobotProfile, limits: JointLimits, period_s: float) -> None:
        super().__init__(limits)
        self._period_s = period_s
        columns = [column for topic in leader_topics(profile) for column in topic.columns]
        self.led = np.isin(np.arange(limits.joints), columns)
        self._timeout_ns = round(profile.teleop.deadman.timeout * 1e9) if profile.teleop else 0
        span = limits.high - limits.low
        self._start = np.where(
            limits.gripper, np.minimum(limits.start, GRIPPER_START * span), limits.start
        )
        self.restart()

    def restart(self) -> None:
        """Nothing has been heard."""
        self._held = self._armed = self._lost = False
        self.drop()
        self.deadman_ns: int | None = None
        self.leader_ns: int | None = None
        self._valid_until_ns = 0
        self._from: Vector = np.zeros(self._limits.joints)  # goal at _arrived_ns
        self._to = self._from.copy()  # ... and _step_ns later
        self._arrived_ns, self._step_ns = 0, 1
        self._jumped = False
        self._passage = None

    def drop(self) -> None:
        """Somebody stopped the arms: the human has them no more, and has to press anew."""
        self.hands, self.cause = Hands.POLICY, ""
        self._armed = self._armed and not self._held

    def went_back(self) -> None:
        """The clock went back: what was heard says nothing any more."""
        hands = self.hands
        self.restart()
        if hands is not Hands.POLICY:
            self.hands, self.cause = Hands.PARKED, Cause.DEADMAN_LOST

    # --- inputs ----------------------------------------------------------------------------------

    def deadman(self, held: bool, now_ns: int) -> None:
        """The switch spoke."""
        self._expire(now_ns)
        self._held, self.deadman_ns = held, now_ns
        self._armed |= not held

    def _expire(self, now_ns: int) -> None:
        """A switch that was silent for too long counts as let go."""
        if self._held and now_ns - (self.deadman_ns or 0) > self._timeout_ns:
            self._held = self._armed = False
            self._lost = True

    def leader(self, sample_ns: int, positions: Vector, valid_until_ns: int, now_ns: int) -> None:
        """The leaders are somewhere.

        Args:
            sample_ns: oldest stamp of a joint.
            positions: (J,) command units, finite; of joints that nobody leads: anything.
            valid_until_ns: from then on they are stale.
            now_ns: arrival.
        """
        before, stale = self.goal(now_ns), self.leader_stale(now_ns)
        self._to = np.where(self.led, positions, self._to)
        step = np.abs(self._to - before) > self._start
        self._jumped |= stale or bool((step & ~self._limits.gripper).any())
        self._from = self._to if self._jumped else before
        between_s = (now_ns - self._arrived_ns) / 1e9
        self._step_ns = round(min(max(between_s, self._period_s), LONGEST_STEP_S) * 1e9)
        self._arrived_ns, self._valid_until_ns = now_ns, valid_until_ns
        self.leader_ns = sample_ns

    # --- per tick --------------------------------------------------------------------------------

    def look(self, now_ns: int, allowed: bool, to_policy: bool) -> bool:
        """Once per tick: whether the arms have changed hands.

        Args:
            allowed: False: a press that is held now will not count later either.
            to_policy: a release gives the arms back at once, else they are parked.
        """
        before = self.hands
        self._expire(now_ns)
        if self._held and self._armed:
            self._armed = False
            if allowed and self.led.any():
                self.hands, self.cause = Hands.HUMAN, ""
        elif self.hands is Hands.HUMAN and (self._lost or not self._held):
            self._let_go(self._lost, to_policy)
        self._lost = False
        return self.hands is not before

    def _let_go(self, lost: bool, to_policy: bool) -> None:
        self.cause = Cause.DEADMAN_LOST if lost else "" if to_policy else Cause.TAKEOVER_RELEASED
        self.hands = Hands.PARKED if self.cause else Hands.POLICY

    def leader_stale(self, now_ns: int) -> bool:
        """No leader, or one of its joints is too old."""
        return self.leader_ns is None or now_ns > self._valid_until_ns

    def take_jump(self) -> bool:
        """Whether the leader is not where its motion led to: once after each such message."""
        jumped, self._jumped = self._jumped, False
        return jumped

    def far(self, now_ns: int, position: Vector) -> NDArray[np.bool_]:
        """(J,) joints whose leader is too far from the command (J,) to be followed from there."""
        return self.led & (np.abs(self.goal(now_ns) - position) > self._start)

    # --- the reference motion ---------------------------------------------------------------------

    def rebase(self, now_ns: int, position: Vector, velocity: Vector) -> None:
        """Let the reference pass smoothly from a given position and velocity to the leader."""
        limits = self._limits
        stop = stopping_distance(np.abs(velocity), limits.acceleration, self._period_s)
        rest = np.clip(position + np.copysign(stop, velocity), limits.low, limits.high)
        self._from, self._to = (np.where(self.led, at, rest) for at in (self._from, self._to))
        self._join(now_ns, position, velocity, SHORTEST_PASSAGE_S)

    def _motion(self, now_ns: int) -> tuple[Vector, Vector]:
        """Evenly from one leader message to the next, one message late: no step, no guess."""
        share = min(max((now_ns - self._arrived_ns) / self._step_ns, 0.0), 1.0)
        way = self._to - self._from
        rate = way * (1e9 / self._step_ns) if share < 1.0 else np.zeros_like(way)
        return self._from + share * way, rate
