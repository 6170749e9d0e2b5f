# SPDX-License-Identifier: Apache-2.0
"""The ``execute`` action: one goal at a time, ended once, with a code that says by whom.

A goal that may not start is accepted and aborted at once, nothing having moved: ROS 2 cannot send a
reason with a rejection, and a person needs one. The callbacks run in a reentrant group of a
multi-threaded executor, because a goal waits for its end while a cancel request comes in.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from rclpy.action import ActionServer, CancelResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from adamoe_ros.action import ExecuteInstruction
from adamoe_ros.ros import names

Result = ExecuteInstruction.Result
_WATCH = 0.02  # s between looks at what ends a goal
_CANCEL_GRACE = 2.0  # s until rclpy has noted a cancel request that it is handing out
_CLEAN = (Result.SUCCEEDED, Result.DURATION_REACHED)


@dataclass
class GoalRun:
    """One goal while it runs.

    Attributes:
        instruction: the sentence it was given.
        max_duration: s, 0 for none.
        stop_on_success: whether task_status may end it.
        generation: of its chunks.
        started_ns: ROS time.
        started: s, steady clock.
        chunks: published for it.
        controlled: whether a control_node has been there in its time.
        paused_ns: since when the arms hold for late inputs or a lost link, ROS time; 0: they do not.
        taken_ns: since when a human has the arms, ROS time; 0: nobody has. It does not count as the
            goal's time.
    """

    instruction: str
    max_duration: float
    stop_on_success: bool
    generation: int = 0
    started_ns: int = 0
    started: float = 0.0
    chunks: int = 0
    controlled: bool = False
    paused_ns: int = 0
    taken_ns: int = 0
    code: int = -1
    message: str = ""
    _ended: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def end(self, code: int, message: str) -> bool:
        """Set the outcome; False when it was set before."""
        with self._lock:
            if self._ended.is_set():
                return False
            self.code, self.message = code, message
            self._ended.set()
            return True

    @property
    def ended(self) -> bool:
        """Whether the outcome is set."""
        return self._ended.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait for the end; True when it has come."""
        return self._ended.wait(seconds)


class GoalHandler(Protocol):
    """Decides about goals."""

    def begin(self, run: GoalRun) -> tuple[int, str] | None:
        """Start to act on a goal; (code, message) when it may not."""

    def watch(self, run: GoalRun) -> None:
        """End the goal if something asks for it."""

    def finish(self, run: GoalRun) -> None:
        """The goal has ended: arms hold, unless a newer goal moves them."""

    def elapsed(self, run: GoalRun) -> float:
        """s of ROS time since the goal began."""


class GoalServer:
    """The action server.

    Args:
        node: it is made on this node, as ``execute``.
        handler: decides.
        feedback: current figures of a goal.
        feedback_rate: Hz, read while running.
    """

    def __init__(
        self,
        node: Node,
        handler: GoalHandler,
        feedback: Callable[[GoalRun], ExecuteInstruction.Feedback],
        feedback_rate: Callable[[], float],
    ) -> None:
        self._handler = handler
        self._feedback = feedback
        self._feedback_rate = feedback_rate
        self._runs: dict[bytes, GoalRun] = {}
        self._server = ActionServer(
            node,
            ExecuteInstruction,
            names.EXECUTE,
            self._execute,
            callback_group=ReentrantCallbackGroup(),
            cancel_callback=self._cancel,
        )

    def destroy(self) -> None:
        """Take the server off its node; goals must have ended."""
        deadline = time.monotonic() + _CANCEL_GRACE
        while self._runs and time.monotonic() < deadline:
            time.sleep(_WATCH)
        self._server.destroy()

    def _cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        run = self._runs.get(bytes(handle.goal_id.uuid))
        if run is not None and run.end(Result.CANCELLED, "cancelled by the client"):
            self._handler.finish(run)  # here and not in the waiting thread: the arms stop first
        return CancelResponse.ACCEPT

    def _execute(self, handle: ServerGoalHandle) -> Any:
        goal = handle.request
        run = GoalRun(goal.instruction.strip(), goal.max_duration, goal.stop_on_success)
        key = bytes(handle.goal_id.uuid)
        self._runs[key] = run
        try:
            refused = self._handler.begin(run)
            if refused:
                run.end(*refused)
            else:
                self._follow(handle, run)
                self._handler.finish(run)
            self._set_state(handle, run)
            return Result(
                code=run.code,
                message=run.message,
                elapsed=self._handler.elapsed(run) if not refused else 0.0,
                chunks=run.chunks,
            )
        finally:
            del self._runs[key]

    def _follow(self, handle: ServerGoalHandle, run: GoalRun) -> None:
        due = time.monotonic()
        while not run.wait(_WATCH):
            self._handler.watch(run)
            if time.monotonic() >= due:
                due = time.monotonic() + 1.0 / self._feedback_rate()
                handle.publish_feedback(self._feedback(run))

    @staticmethod
    def _set_state(handle: ServerGoalHandle, run: GoalRun) -> None:
        if run.code == Result.CANCELLED:
            deadline = time.monotonic() + _CANCEL_GRACE
            while not handle.is_cancel_requested and time.monotonic() < deadline:
                time.sleep(0.002)
        if handle.is_cancel_requested:
            handle.canceled()
        elif run.code in _CLEAN:
            handle.succeed()
        else:
            handle.abort()
