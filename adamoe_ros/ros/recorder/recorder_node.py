# SPDX-License-Identifier: Apache-2.0
"""recorder_node: episodes of everything raw, one bag each, with what is needed to reproduce them.

Service ``control_recording`` and action ``record_episode`` begin and end episodes; writing is done
by ``data.episode_recorder`` in a thread of its own. A plain node, like a driver, for one executor
thread: taking messages is most of its work, and several threads only hand them around.
"""

from __future__ import annotations

import shutil
import sys
import threading
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.data.episode_info import EpisodeInfo, folder_hash, hash_of
from adamoe_ros.data.episode_recorder import EpisodeRecorder, free_bytes, next_folder, summary
from adamoe_ros.ros.diagnostics import Diagnostic, Level
from adamoe_ros.ros.diagnostics_publisher import DiagnosticsPublisher
from adamoe_ros.ros.live_parameters import LiveParameters
from adamoe_ros.ros.recorder.parameter_query import ParameterQuery
from adamoe_ros.ros.recorder.record_action import RecordAction
from adamoe_ros.ros.recorder.recorder_parameters import RecorderParameters
from adamoe_ros.ros.recorder.recorder_topics import InstructionTopics, RawTopics, wanted_topics
from adamoe_ros.srv import ControlRecording

_POLL = 0.2  # s between searches for new publishers and checks of the running episode


