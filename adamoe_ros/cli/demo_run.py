# SPDX-License-Identifier: Apache-2.0
"""One run of the demo: a simulator session, its episodes on a live view, and what they leave.

ROS is imported when the environment is complete.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adamoe_ros import __version__
from adamoe_ros.cli.demo_view import View, ViewState, make_view
from adamoe_ros.contract.manifest import check_checkpoint_files, checkpoint_name
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.data.recording import Episode, Recording
from adamoe_ros.evaluation.machine import machine_line
from adamoe_ros.ros.sim.node_processes import free_domain, prepare_environment

if TYPE_CHECKING:
    from adamoe_ros.cli.demo import Plan
    from adamoe_ros.ros.sim.session import SimSession

_STATUS = 30.0  # s until the policy must have reported its device
_MODES = ("inactive", "holding", "running", "stopped")  # ControlStatus.mode
_SHOWN = ("strategy", "smoothing", "max_duration", "real_time_factor", "inject_latency", "video")


def run_demo(options: argparse.Namespace, plans: Sequence[Plan]) -> int:
    """``adamoe demo``: the exit code.

    Raises:
        ContractError: profile, checkpoint or ROS do not fit, or a node ended.
    """
    started = time.monotonic()
    profile = load_profile(profile_path(options.robot, robots_dir()))
    check_checkpoint_files(options.checkpoint)
    domain = free_domain() if options.domain is None else options.domain
    environment = prepare_environment(domain)
    from adamoe_ros.ros.sim.director import SessionFailed

    options.out.mkdir(parents=True, exist_ok=True)
    view = make_view()
    view.step(f"ROS_DOMAIN_ID={domain}, logs in {options.out / 'log'}")
    run = DemoRun(options, profile, plans, view, started)
    try:
        run.all(environment)
    except SessionFailed as failure:
        print(f"adamoe demo: {failure}", file=sys.stderr)
        return 1
    finally:
        view.quiet()
    write_results(run.recording, options.out, options.video, view)
    return 0


class DemoRun:
    """Episodes of one session, and what the view shows meanwhile.

    Args:
        options: of the command.
        profile: of policy and control.
        started: monotonic s at which the command began; None: now.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        profile: RobotProfile,
        plans: Sequence[Plan],
        view: View,
        started: float | None = None,
    ) -> None:
        self._options, self._profile, self._plans = options, profile, plans
        self._view, self._started = view, started or time.monotonic()
        self._session: SimSession | None = None
        self._episode: Episode | None = None
        self._pace = _Pace()
        self.recording = Recording(settings=_settings(options, profile, plans))

    def all(self, environment: dict[str, str]) -> None:
        """Bring the nodes up and run every episode."""
        from adamoe_ros.ros.sim.session import sim_session

        logs, parameters = self._options.out / "log", self.parameters()
        with sim_session(
            self._profile, environment, logs, *parameters, on_turn=self._on_turn
        ) as session:
            self._session = session
            self.wait_until_ready(session)
            for episode, change in self._plans:
                self._run_episode(session, episode, change)
            self.recording.settings["memory_mib"] = {
                name: round(size / 2**20) for name, size in session.nodes.memory().items()
            }

    def parameters(self) -> tuple[dict[str, object], dict[str, object], dict[str, object]]:
        """Of sim_node, policy_node and control_node."""
        options, first = self._options, self._plans[0][0]
        common = {"robot": options.robot, "strategy": options.strategy}
        sim = {
            "task": first.task,
            "seed": first.seed,
            "real_time_factor": options.real_time_factor,
            "trace": str(options.out / "trace") if options.video else "",
        }
        policy = {
            **common,
            "checkpoint": options.checkpoint,
            "inject_latency": options.inject_latency,
        }
        return sim, policy, {**common, "smoothing": options.smoothing}

    def wait_until_ready(self, session: SimSession) -> None:
        """Until a picture has come and the policy is loaded."""
        director, live = session.director, session.live
        director.wait_for_camera()
        first_frame = time.monotonic() - self._started
        self.recording.settings["first_frame_s"] = round(first_frame, 2)
        self._view.step(f"first camera frame after {first_frame:.1f} s")
        director.configure()
        director.wait_for("policy_node: its status", lambda: live.policy_heard, _STATUS)
        self.recording.settings["device"] = live.policy.device
        self._view.step(f"policy ready on {live.policy.device}")

    def _run_episode(self, session: SimSession, episode: Episode, change: Any) -> None:
        self._pace = _Pace()
        session.begin_episode(episode)
        self._episode = episode
        session.finish_episode(episode, episode.instruction, self._options.max_duration, change)
        self._episode = None
        self.recording.episodes.append(episode)
        self._view.quiet()
        word = "success" if episode.success else "no success"
        self._view.step(
            f"episode {episode.index + 1}/{len(self._plans)}, {episode.instructions()}, "
            f"seed {episode.seed}: {word} after {episode.elapsed:.1f} s, "
            f"{len(episode.chunks)} chunks ({episode.result_message})"
        )

    def _on_turn(self) -> None:
        if self._session is not None and self._episode is not None:
            self._view.update(self._snapshot(self._session.live, self._episode))

    def _snapshot(self, live: Any, episode: Episode) -> ViewState:
        control, policy = live.control, live.policy
        latency = dict(zip(policy.stages, policy.latency_last, strict=False))
        return ViewState(
            episode=episode.index + 1,
            episodes=len(self._plans),
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


def _settings(
    options: argparse.Namespace, profile: RobotProfile, plans: Sequence[Plan]
) -> dict[str, Any]:
    """For results and report: what was run, on what, when."""
    changed = any(change is not None for _, change in plans)
    return {
        "robot": profile.name,
        "checkpoint": checkpoint_name(options.checkpoint),
        "tasks": list(dict.fromkeys(episode.task for episode, _ in plans)),
        "seeds": list(dict.fromkeys(episode.seed for episode, _ in plans)),
        **({"change_after": options.change_after} if changed else {}),
        **{name: getattr(options, name) for name in _SHOWN},
        "version": __version__,
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine_line(),
    }


def write_results(recording: Recording, out: Path, video: bool, view: View) -> None:
    """results.json, recording.json, demo.mp4; the report last, because it embeds the video."""
    from adamoe_ros.evaluation.report.demo_page import demo_page
    from adamoe_ros.evaluation.report.summary import results

    recording.write(out / "recording.json")
    document = json.dumps(results(recording), indent=1) + "\n"
    (out / "results.json").write_text(document, encoding="utf-8")
    mp4: bytes | None = None
    if video and recording.episodes:
        from adamoe_ros.evaluation.report.sim_video import demo_video

        begun = time.monotonic()
        view.step("rendering the video ...")
        frames = demo_video(out / "demo.mp4", recording, out / "trace")
        view.step(f"{out / 'demo.mp4'} ({frames} frames in {time.monotonic() - begun:.0f} s)")
        mp4 = (out / "demo.mp4").read_bytes()
    (out / "report.html").write_text(demo_page(recording, mp4), encoding="utf-8")
    view.step(f"{out / 'report.html'}")
    done = sum(episode.success for episode in recording.episodes)
    view.step(f"{done} of {len(recording.episodes)} episodes successful")
