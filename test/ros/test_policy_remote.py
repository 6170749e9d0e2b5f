# SPDX-License-Identifier: Apache-2.0
"""policy_node whose network runs in ``adamoe serve``: real processes, the link cut in every way."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from control_rig import wait_until
from diagnostic_msgs.msg import DiagnosticStatus
from policy_rig import START, PolicyRig, Result, write_profile, write_rig_checkpoint
from reactions import assert_comes_to_rest

from adamoe_ros.msg import ControlStatus

TOPIC = "follower_left/joint_commands"
ANSWER = 1.0  # s, answer_timeout
HELD = ANSWER + 3.0  # s until the arms hold; the documented time and what this machine may be late


class RemoteRig(PolicyRig):
    """A policy rig and its server."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        (folder / "served").mkdir()
        served = write_rig_checkpoint(folder / "served" / "checkpoint", write_profile(folder))
        words = ["serve", "--checkpoint", str(served), "--port", str(port), "--plain"]
        more = ["--interface", "none", "--device", "cpu", "--threads", "1"]
        self.serve_command = [sys.executable, "-m", "adamoe_ros.cli.main", *words, *more]
        url = f"ws://127.0.0.1:{port}"
        remote = {
            "policy": url,
            "checkpoint": '""',
            "answer_timeout": ANSWER,
            "link_patience": 60.0,
        }
        super().__init__(folder, **remote)

    def serve(self) -> None:
        """Start the server and wait for its port."""
        server = self.start("server", self.serve_command)
        wait_until(lambda: "serving" in server.text, lambda: server.text, START)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemoteRig]:
    rig = RemoteRig(tmp_path_factory.mktemp("remote"))
    try:
        rig.serve()
        with rig:
            rig.wait_active()
            yield rig
    finally:
        rig.processes["server"].stop()


@pytest.fixture
def rig(shared: RemoteRig) -> Iterator[RemoteRig]:
    shared.settle_policy()
    yield shared


def holds_for_the_link(rig: RemoteRig, begun: float) -> None:
    rig.probe.wait_mode(ControlStatus.HOLD, "link_lost")
    assert time.monotonic() - begun < HELD
    assert_comes_to_rest(rig.probe, rig.probe.commands[TOPIC])


def _error_named(rig: RemoteRig) -> bool:
    errors = [one for one in list(rig.probe.diagnostics) if one.level == DiagnosticStatus.ERROR]
    return any("policy ws://127.0.0.1" in one.message for one in errors)


def test_a_goal_moves_the_arms_as_with_a_local_policy(rig: RemoteRig) -> None:
    result = rig.goal(max_duration=3.0).result()
    assert result.code == Result.DURATION_REACHED, result.message
    assert result.chunks >= 1
    stages = rig.policy_statuses[-1].stages
    assert {"network", "queue", "flow", "stamp_to_chunk"} <= set(stages)
    assert "ws://127.0.0.1" in rig.policy_statuses[-1].device
    assert len(rig.policy_statuses[-1].experts) == 2


def test_a_frozen_link_holds_the_arms_and_the_goal_goes_on(rig: RemoteRig) -> None:
    """Nothing is closed and nothing comes: as with a cable that was pulled."""
    goal = rig.running()
    generation, server = rig.probe.status.generation, rig.processes["server"].child.pid
    begun = time.monotonic()
    os.kill(server, signal.SIGSTOP)
    try:
        holds_for_the_link(rig, begun)
        assert not goal.done
    finally:
        os.kill(server, signal.SIGCONT)
    rig.probe.wait_mode(ControlStatus.RUNNING, timeout=START)
    assert rig.probe.status.generation > generation
    goal.cancel()
    assert goal.result().code == Result.CANCELLED


def test_a_killed_server_holds_the_arms_and_its_successor_moves_them(rig: RemoteRig) -> None:
    goal = rig.running()
    begun = time.monotonic()
    rig.processes["server"].stop(signal.SIGKILL)
    holds_for_the_link(rig, begun)
    refused = rig.goal().result()
    assert refused.code == Result.POLICY_FAILED
    assert "policy ws://127.0.0.1" in refused.message
    assert not goal.done
    rig.probe.wait(lambda: _error_named(rig), "a diagnostic that names the link", START)
    rig.serve()
    rig.probe.wait_mode(ControlStatus.RUNNING, timeout=START)
    goal.cancel()
    goal.result()


def test_a_goal_that_does_not_wait_ends_with_the_cause(rig: RemoteRig) -> None:
    rig.probe.set("policy_node", link_patience=0.0)
    try:
        goal = rig.running()
        os.kill(rig.processes["server"].child.pid, signal.SIGSTOP)
        try:
            result = goal.result()
        finally:
            os.kill(rig.processes["server"].child.pid, signal.SIGCONT)
        assert result.code == Result.POLICY_FAILED
        # whichever is first: a ping, or an answer
        late = "an answer within 1 s, got none" in result.message
        assert late or "keepalive ping timeout" in result.message, result.message
        assert_comes_to_rest(rig.probe, rig.probe.commands[TOPIC])
    finally:
        rig.probe.set("policy_node", link_patience=60.0)