class RecorderNode(Node):
    """The recorder as a node.

    Raises:
        ContractError: a parameter or the profile does not fit.
    """

    def __init__(self) -> None:
        super().__init__("recorder_node")
        self._live = LiveParameters(self, RecorderParameters)
        params = self.params
        if not params.robot:
            raise ContractError(problem("parameter robot", "a value", "none", "set robot:=..."))
        self._profile = load_profile(profile_path(params.robot, robots_dir()))
        self._checkpoint_hash = self._hash(params.checkpoint)
        self._lock = threading.RLock()
        self._episode: EpisodeRecorder | None = None
        self._last: EpisodeRecorder | None = None
        self._closed = False
        self._instructions = InstructionTopics(self.resolve_topic_name)
        self._rank = 0  # of the source of the running episode's instruction
        wanted = wanted_topics(self, self._profile, params.extra_topics)
        self.topics = RawTopics(self, wanted, self._on_message)
        self._queries = [ParameterQuery(self, name) for name in params.parameter_nodes]
        self.create_service(ControlRecording, "control_recording", self._on_control)
        self._action = RecordAction(self, self)
        self._diagnostics = DiagnosticsPublisher(self, self._diagnose, self._profile.name)
        self.create_timer(_POLL, self._poll, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._poll()
        self.get_logger().info(f"records to {self._root.absolute()}")

    @property
    def params(self) -> RecorderParameters:
        """Current parameter values."""
        return self._live.values

    @property
    def companions(self) -> list[Node]:
        """Nodes that have to be spun as well."""
        pictures = self.topics.pictures
        return [pictures.node] if pictures.apart else []

    @property
    def episode(self) -> EpisodeRecorder | None:
        """The running episode."""
        return self._episode

    @property
    def _root(self) -> Path:
        return Path(self.params.folder)

    def _hash(self, checkpoint: str) -> str:
        if not checkpoint:
            return ""
        folder = Path(checkpoint)
        if not folder.is_dir():
            raise ContractError(
                problem("parameter checkpoint", "a folder", checkpoint, "correct it")
            )
        return folder_hash(folder)

    # --- life -----------------------------------------------------------------------------------

    @property
    def state_name(self) -> str:
        """``active`` until it is closed."""
        return "finalized" if self._closed else "active"

    def halt(self) -> None:
        """End a running episode in order; may be called twice."""
        with self._lock:
            if self._episode is not None:
                self.stop("shutdown")

    def close(self) -> None:
        """``halt``, then destroy the node."""
        self.halt()
        self._closed = True
        self._action.destroy()
        self.topics.destroy()
        self.destroy_node()

    def callback_failed(self, error: Exception) -> None:
        """A callback raised: log it and keep recording."""
        text = "".join(traceback.format_exception(error))
        self.get_logger().fatal(f"a callback failed by a bug in adamoe_ros:\n{text}")

    # --- topics ---------------------------------------------------------------------------------

    def _on_message(self, topic: str, kind: str, data: bytes) -> None:
        episode = self._episode
        if episode is None:
            return
        episode.put(topic, kind, self.get_clock().now().nanoseconds, data)
        rank = self._instructions.ranks.get(topic, self._rank)
        if rank < self._rank and (sentence := self._instructions.decode(topic, data)):
            self._rank = rank
            episode.instruct(sentence)

    def _poll(self) -> None:
        for line in self.topics.subscribe_new():
            self.get_logger().error(line)
        with self._lock:
            episode = self._episode
            if episode is not None and episode.finished:
                self._log_end(episode)
        self._action.poll()

    def _diagnose(self) -> list[Diagnostic]:
        with self._lock:
            episode, last = self._episode, self._last
            values: dict[str, object] = {"free (bytes)": free_bytes(self._root)}
            text = "ready"
            if last is not None and last.folder.exists():
                values["last"] = last.folder.name
                text = f"ready; the last one: {last.folder.name}"
            if episode is None:
                return [Diagnostic("recording", Level.OK, text, values)]
            values |= {
                "episode": episode.folder.name,
                "elapsed (s)": episode.elapsed,
                "messages": sum(episode.counts.values()),
                "bytes": episode.written,
                "dropped": episode.dropped,
            }
        level = Level.WARN if episode.dropped else Level.OK
        text = "the disk is too slow: messages are lost" if episode.dropped else "records"
        return [Diagnostic("recording", level, text, values)]

    def _log_end(self, episode: EpisodeRecorder) -> None:
        """Log an episode that has ended, on request or not."""
        self._episode, self._last = None, episode
        for line in [str(episode.folder), *summary(episode.info, episode.elapsed)]:
            self.get_logger().info(line)
        if episode.ended_by in ("disk_full", "write_failed"):
            left = free_bytes(episode.folder) / 2**30
            self.get_logger().error(
                f"recording ended by {episode.ended_by} ({left:.2f} GiB free) {episode.error}"
            )

    # --- episodes -------------------------------------------------------------------------------

    def start(self, instruction: str = "") -> Path:
        """Begin an episode; its folder.

        Raises:
            ContractError: one is running, the disk is nearly full, or the robot is not there.
        """
        with self._lock:
            if self._episode is not None and self._episode.finished:
                self._log_end(self._episode)
            if self._episode is not None:
                line = problem("recorder_node", "no episode", "one that is running", "stop it")
                raise ContractError(line)
            self.topics.subscribe_new()
            params = self.params
            silent = self.topics.silent()
            types = self.topics.types
            if not types:
                raise ContractError(
                    problem("recorder_node", "publishers", "none of the robot's topics", "start it")
                )
            self._rank, heard = self._instructions.first(self.topics.latched)
            episode = EpisodeRecorder(
                next_folder(self._root),
                self._info(instruction.strip(), heard),
                # the others are there once they say something: leaders and buttons may be silent
                {topic: kind for topic, kind in types.items() if self.topics.wanted[topic]},
                round(params.min_free * 2**30),
                round(params.queue * 2**20),
                params.compress,
            )
            now = self.get_clock().now().nanoseconds
            for topic, data in self.topics.latched.items():
                episode.put(topic, self.topics.types[topic], now, data)
            self._episode = episode
        for topic in silent:
            self.get_logger().warning(f"{topic}: nobody publishes it; it will be missing")
        for query in self._queries:
            query.ask(lambda name, values: episode.set_parameters(name, values))
        self.get_logger().info(f"recording {episode.folder}: {episode.info.sentence!r}")
        return episode.folder

    def _info(self, instruction: str, heard: str) -> EpisodeInfo:
        profile = self._profile.model_dump(mode="json")
        return EpisodeInfo(
            instruction=instruction,
            heard=heard,
            robot=self._profile.name,
            profile=profile,
            profile_hash=hash_of(profile),
            checkpoint=self.params.checkpoint,
            checkpoint_hash=self._checkpoint_hash,
            parameters={"recorder_node": asdict(self.params)},
        )

    def stop(
        self, why: str = "stopped", success: bool | None = None, notes: str = ""
    ) -> tuple[Path, list[str]]:
        """End the running episode; its folder and lines on what it holds.

        Raises:
            ContractError: none is running.
        """
        with self._lock:
            episode = self._running()
            info = episode.stop(why, success, notes)
            self._log_end(episode)
        lines = summary(info, episode.elapsed)
        lines += [f"NO MESSAGE on {topic}: nobody publishes it" for topic in self.topics.silent()]
        return episode.folder, lines

    def stop_episode(self, episode: EpisodeRecorder, why: str) -> None:
        """End that episode unless it has ended."""
        with self._lock:
            if self._episode is episode:
                self.stop(why)

    def _running(self) -> EpisodeRecorder:
        if self._episode is None:
            raise ContractError(
                problem("recorder_node", "a running episode", "none", "start one first")
            )
        return self._episode

    def discard(self) -> Path:
        """Delete the running or the last episode.

        Raises:
            ContractError: there is none.
        """
        with self._lock:
            episode = self._episode or self._last
            if episode is None or not episode.folder.exists():
                line = problem("recorder_node", "an episode to discard", "none", "nothing to do")
                raise ContractError(line)
            if self._episode is not None:
                episode.discard()
                self._episode = None
            else:
                shutil.rmtree(episode.folder, ignore_errors=True)
            self._last = None
        self.get_logger().info(f"discarded {episode.folder}")
        return episode.folder

    def label(self, success: bool | None, notes: str = "") -> Path:
        """Judge the running or the last episode.

        Raises:
            ContractError: there is none.
        """
        with self._lock:
            episode = self._episode or self._last
            if episode is None:
                line = problem("recorder_node", "an episode to judge", "none", "record one")
                raise ContractError(line)
            episode.label(success, notes)
        return episode.folder

    # --- service ----------------------------------------------------------------------------------

    def _on_control(
        self, request: ControlRecording.Request, response: ControlRecording.Response
    ) -> Any:
        success = bool(request.success) if request.judged else None
        try:
            if request.command == ControlRecording.Request.START:
                path, lines = self.start(request.instruction), ["recording"]
            elif request.command == ControlRecording.Request.STOP:
                path, lines = self.stop("stopped", success, request.notes)
            elif request.command == ControlRecording.Request.DISCARD:
                path, lines = self.discard(), ["discarded"]
            elif request.command == ControlRecording.Request.LABEL:
                path, lines = self.label(success, request.notes), ["noted"]
            else:
                raise ContractError(problem("command", "0 ... 3", request.command, "correct it"))
        except ContractError as error:
            response.message = "; ".join(error.problems)
            return response
        response.accepted, response.path, response.message = True, str(path), "\n".join(lines)
        return response


def main() -> int:
    """Run the node; the exit code."""
    from adamoe_ros.ros.runner import main as run

    return run("adamoe_ros.ros.recorder.recorder_node", "RecorderNode", threads=1)


if __name__ == "__main__":
    sys.exit(main())
