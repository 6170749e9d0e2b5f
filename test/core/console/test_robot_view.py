# SPDX-License-Identifier: Apache-2.0
"""What the page shows of a robot: modes, causes, goals, limits, silence, in words and bounded."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from adamoe_ros.console import words
from adamoe_ros.console.picture_feed import as_the_model_sees
from adamoe_ros.console.robot_view import EVENTS, RobotView
from adamoe_ros.contract.profile_io import load_profile
from adamoe_ros.contract.resources import robots_dir, share_dir
from adamoe_ros.control.settings import Cause
from adamoe_ros.policy.resizing import resize_picture
from adamoe_ros.ros.control.control_diagnostics import advice

PROFILE = load_profile(robots_dir() / "aloha_sim.yaml")
JOINTS = PROFILE.joint_ids


class Robot:
    """A view with a clock of its own, fed as its nodes would."""

    def __init__(self) -> None:
        self.now = 100.0
        self.view = RobotView("left", PROFILE, advice, ["lift the bar"], clock=lambda: self.now)
        self.chunks = 0

    def control(self, mode: int = 1, cause: str = "no_goal", **changes: Any) -> None:
        zeros = [0] * len(JOINTS)
        names = ("position", "velocity", "acceleration", "step")
        values: dict[str, Any] = {
            "mode": mode, "hold_cause": cause, "hold_detail": "", "shadow": False,
            "joint_names": list(JOINTS), "commanded": [0.1] * len(JOINTS), "measured": [0.0] * len(JOINTS),
            "state_age": 0.01, "chunk_age": -1.0, "policy_age": 0.1, "command_age": -1.0, "rate": 50.0,
            "jitter_p99": float("nan"), "missed_ticks": 0, "holds": 0, "hold_share": 0.0,
            "accepted_chunks": 0, "rejected_chunks": 0, "late_chunks": 0, "workspace_clips": 0,
            **{f"{name}_clips": list(zeros) for name in names}, **changes,
        }  # fmt: skip
        self.view.on_control(SimpleNamespace(**values))

    def policy(self, phase: str, instruction: str = "", chunks: int = 0) -> None:
        load = SimpleNamespace(layer=0, selected=[0.75, 0.25])
        self.view.on_policy(
            SimpleNamespace(
                state="active", phase=phase, instruction=instruction, chunks=chunks, missing="",
                observation_age=0.1, device="cpu", peak_memory=1e6, stages=["flow"],
                latency_last=[0.1], latency_p50=[0.1], latency_p95=[0.2], latency_p99=[0.3],
                experts=[load],
            )
        )  # fmt: skip

    @property
    def events(self) -> list[str]:
        return [event["text"] for event in self.view.events_since(0)]

    @property
    def page(self) -> dict[str, Any]:
        """As the page gets it: JSON without anything a browser cannot read."""
        return json.loads(json.dumps(self.view.snapshot(), allow_nan=False))


@pytest.fixture
def robot() -> Robot:
    return Robot()


def test_every_cause_and_every_result_has_words() -> None:
    causes = [value for name, value in vars(Cause).items() if name.isupper()]
    assert len(causes) > 10
    for cause in causes:
        meaning, do = words.cause_words(cause, advice(cause))
        assert meaning != cause.replace("_", " ").capitalize(), cause
        assert do, cause
    action = (share_dir() / "action" / "ExecuteInstruction.action").read_text()
    codes = {
        int(line.partition("=")[2].split()[0])
        for line in action.splitlines()
        if "uint16 " in line and "=" in line
    }
    assert codes == set(words.RESULTS)


def test_an_unknown_cause_is_shown_with_what_the_node_advises() -> None:
    assert words.cause_words("oven_hot", "open the oven") == ("Oven hot", "open the oven")
    assert words.cause_words("oven_hot")[1]


def test_nothing_heard_is_no_robot(robot: Robot) -> None:
    assert robot.page["control"] == {"heard": False, "mode": "unknown"}
    assert robot.page["recording"] == {"there": False}
    assert robot.page["goal"] == {"running": False}


def test_a_stop_says_what_it_is_and_what_to_do(robot: Robot) -> None:
    robot.control(2, "")
    robot.control(3, "emergency_stop")
    control = robot.page["control"]
    assert control["mode"] == "estop"
    assert "latched" in control["meaning"]
    assert "reset" in control["do"]
    assert [event["level"] for event in robot.view.events_since(1)] == ["error"]
    assert control["jitter_p99"] is None


def test_a_silent_node_is_noticed_and_welcomed_back(robot: Robot) -> None:
    robot.control()
    robot.now += 3.0
    assert not robot.page["control"]["heard"]
    robot.view.snapshot()
    assert robot.events.count("control_node is silent") == 1
    robot.control()
    assert robot.page["control"]["heard"]
    assert robot.events[-1] == "control_node is back"


def test_a_goal_from_start_to_result(robot: Robot) -> None:
    robot.policy("idle", chunks=7)
    robot.view.goal_sent("lift the bar", 20.0, "Ada (#1)")
    robot.policy("executing", "lift the bar", 9)
    robot.now += 2.0
    goal = robot.page["goal"]
    assert goal == {
        "running": True, "instruction": "lift the bar", "limit": 20.0, "chunks": 2, "elapsed": 2.0,
    }  # fmt: skip
    robot.policy("executing", "push the bar", 10)
    assert robot.page["goal"]["instruction"] == "push the bar"
    robot.view.goal_ended(0, "task_status says success", 3.0, 4)
    robot.policy("idle", chunks=11)
    goal = robot.page["goal"]
    assert (goal["running"], goal["chunks"], goal["elapsed"]) == (False, 4, 3.0)
    assert goal["result"].startswith("done")
    assert robot.page["history"] == ["push the bar", "lift the bar"]


def test_a_result_may_come_before_the_phase_does(robot: Robot) -> None:
    robot.view.goal_sent("lift the bar", 0.0, "Ada (#1)")
    robot.view.goal_ended(101, "no such word", 0.0, 0)
    assert (
        robot.page["goal"]["result"] == "not started: the instruction does not fit (no such word)"
    )
    assert robot.view.events_since(0)[-1]["level"] == "error"


def test_goals_of_others_are_followed_by_the_phase(robot: Robot) -> None:
    robot.policy("executing", "pick the cube", 3)
    assert robot.view.instruction == "pick the cube"
    robot.policy("holding", "pick the cube", 3)
    assert robot.view.goal_running
    robot.policy("idle", "", 3)
    assert not robot.view.goal_running


def test_limits_are_news_once_in_a_while(robot: Robot) -> None:
    clips = [0] * len(JOINTS)
    clips[2] = 1
    robot.control(2, "", position_clips=list(clips), acceleration_clips=[5] * len(JOINTS))
    clips[2] = 2
    robot.control(2, "", position_clips=list(clips))
    assert [text for text in robot.events if "limited" in text] == [
        f"{JOINTS[2]}: position limited"
    ]
    joint = robot.page["control"]["joints"][2]
    assert joint["clips"] == {"position": 2, "velocity": 0, "acceleration": 0, "step": 0}
    assert (joint["low"], joint["high"]) == PROFILE.arms["left"].limits[2].position
    robot.now += 11.0
    clips[2] = 3
    robot.control(2, "", position_clips=list(clips))
    assert len([text for text in robot.events if "limited" in text]) == 2


def test_events_are_bounded_and_numbered(robot: Robot) -> None:
    for number in range(250):
        robot.view.note("info", str(number))
    events = robot.view.events_since(0)
    assert len(events) == EVENTS
    assert events[-1]["text"] == "249"
    assert robot.view.events_since(events[-2]["number"]) == events[-1:]


def test_buttons_by_who_is_in(robot: Robot) -> None:
    robot.view.on_button("/panel", True)
    robot.view.on_button("this page", True)
    robot.view.on_button("/panel", False)
    assert robot.page["buttons"] == ["this page"]


def test_inputs_recording_and_diagnostics_come_from_diagnostics(robot: Robot) -> None:
    figures = {"cam_high rate (Hz)": "25", "cam_high age (s)": "0.04", "cam_high delay (s)": "x"}
    robot.view.on_diagnostic("policy_node: inputs", 1, "slow: cam_high", figures)
    robot.view.on_diagnostic("recorder_node: recording", 0, "ready", {"free (bytes)": "5000"})
    assert robot.page["inputs"] == [
        {"name": "cam_high", "rate": 25.0, "age": 0.04, "delay": None, "since": 0.0}
    ]
    assert robot.page["recording"]["free (bytes)"] == "5000"
    assert [(row["name"], row["level"]) for row in robot.page["diagnostics"]] == [
        ("policy_node: inputs", "warn"),
        ("recorder_node: recording", "ok"),
    ]
    robot.now += 60.0
    assert robot.page["recording"] == {"there": False}
    assert robot.page["diagnostics"] == []


def test_takeover_is_read_where_the_message_has_it(robot: Robot) -> None:
    robot.control(2, "", source=2, takeover=True, leader_age=0.1, deadman_age=0.2)
    control = robot.page["control"]
    assert (control["source"], control["takeover"]) == ("human", True)
    assert control["ages"]["leader"] == 0.1


def test_the_models_view_is_what_the_policy_is_fed() -> None:
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    for size in ((72, 96), (56, 56), (200, 100)):
        ours = as_the_model_sees(image, size).astype(int)
        assert np.abs(ours - resize_picture(image, size).astype(int)).max() <= 1
