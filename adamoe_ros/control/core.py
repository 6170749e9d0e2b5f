# SPDX-License-Identifier: Apache-2.0
"""The control core: everything ``control_node`` decides, without ROS.

Called from one thread, with the time in ns of one clock (ROS time). ``tick``, once per control
period, gives exactly one command. Two ways of stopping (doc/decisions/010-control-stops.md):

* somebody stops (cancel, emergency stop, deactivate): the last published command stays, from that
  tick on; a new RUN is needed;
* doubt (state stale, policy lost, no chunk, tracking error): the arms brake inside their
  acceleration limits from that tick on and hold; motion resumes smoothly when the doubt is gone.

While a human has the arms (``takeover``) the leader is followed in the chunks' stead, through the same
gate and under the same doubts; a HOLD is the policy's word about its chunks and does not stop a human.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.chunk import ActionChunk
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.control.admission import (
    TOO_FAR,
    ChunkCheck,
    ChunkRefusedError,
    check_start_pose,
    far_joints,
    impossible_joints,
    named_distances,
)
from adamoe_ros.control.gate import Gate
from adamoe_ros.control.limits import joint_limits, measured_to_command
from adamoe_ros.control.metrics import SeamMetrics
from adamoe_ros.control.settings import AT_LAST_ROW, Cause, ControlSettings
from adamoe_ros.control.status import ChunkVerdict, ControlSnapshot, Mode, Source, TickResult
from adamoe_ros.control.strategies import make_strategy
from adamoe_ros.control.takeover import Hands, Takeover
from adamoe_ros.control.timeline import Timeline
from adamoe_ros.control.watchdog import EmergencyStop, Watchdogs

Vector = NDArray[np.float64]

SAME_POSE = 0.05  # rad or m: an arm this close to the held command has not been moved by hand
CLOCK_SLEW_S = 0.1  # time going back by less is a correction: it stands still until it is made up
STALL_S = 0.25  # after a longer pause the arms stand, and the reference starts from there
LONGEST_REASON = 80  # characters of a HOLD's reason that are kept
RAMP_ARRIVED = 0.1  # of the allowed start distance: the slow approach is over
_DEFAULTS = ControlSettings()


class ControlCore:
    """Follows chunks within limits, and holds on doubt.

    Args:
        profile: the robot.
        settings: parameters of the node.
        inside: workspace check of a pose in command units; None: no workspace.

    Attributes:
        settings: replace it to change what may change while active.
        joint_ids: order of every vector here.
        period_s: control period.
        metrics: of the seams since activation.
    """

    def __init__(
        self,
        profile: RobotProfile,
        settings: ControlSettings = _DEFAULTS,
        inside: Callable[[Vector], bool] | None = None,
    ) -> None:
        self.settings = settings
        self.profile = profile
        self.joint_ids = profile.joint_ids
        self.limits = joint_limits(profile)
        self.period_s = 1.0 / (settings.rate or profile.command_rate)
        self.gate = Gate(self.limits, self.period_s, inside)
        self.estop = EmergencyStop()
        self.metrics = SeamMetrics(self.limits.joints, self.period_s)
        self._to_command = measured_to_command(profile)
        self._strategy = make_strategy(settings.strategy)
        self._timeline = Timeline(self.limits, self._strategy, settings.smoothing)
        self._watch = Watchdogs(profile, self.limits)
        self._check = ChunkCheck(profile.joint_ids, self.limits)
        self._takeover = Takeover(profile, self.limits, self.period_s)
        self._inside = inside
        self._commanded = False
        self._active = False
        self._conflict = ""
        self._restart(0)

    def _restart(self, now_ns: int) -> None:
        self._stop_cause = Cause.NOT_STARTED
        self._mode, self._source, self._cause = Mode.INACTIVE, Source.NONE, ""
        self._taken_over = False
        self._conflict_detail = ""
        self._takeover.restart()
        self._generation = 0
        self._now_ns = now_ns
        self._following = False
        self._clock_jumped = False
        self._guard_start = True
        self._ramping = False
        self._rejected_in_a_row = 0
        self._chunk_ns: int | None = None
        self._ticks = self._holds = 0
        self._accepted = self._rejected = self._late = 0

    # --- lifecycle -------------------------------------------------------------------------------

    def activate(self, now_ns: int, measured: Vector) -> None:
        """Begin to hold: the last command if the arms are still there, else the measured pose.

        Args:
            measured: (J,) driver's state units.

        Raises:
            ContractError: a joint is outside of its position limits by more than 5 % of its range;
                or the pose is outside of the workspace. Nothing is published then.
            ValueError: it is active already.
        """
        if self._active:
            raise ValueError("active already")
        pose = self._to_command.apply(measured)
        check_start_pose(self.joint_ids, self.limits, pose, self._inside)
        self._restart(now_ns)
        self._watch.restart()
        self._watch.state(now_ns, pose, None)
        self._timeline = Timeline(self.limits, self._strategy, self.settings.smoothing)
        self.metrics = SeamMetrics(self.limits.joints, self.period_s)
        if not (self.estop.latched and self._commanded):
            self._hold_pose(pose)
        self._active = True

    def _hold_pose(self, pose: Vector) -> None:
        """Hold at the last command where the arms still are; grippers keep their grip then."""
        near = np.abs(pose - self.gate.position) <= SAME_POSE
        if self._commanded and bool(near[~self.limits.gripper].all()):
            self.gate.latch()
        else:
            self.gate.start(pose)

    def deactivate(self) -> None:
        """Stop and publish nothing any more; the last command stays what the drivers have."""
        self._halt(Cause.NOT_STARTED)
        self._active = False
        self._mode, self._source, self._cause = Mode.INACTIVE, Source.NONE, ""
        self._taken_over = False

    # --- inputs ----------------------------------------------------------------------------------

    def on_state(self, stamp_ns: int, measured: Vector, valid_until_ns: int | None = None) -> str:
        """A complete joint state.

        Args:
            stamp_ns: of its oldest part.
            measured: (J,) driver's state units.
            valid_until_ns: as in ``streams.joint_states.JointSample``.

        Returns:
            The joints that cannot be where they are said to be, for people: the state is ignored
            then. Empty: it was taken.
        """
        with np.errstate(over="ignore"):  # a driver may say anything; infinity is refused below
            pose = self._to_command.apply(measured)
        impossible = impossible_joints(self.joint_ids, self.limits, pose)
        if not impossible:
            self._watch.state(stamp_ns, pose, valid_until_ns)
        return impossible

    def on_heartbeat(self, now_ns: int) -> None:
        """``policy_status`` arrived."""
        self._watch.heartbeat(now_ns)

    def on_run(self, generation: int) -> None:
        """Follow chunks of this generation only. Another one before it is left by braking."""
        if not self._active or self.estop.latched or self._conflict:
            return
        if self._stop_cause in ("", Cause.TAKEOVER) and generation == self._generation:
            return  # after a takeover, too: what was planned before it counts no more
        if self._takeover.hands is Hands.PARKED:
            self._takeover.drop()
        self._generation = generation
        self._stop_cause = ""
        self._timeline.clear()
        self.metrics.interrupt()
        self._guard_start = True
        self._rejected_in_a_row = 0
        self._clock_jumped = False

    def on_hold(self, reason: str = "stopped") -> None:
        """Stop: the last command stays, from the next tick on; a RUN is needed to move again."""
        if not self._active:
            return
        words = "_".join(reason.lower().split())
        plain = "".join(filter(str.isprintable, words))  # a NUL would end it on its way
        cause = plain[:LONGEST_REASON] or "stopped"
        if self._takeover.hands is Hands.HUMAN:
            self._stop_cause = cause
        else:
            self._halt(cause)

    def on_conflict(self, detail: str) -> None:
        """Another node has a hand in this robot: the arms brake, and no RUN counts until it is gone.

        Args:
            detail: who and what to do, for people; empty: nobody, or nobody any more.
        """
        self._conflict = detail
        if detail and self._active:
            self._stop_cause, self._conflict_detail = Cause.CONFLICT, detail
            self._takeover.drop()
            self._forget_chunks()

    def on_estop(self, pressed: bool = True) -> None:
        """The button; True latches, False only says that it is out again."""
        self.estop.press(pressed)
        if self.estop.latched:
            self._halt(Cause.EMERGENCY_STOP)

    def on_estop_call(self) -> None:
        """The emergency stop without a button: it latches."""
        self.estop.latch()
        self._halt(Cause.EMERGENCY_STOP)

    def reset(self, now_ns: int) -> str:
        """Release the emergency stop; arms that moved meanwhile are held where they are measured.

        Returns:
            Why not, for people; empty: done. A new RUN is needed to move.
        """
        unhealthy = ["no fresh joint states"] if self._watch.state_stale(now_ns) else []
        refused = self.estop.reset(unhealthy)
        if not refused:
            self._stop_cause = Cause.RESET
            if self._active and self._watch.measured is not None:
                self._hold_pose(self._watch.measured)
        return refused

    def _halt(self, cause: str) -> None:
        self._stop_cause = cause
        self._takeover.drop()
        self.gate.latch()
        self._timeline.clear()
        self.metrics.interrupt()
        self._following = self._ramping = False

    def on_deadman(self, held: bool, now_ns: int) -> None:
        """The dead-man spoke; held after it was let go, the human takes over with the next tick."""
        self._takeover.deadman(held, now_ns)

    def on_leader(self, stamp_ns: int, positions: Vector, valid_until_ns: int, now_ns: int) -> str:
        """Where the leader arms are; arguments as of ``Takeover.leader``.

        Returns:
            The joints that cannot be there, for people: the leaders are ignored then. Empty: taken.
        """
        positions = np.where(self._takeover.led, positions, self.gate.position)
        impossible = impossible_joints(self.joint_ids, self.limits, positions)
        if not impossible:
            self._takeover.leader(stamp_ns, positions, valid_until_ns, now_ns)
        return impossible

    def resume(self) -> str:
        """Give the arms back to the policy after a takeover that ended in a hold.

        Returns:
            Why not, for people; empty: done, its next RUN moves them.
        """
        hands = self._takeover.hands
        if hands is Hands.HUMAN:
            return "a human has the arms: let the dead-man go first"
        if hands is Hands.POLICY:
            return "there is no takeover to come back from"
        self._takeover.drop()
        return ""

    def on_chunk(self, chunk: ActionChunk, now_ns: int) -> ChunkVerdict:
        """Take up a chunk, drop it or refuse it; never raises."""
        if not self._active or self._stop_cause or chunk.generation != self._generation:
            self._late += 1
            return ChunkVerdict(False, late=True, reason="not of the generation that may run")
        if self._takeover.hands is not Hands.POLICY:
            self._late += 1
            return ChunkVerdict(False, late=True, reason="a human has the arms")
        try:
            fitted = self._check.fit(chunk, now_ns)
            if self._timeline.is_late(fitted, now_ns):
                self._late += 1
                return ChunkVerdict(False, late=True, reason="no row left, or superseded")
            if self._guard_start and self._watch.measured is None:
                self._late += 1
                return ChunkVerdict(False, late=True, reason="no joint state to start from yet")
            self._check_start_distance(fitted, now_ns)
        except ChunkRefusedError as refusal:
            return self._refuse(str(refusal))
        seam = self._timeline.splice(
            fitted, now_ns, self.gate.position, self.gate.velocity, self._following
        )
        if seam is not None:
            self.metrics.seam(seam.position_jump, seam.velocity_jump, seam.window_s)
        self._watch.heartbeat(now_ns)  # who sends a chunk lives
        self._accepted += 1
        self._rejected_in_a_row = 0
        self._guard_start = self._clock_jumped = False
        self._chunk_ns = now_ns
        return ChunkVerdict(True)

    def _check_start_distance(self, chunk: ActionChunk, now_ns: int) -> None:
        if not self._guard_start or self._watch.measured is None:
            return
        target = self._timeline.first_target(chunk, now_ns)
        far = far_joints(self.joint_ids, self.limits, target, self._watch.measured)
        self._ramping = bool(far) and self.settings.start_ramp
        if far and not self._ramping:
            raise ChunkRefusedError(TOO_FAR.format(far))

    def _refuse(self, reason: str) -> ChunkVerdict:
        self._rejected += 1
        self._rejected_in_a_row += 1
        aborted = self._rejected_in_a_row >= self.profile.gate.rejected_chunks_to_abort
        if aborted:
            self._stop_cause = Cause.REJECTED_CHUNKS
            self._timeline.clear()
        return ChunkVerdict(False, reason=reason, aborted=aborted)

    # --- the tick --------------------------------------------------------------------------------

    def tick(self, now_ns: int) -> TickResult:
        """One control period: exactly one command.

        Args:
            now_ns: of the same clock as stamps; may stand still or jump, the result stays safe.
        """
        if not self._active:
            return TickResult(
                now_ns, None, None, False, Mode.INACTIVE, Source.NONE, "", 0, -1, False
            )
        now_ns = self._clock(now_ns)
        self._watch.look(now_ns, self.gate.position)
        turned = self._change_hands(now_ns)
        cause = self._doubt(now_ns)
        if not cause or cause in AT_LAST_ROW:
            self._follow(now_ns)
        else:
            self._following = False
            self.gate.brake()  # at rest already after a stop by somebody
        mode = Mode.ESTOP if self.estop.latched else Mode.HOLD if cause else Mode.RUNNING
        human = self._takeover.hands is Hands.HUMAN
        source = Source.NONE if cause else Source.HUMAN if human else Source.POLICY
        changed = turned or (mode, source, cause) != (self._mode, self._source, self._cause)
        self._holds += self._mode is Mode.RUNNING and mode is Mode.HOLD
        self._mode, self._source, self._cause = mode, source, cause
        self._taken_over = self._takeover.hands is not Hands.POLICY
        self._ticks += 1
        self._commanded = True
        self._measure_seams(now_ns, cause)
        return TickResult(
            now_ns=now_ns,
            command=self.gate.position.copy(),
            velocity=self.gate.velocity.copy(),
            publish=self._publishes(mode),
            mode=mode,
            source=source,
            hold_cause=cause,
            chunk_id=self._timeline.chunk_id,
            row=self._timeline.row(now_ns),
            changed=changed,
        )

    def _clock(self, now_ns: int) -> int:
        """The time to use: it never runs backwards within one motion."""
        elapsed = now_ns - self._now_ns
        if -CLOCK_SLEW_S * 1e9 <= elapsed < 0:
            return self._now_ns
        if elapsed < 0:
            self._timeline.clear()
            self.metrics.interrupt()
            self._watch.went_back(now_ns)
            self._takeover.went_back()
            self._clock_jumped = self._guard_start = True
            self._chunk_ns = None
        elif elapsed > STALL_S * 1e9:
            self._following = False
            self.metrics.interrupt()
        self._now_ns = now_ns
        return now_ns

    def _change_hands(self, now_ns: int) -> bool:
        """Whether a human has taken the arms over, or let them go, since the tick before."""
        takeover = self._takeover
        policy_waits = self._stop_cause in ("", Cause.TAKEOVER)
        to_policy = not policy_waits or self.settings.takeover_release == "policy"
        allowed = not (self.estop.latched or self._conflict)
        if not takeover.look(now_ns, allowed, to_policy):
            return False
        if not self._stop_cause:
            self._stop_cause = Cause.TAKEOVER
        self._forget_chunks()
        self._following = self._ramping = False
        self._guard_start = True
        return True

    def _human_doubt(self, now_ns: int) -> str:
        """Why the leader is not followed now; empty: it is."""
        watch, takeover = self._watch, self._takeover
        if watch.state_stale(now_ns):
            return Cause.STATE_STALE
        if takeover.leader_stale(now_ns):
            return Cause.LEADER_STALE
        if watch.diverged:
            return Cause.TRACKING_ERROR
        if takeover.take_jump():
            self._following = False
        if not self._following:  # as the first row of a motion
            self._ramping = bool(takeover.far(now_ns, self.gate.position).any())
            if self._ramping and not self.settings.start_ramp:
                return Cause.LEADER_FAR
        return ""

    def _doubt(self, now_ns: int) -> str:
        """Why neither chunks nor a human are followed now; empty: one of them is."""
        timeline, watch, takeover = self._timeline, self._watch, self._takeover
        if self.estop.latched:
            return Cause.EMERGENCY_STOP
        if self._conflict:
            return Cause.CONFLICT
        if takeover.hands is Hands.HUMAN:
            return self._human_doubt(now_ns)
        if takeover.hands is Hands.PARKED:
            return takeover.cause
        if self._stop_cause:
            return self._stop_cause
        if self._clock_jumped:
            return Cause.CLOCK_JUMP
        if watch.state_stale(now_ns):
            return Cause.STATE_STALE
        if watch.policy_lost(now_ns):
            self._forget_chunks()  # a heartbeat alone, of a policy started again, moves nothing
            return Cause.POLICY_LOST
        if watch.diverged:
            return Cause.TRACKING_ERROR
        if timeline.newest is None:
            return Cause.NO_CHUNK
        if not timeline.exhausted(now_ns):
            return ""
        if timeline.past_end_s(now_ns) <= self.profile.watchdogs.chunk:
            return Cause.CHUNK_EXHAUSTED
        self._guard_start = True
        return Cause.CHUNK_LOST

    def _forget_chunks(self) -> None:
        if self._timeline.newest is not None:
            self._timeline.clear()
            self.metrics.interrupt()
            self._guard_start = True

    def _follow(self, now_ns: int) -> None:
        gate, settings = self.gate, self.settings
        human = self._takeover.hands is Hands.HUMAN
        reference = self._takeover if human else self._timeline
        if not self._following:  # pass over from where the arms are, not from where they would be
            coasted = gate.position + gate.velocity * self.period_s
            reference.rebase(now_ns, coasted, gate.velocity)
            self._following = True
        target, rate = reference.sample(now_ns)
        speed = settings.max_speed_scale
        if self._ramping:
            speed = min(speed, settings.start_ramp_speed)
        gate.step(target, rate, self._watch.measured, speed)
        if self._ramping:
            left = np.abs(reference.goal(now_ns) - gate.position)
            self._ramping = bool((left > RAMP_ARRIVED * self.limits.start).any())

    def _measure_seams(self, now_ns: int, cause: str) -> None:
        if self._timeline.newest is None:
            return
        if cause in AT_LAST_ROW:
            self._timeline.count_wait(now_ns)
        self.metrics.repeated_rows = self._timeline.repeated_rows
        self.metrics.skipped_rows = self._timeline.skipped_rows
        self.metrics.tick(self.gate.position, bool(cause), self._timeline.age_s(now_ns))

    def _publishes(self, mode: Mode) -> bool:
        if mode is Mode.ESTOP:
            return self.settings.estop_output
        return mode is Mode.RUNNING or self.settings.hold_output or not self.gate.at_rest

    # --- what is known ---------------------------------------------------------------------------

    @property
    def mode(self) -> Mode:
        """Of the last tick."""
        return self._mode

    def _hold_detail(self, now_ns: int) -> str:
        """Who or what is behind the hold's cause, for people; may be empty."""
        if self._cause == Cause.LEADER_FAR:
            goal, far = self._takeover.goal(now_ns), self._takeover.far(now_ns, self.gate.position)
            return f"{named_distances(self.joint_ids, goal - self.gate.position, far)}; move the leader there"
        return self._conflict_detail if self._cause == Cause.CONFLICT else ""

    def _status_cause(self) -> str:
        """Of the last tick; without ticks whether the emergency stop is latched."""
        stopped = self._mode is Mode.INACTIVE and self.estop.latched
        return Cause.EMERGENCY_STOP if stopped else self._cause

    def status(self, now_ns: int) -> ControlSnapshot:
        """Everything that ``msg/ControlStatus`` carries of the core."""
        none: Vector = np.zeros(0)
        measured, clips, metrics = self._watch.measured, self.gate.clips, self.metrics
        takeover = self._takeover
        return ControlSnapshot(
            mode=int(self._mode),
            source=int(self._source),
            takeover=self._taken_over,
            hold_cause=self._status_cause(),
            hold_detail=self._hold_detail(now_ns),
            joint_names=self.joint_ids,
            commanded=self.gate.position.copy() if self._commanded else none,
            measured=none if measured is None else measured.copy(),
            generation=self._generation,
            chunk_id=self._timeline.chunk_id,
            row=self._timeline.row(now_ns),
            command_age=self._timeline.age_s(now_ns),
            state_age=self._watch.state_age_s(now_ns),
            chunk_age=_age_s(self._chunk_ns, now_ns),
            policy_age=self._watch.policy_age_s(now_ns),
            leader_age=_age_s(takeover.leader_ns, now_ns),
            deadman_age=_age_s(takeover.deadman_ns, now_ns),
            ticks=self._ticks,
            holds=self._holds,
            hold_share=metrics.hold_share,
            accepted_chunks=self._accepted,
            rejected_chunks=self._rejected,
            late_chunks=self._late,
            position_clips=clips.position.copy(),
            velocity_clips=clips.velocity.copy(),
            acceleration_clips=clips.acceleration.copy(),
            step_clips=clips.step.copy(),
            workspace_clips=clips.workspace,
            seams=metrics.seams,
            seam_position_jump=metrics.position_jump.copy(),
            seam_velocity_jump=metrics.velocity_jump.copy(),
            seam_jerk=metrics.jerk.copy(),
            repeated_rows=metrics.repeated_rows,
            skipped_rows=metrics.skipped_rows,
        )

    def change(self, **values: float | bool | str) -> None:
        """Change settings that may change while active (ValueError: another one)."""
        self.settings = self.settings.with_changes(**values)


def _age_s(since_ns: int | None, now_ns: int) -> float:
    """s; negative: never."""
    return -1.0 if since_ns is None else (now_ns - since_ns) / 1e9
