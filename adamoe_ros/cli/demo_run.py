# SPDX-License-Identifier: Apache-2.0
"""One run of the demo: processes up, episodes, processes down, results.

Runs in the process of ``adamoe demo``; imports ROS only after the environment is complete.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from adamoe_ros.cli.demo_environment import check_checkpoint, prepare_environment
from adamoe_ros.cli.demo_output import write_results
from adamoe_ros.cli.demo_processes import NodeProcesses
from adamoe_ros.cli.demo_scenes import Scene
from adamoe_ros.cli.demo_session import check_running, node_session, start_nodes
from adamoe_ros.cli.demo_settings import DemoSettings, settings_from
from adamoe_ros.cli.demo_view import Snapshot, View, make_view
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir, share_dir
from adamoe_ros.data.recording import Episode, Recording

if TYPE_CHECKING:
    from adamoe_ros.ros.sim.demo_director import DemoDirector

_STATUS = 30.0  # s until the policy must have told its device
_MODES = ("inactive", "holding", "running", "stopped")  # ControlStatus.mode


class DemoRun:
    """One run.

    Args:
        settings: what was asked for.
        profile: of policy and control.
        view: where progress is shown.
        nodes: to start processes with.
    """

    def __init__(
        self, settings: DemoSettings, profile: RobotProfile, view: View, nodes: NodeProcesses
    ) -> None:
        from adamoe_ros.ros.sim.demo_director import DemoDirector

        self._settings = settings
        self._view = view
        self._nodes = nodes
        self._episode: Episode | None = None
        self._pace = _Pace()
        self.recording = Recording(settings=settings.as_shown())
        self._start_nodes()
        self._director: DemoDirector = DemoDirector(profile, self._on_turn)

    def close(self) -> None:
        """Take the director's node down."""
        self._director.cancel()
        self._director.close()

    def run(self, started: float) -> None:
        """Bring the nodes up and run every episode.

        Args:
            started: monotonic s at which the command began.
        """
        director, live = self._director, self._director.recorder.live
        director.wait_for_camera()
        first_frame = time.monotonic() - started
        self.recording.settings["first_frame_s"] = round(first_frame, 2)
        self._view.step(f"first camera frame after {first_frame:.1f} s")
        director.configure()
        director.wait_for("policy_node: its status", lambda: live.policy_heard, _STATUS)
        self.recording.settings["device"] = live.policy.device
        self._view.step(f"policy ready on {live.policy.device}")
        for index, scene in enumerate(self._settings.scenes):
            self._run_episode(index, scene)
        self.recording.settings["memory_mib"] = {
            name: round(size / 2**20) for name, size in self._nodes.memory().items()
        }

    def _run_episode(self, index: int, scene: Scene) -> None:
        settings, director = self._settings, self._director
        sentence = director.begin_episode(scene.task, scene.instruction or "", scene.seed)
        episode = Episode(index, scene.seed, scene.task, sentence)
        director.recorder.begin(episode)
        self._episode = episode
        self._pace = _Pace()
        begun = time.monotonic()
        change = None if scene.change_to is None else (scene.change_after, scene.change_to)
        result = director.execute(sentence, settings.max_duration, change)
        episode.wall = time.monotonic() - begun
        director.recorder.end()
        self._episode = None
        episode.result_code, episode.result_message = int(result.code), result.message
        episode.elapsed = float(result.elapsed)
        self.recording.episodes.append(episode)
        self._view.quiet()
        word = "success" if episode.success else "no success"
        self._view.step(
            f"episode {index + 1}/{len(settings.scenes)}, {episode.said()}, seed {scene.seed}: "
            f"{word} after {episode.elapsed:.1f} s, {len(episode.chunks)} chunks "
            f"({episode.result_message})"
        )
        director.end_episode()

    def _start_nodes(self) -> None:
        settings = self._settings
        trace = str(settings.out / "trace") if settings.video else ""
        policy = {
            "robot": settings.robot,
            "checkpoint": settings.checkpoint,
            "strategy": settings.strategy,
            "inject_latency": settings.inject_latency,
        }
        control = {
            "robot": settings.robot,
            "strategy": settings.strategy,
            "smoothing": settings.smoothing,
        }
        sim = {
            "task": settings.scenes[0].task,
            "seed": settings.scenes[0].seed,
            "real_time_factor": settings.real_time_factor,
            "trace": trace,
        }
        start_nodes(self._nodes, sim, policy, control)

    def _on_turn(self) -> None:
        check_running(self._nodes)
        if self._episode is not None:
            self._view.update(self._snapshot(self._episode))

    def _snapshot(self, episode: Episode) -> Snapshot:
        live = self._director.recorder.live
        control, policy = live.control, live.policy
        latency = dict(zip(policy.stages, policy.latency_last, strict=False))
        return Snapshot(
            episode=episode.index + 1,
            episodes=len(self._settings.scenes),
            instruction=policy.instruction or episode.instruction,
            phase=policy.phase,
            mode=_MODES[control.mode] + (f" ({control.hold_cause})" if control.hold_cause else ""),
            inference=latency.get("total"),
            command_rate=control.rate if live.control_heard else None,
            chunks=len(episode.chunks),
            holds=int(episode.counters.get("holds", 0)),
            elapsed=live.task.elapsed,
            speed=self._pace.speed(live.task.elapsed),
            success=live.task.ever_success,
        )


class _Pace:
    """Simulated seconds per wall second since the first sight of the episode."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None

    def speed(self, simulated: float) -> float | None:
        now = time.monotonic()
        if self._first is None or simulated < self._first[1]:
            self._first = (now, simulated)
        wall = now - self._first[0]
        return (simulated - self._first[1]) / wall if wall > 1.0 else None


def run_demo(options: argparse.Namespace) -> int:
    """``adamoe demo``: the exit code."""
    started = time.monotonic()
    settings = settings_from(options, share_dir() / "checkpoints" / "demo")
    profile = load_profile(profile_path(settings.robot, robots_dir()))
    check_checkpoint(settings.checkpoint)
    environment = prepare_environment({"ROS_DOMAIN_ID": str(settings.domain)})
    from adamoe_ros.ros.sim.demo_director import DemoFailed

    settings.out.mkdir(parents=True, exist_ok=True)
    view = make_view()
    view.step(f"ROS_DOMAIN_ID={settings.domain}, logs in {settings.out / 'log'}")
    try:
        recording = _record(settings, profile, environment, view, started)
    except DemoFailed as failure:
        print(f"adamoe demo: {failure}", file=sys.stderr)
        return 1
    finally:
        view.close()
    write_results(recording, settings, view)
    return 0


def _record(
    settings: DemoSettings,
    profile: RobotProfile,
    environment: dict[str, str],
    view: View,
    started: float,
) -> Recording:
    """Run with everything that was started ended again, however it ends."""
    with node_session(environment, settings.out / "log") as nodes:
        run = DemoRun(settings, profile, view, nodes)
        try:
            run.run(started)
        finally:
            run.close()
    return run.recording
