# SPDX-License-Identifier: Apache-2.0
"""The page as a leader: a dead-man that somebody holds there, and joints that are jogged from it.

For profiles with ``teleop.console``. While nobody holds it the leader is where the arms are commanded, as
motorised leader arms would be; held, it goes from there as it is jogged, never far ahead of the arms. Every
word of the page counts for a moment only: a browser or network that goes lets the dead-man go.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.topics import leader_topics
from adamoe_ros.control.limits import joint_limits
from adamoe_ros.control.takeover import GRIPPER_START

Vector = NDArray[np.float64]

WORD_S = 0.3  # that the page's word counts
PERIOD_S = 0.02  # of ``step``
_STATUS_S = 0.5  # without a control_status nobody leads
_FAREWELL_S = 0.5  # that the dead-man is said to be let go after somebody left
_SHARE = 0.15  # of the joints' velocity limits, at full jog
_AHEAD_S = 0.25  # of full jog that the leader may be ahead of the arms
_WITHIN = 0.8  # of the distance from which on control calls a leader far


class PageLeader:
    """Leader and dead-man of one robot. Called from several threads.

    Args:
        profile: with ``teleop``.
        clock: monotonic s.

    Attributes:
        by: who has the leader; empty: nobody.
        held: whether the dead-man was held in the last ``step``.
    """

    def __init__(self, profile: RobotProfile, clock: Callable[[], float] = time.monotonic) -> None:
        assert profile.teleop is not None
        self._clock, self._turn = clock, threading.Condition()
        self._columns = {name: column for column, name in enumerate(profile.joint_ids)}
        self._limits = limits = joint_limits(profile)
        self._led = [column for topic in leader_topics(profile) for column in topic.columns]
        self._deadman_s = profile.teleop.deadman.timeout
        start = np.where(limits.gripper, GRIPPER_START * (limits.high - limits.low), limits.start)
        self._speed = _SHARE * limits.velocity
        self._ahead = np.minimum(_AHEAD_S * self._speed, _WITHIN * start)
        self._arms: Vector | None = None  # commanded
        self._target: Vector = np.zeros(limits.joints)
        self._jog: Vector = np.zeros(limits.joints)
        self._pressed = self._armed = self.held = False
        self._heard = self._arms_at = self._spoken = self._foreign = -math.inf
        self._left = -math.inf
        self.by = ""

    @property
    def joints(self) -> list[str]:
        """That can be jogged."""
        names = list(self._columns)
        return [names[column] for column in sorted(self._led)]

    # --- from control ----------------------------------------------------------------------------

    def arms(self, commanded: Sequence[float], deadman_age: float) -> None:
        """Of ``control_status``: (J,) command units, empty before the first; s, negative: never."""
        with self._turn:
            now = self._clock()
            if 0.0 <= deadman_age < self._deadman_s and now - self._spoken > 2 * _FAREWELL_S:
                self._foreign = now
            if len(commanded) == len(self._columns):
                self._arms, self._arms_at = np.array(commanded, dtype=np.float64), now

    # --- from the page ---------------------------------------------------------------------------

    def take(self, who: str) -> None:
        """Somebody wants to lead.

        Raises:
            ContractError: somebody else does, another switch is heard, or control is silent.
        """
        with self._turn:
            now = self._clock()
            where = "leading from the page"
            if self.by:
                do = f"ask {self.by} to end it"
                raise ContractError(problem(where, "nobody who leads", self.by, do))
            if now - self._foreign < 2 * _FAREWELL_S:
                do = "lead with that one, or end its node"
                raise ContractError(problem(where, "no other dead-man", "one that is heard", do))
            if not self._follows(now):
                do = "look at control_node"
                raise ContractError(problem(where, "control_status", "none", do))
            self.by, self._pressed, self._armed = who, False, False
            self._turn.notify_all()

    def say(self, who: str, pressed: bool, jog: Mapping[str, float], age: float = 0.0) -> None:
        """What the page of whoever leads says.

        Args:
            jog: joint -> -1 ... 1 of the jog speed; joints that are not named rest.
            age: s, at most, since it said so.
        """
        with self._turn:
            if who != self.by or age >= WORD_S:
                return
            self._heard = self._clock() - age
            self._armed |= not pressed  # a press counts only after the page has let go
            self._pressed = pressed
            self._jog[:] = 0.0
            for name, share in jog.items():
                if name in self._columns and math.isfinite(share):
                    self._jog[self._columns[name]] = min(max(share, -1.0), 1.0)

    def leave(self, who: str) -> None:
        """The page does not lead any more; also when it has gone."""
        with self._turn:
            if who == self.by:
                self.by, self._left = "", self._clock()
            self._turn.notify_all()

    # --- for the topics --------------------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        """Until there is something to say, or for so long."""
        with self._turn:
            if not self._speaks(self._clock()):
                self._turn.wait(seconds)

    def step(self) -> tuple[bool, Vector] | None:
        """Once in ``PERIOD_S``: whether the dead-man is held, (J,) where the leader is; None: silence."""
        with self._turn:
            now = self._clock()
            if not self._speaks(now) or self._arms is None:
                self.held = False
                return None
            self._spoken = now
            if now - self._heard > WORD_S or not self._follows(now):
                self._armed = False
            before, self.held = self.held, bool(self.by) and self._pressed and self._armed
            if not (before and self.held):
                self._target = self._arms.copy()
            if self.held:
                self._move(self._arms)
            return self.held, self._target.copy()

    def _move(self, arms: Vector) -> None:
        limits = self._limits
        moved = self._target + self._jog * self._speed * PERIOD_S
        near = np.clip(moved, arms - self._ahead, arms + self._ahead)
        self._target = np.clip(near, limits.low, limits.high)

    def _speaks(self, now: float) -> bool:
        return bool(self.by) or now - self._left < _FAREWELL_S

    def _follows(self, now: float) -> bool:
        return now - self._arms_at < _STATUS_S
