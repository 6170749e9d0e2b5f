# SPDX-License-Identifier: Apache-2.0
"""The action ``record_episode``: an episode that ends by time, cancel, service or a full disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rclpy.action import ActionServer, CancelResponse
from rclpy.node import Node
from rclpy.task import Future

from adamoe_ros.action import RecordEpisode
from adamoe_ros.contract.errors import ContractError
from adamoe_ros.data.episode_recorder import EpisodeRecorder, free_bytes, summary

_FEEDBACK = 0.5  # s between two
Result = RecordEpisode.Result
_CODES = {
    "max_duration": Result.DURATION_REACHED,
    "stopped": Result.STOPPED,
    "discarded": Result.DISCARDED,
    "disk_full": Result.DISK_FULL,
    "write_failed": Result.WRITE_FAILED,
    "shutdown": Result.SHUTDOWN,
}


class Recorder(Protocol):
    """Begins and ends the one episode that may run at a time."""

    @property
    def episode(self) -> EpisodeRecorder | None:
        """The running episode."""

    def start(self, instruction: str = "") -> Path:
        """Begin an episode; its folder. Raises ``ContractError``."""

    def stop_episode(self, episode: EpisodeRecorder, why: str) -> None:
        """End that episode unless it has ended."""


@dataclass
class _Goal:
    """An episode that a goal has begun; ``last_feedback``: s into the episode."""

    handle: Any
    episode: EpisodeRecorder
    max_duration: float
    ended: Future[None]
    last_feedback: float = 0.0


class RecordAction:
    """The action server.

    Args:
        node: it is made on it.
        recorder: that is led by it.
    """

    def __init__(self, node: Node, recorder: Recorder) -> None:
        self._recorder = recorder
        self._goals: list[_Goal] = []
        self._server = ActionServer(
            node,
            RecordEpisode,
            "record_episode",
            self._execute,
            cancel_callback=lambda handle: CancelResponse.ACCEPT,
        )

    def poll(self) -> None:
        """End or report the episodes that goals have begun; called at a steady rate."""
        for goal in list(self._goals):
            self._watch(goal)

    def destroy(self) -> None:
        """Take the server off the node."""
        self._server.destroy()

    async def _execute(self, handle: Any) -> Any:
        """Record until something ends it; ``poll`` watches meanwhile."""
        recorder, request = self._recorder, handle.request
        try:
            recorder.start(request.instruction)
        except ContractError as error:
            handle.abort()
            code = Result.REJECTED if recorder.episode is None else Result.REJECTED_BUSY
            return Result(code=code, message="; ".join(error.problems))
        episode = recorder.episode
        assert episode is not None
        goal = _Goal(handle, episode, float(request.max_duration), Future())
        self._goals.append(goal)
        await goal.ended
        self._goals.remove(goal)
        return _result(handle, episode)

    def _watch(self, goal: _Goal) -> None:
        episode = goal.episode
        if episode.running and goal.handle.is_cancel_requested:
            self._recorder.stop_episode(episode, "stopped")
        elif episode.running and 0 < goal.max_duration <= episode.elapsed:
            self._recorder.stop_episode(episode, "max_duration")
        if not episode.running:
            if not goal.ended.done():
                goal.ended.set_result(None)
        elif episode.elapsed - goal.last_feedback >= _FEEDBACK:
            goal.last_feedback = episode.elapsed
            goal.handle.publish_feedback(_feedback(episode))


def _result(handle: Any, episode: EpisodeRecorder) -> Any:
    info = episode.stop()
    result = Result(
        code=_CODES.get(episode.ended_by, Result.STOPPED),
        message="\n".join(summary(info, episode.elapsed)),
        path=str(episode.folder) if episode.folder.exists() else "",
        elapsed=episode.elapsed,
        topics=list(info.counts),
        counts=[int(count) for count in info.counts.values()],
    )
    if handle.is_cancel_requested:
        handle.canceled()
    elif result.code in (Result.DURATION_REACHED, Result.STOPPED):
        handle.succeed()
    else:
        handle.abort()
    return result


def _feedback(episode: EpisodeRecorder) -> RecordEpisode.Feedback:
    return RecordEpisode.Feedback(
        elapsed=episode.elapsed,
        messages=sum(episode.counts.values()),
        bytes=episode.written,
        dropped=episode.dropped,
        free=float(free_bytes(episode.folder)),
    )
