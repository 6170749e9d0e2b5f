# SPDX-License-Identifier: Apache-2.0
"""The operator's page beside a real control_node: stop, reset and its refusal, a console that is killed."""

from __future__ import annotations

import json
import re
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import CHROMIUM, Browser
from control_rig import Process, Rig, node_command, wait_until
from websockets.sync.client import ClientConnection, connect

from adamoe_ros.msg import ControlStatus

# longer times than a robot's: a starved process is not what is played here
PROFILE = """
extends: aloha_sim
name: rig
use_sim_time: false
arms:
  left: {state: {timeout: 2.0}}
  right: {state: {timeout: 2.0}}
teleop:
  arms: {left: {timeout: 1.0}, right: {timeout: 1.0}}
  deadman: {timeout: 1.0}
watchdogs: {policy: 5.0, chunk: 5.0}
"""


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("console")
    profile = folder / "rig.yaml"
    profile.write_text(PROFILE)
    with Rig(folder, str(profile), {"cameras": True}, namespace="left") as made:
        start_console(made)
        made.holding()
        yield made


def start_console(rig: Rig) -> Process:
    robots = ["left", "right"]  # the right one never starts
    parameters = {"robot": rig.folder / "rig.yaml", "robots": robots, "port": 0}
    module = "adamoe_ros.ros.console.console_node"
    return rig.start("console", node_command(module, "ConsoleNode", parameters))


def url(rig: Rig) -> str:
    """Of the page, from the node's own words."""
    console = rig.processes["console"]
    wait_until(lambda: re.search(r"http://\S+", console.text), lambda: console.text)
    return re.findall(r"http://\S+", console.text)[-1]


@contextmanager
def line(rig: Rig, path: str, **hello: Any) -> Iterator[ClientConnection]:
    with connect(url(rig).replace("http", "ws") + path) as opened:
        opened.send(json.dumps({"robot": "/left", "name": "test", **hello}))
        yield opened


def until(page: ClientConnection, wanted: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    end = time.monotonic() + 60.0
    while time.monotonic() < end:
        message: dict[str, Any] = json.loads(page.recv(60))
        if wanted(message):
            return message
    raise AssertionError(f"it did not come; last: {message}")


def shows(page: ClientConnection, mode: str) -> dict[str, Any]:
    """The robot, once the page shows this mode."""
    found = until(
        page, lambda message: message.get("state", {}).get("control", {}).get("mode") == mode
    )
    state: dict[str, Any] = found["state"]
    return state


def order(page: ClientConnection, what: str, **values: Any) -> dict[str, Any]:
    page.send(json.dumps({"act": what, "id": what, **values}))
    return until(page, lambda message: message.get("answer") == what)


def test_the_page_shows_the_robot_and_its_cameras(rig: Rig) -> None:
    with line(rig, "live") as page, line(rig, "pictures", view="raw") as pictures:
        control = shows(page, "hold")["control"]
        assert [joint["name"] for joint in control["joints"]] == list(rig.profile.joint_ids)
        assert np.allclose([joint["measured"] for joint in control["joints"]], rig.home, atol=0.05)
        assert {pictures.recv(60)[0] for _ in range(12)} == {0, 1, 2}
        until(page, lambda m: m.get("state", {}).get("control", {}).get("speed_scale") == 1.0)
        assert order(page, "speed", scale=0.5)["ok"]
        until(page, lambda m: m.get("state", {}).get("control", {}).get("speed_scale") == 0.5)
        assert not order(page, "speed", scale=7)["ok"]
        assert order(page, "speed", scale=1.0)["ok"]


def test_a_robot_that_is_not_there_is_said_so(rig: Rig) -> None:
    with line(rig, "live", robot="/right") as page, line(rig, "stop") as stop:
        assert shows(page, "unknown")["namespace"] == "right"
        stop.send(json.dumps({"stop": True, "robot": "/right"}))
        assert "no control_node is there" in json.loads(stop.recv(60))["words"]
    assert rig.probe.status.mode == ControlStatus.HOLD


def test_stop_reset_refused_reset(rig: Rig) -> None:
    rig.move(8.0)
    with line(rig, "live") as page, line(rig, "stop") as stop:
        shows(page, "running")
        stop.send(json.dumps({"stop": True, "robot": "/left"}))
        rig.probe.wait_mode(ControlStatus.ESTOP)
        for samples in rig.probe.commands.values():
            rig.probe.wait_quiet(samples)
        assert until(page, lambda m: m.get("state", {}).get("buttons"))["state"]["buttons"] == [
            "this page"
        ]
        answer = order(page, "reset")
        assert (answer["ok"], answer["words"]) == (
            False,
            "reset refused: the stop is still pressed",
        )
        rig.probe.emergency_stop(True)  # a button at the robot goes in, too
        until(page, lambda m: "/left/probe" in m.get("state", {}).get("buttons", ()))
        answer = order(page, "let_out")
        assert not answer["ok"]
        assert "/left/probe" in answer["words"]
        rig.probe.emergency_stop(False)
        until(page, lambda m: m.get("state", {}).get("buttons") == ["this page"])
        assert order(page, "let_out")["ok"]
        assert order(page, "reset")["ok"]
        shows(page, "hold")
    assert rig.probe.status.hold_cause == "reset"


def test_a_person_leads_from_the_page_until_it_falls_silent(rig: Rig) -> None:
    rig.settle()
    probe, waist = rig.probe, "left/waist"
    column = rig.profile.joint_ids.index(waist)
    before = probe.status.commanded[column]
    with line(rig, "live") as page:
        number = until(page, lambda message: "you" in message)["you"]["number"]
        shows(page, "hold")
        with line(rig, "lead", number=number) as lead:

            def answers(held: bool | None, wanted: Callable[[], Any]) -> int:
                """None: it only listens. The last beat."""
                end, beat = time.monotonic() + 60.0, 0
                while not wanted():
                    assert time.monotonic() < end, probe.status
                    beat = json.loads(lead.recv(60))["beat"]
                    if held is not None:
                        lead.send(json.dumps({"beat": beat, "held": held, "jog": {waist: 1.0}}))
                return beat

            human = ControlStatus.SOURCE_HUMAN
            answers(False, lambda: 0 <= probe.status.deadman_age < 0.5)
            assert probe.status.source != human
            answers(True, lambda: probe.status.source == human)
            old = answers(True, lambda: probe.status.commanded[column] > before + 0.2)
            answers(None, lambda: probe.status.source != human)  # as on a network that was cut
            assert probe.status.mode == ControlStatus.HOLD
            for held in (False, True):  # what was under way meanwhile is too old to count
                lead.send(json.dumps({"beat": old, "held": held, "jog": {}}))
            seen = len(probe.statuses)
            answers(None, lambda: len(probe.statuses) > seen + 20)
            assert human not in {status.source for _, status in probe.statuses[seen:]}
        until(
            page, lambda m: m.get("state", {}).get("takeover", {}).get("page", {}).get("by") == ""
        )


def test_a_console_that_is_killed_changes_nothing_for_the_arms(rig: Rig) -> None:
    rig.settle()
    rig.move(6.0)
    samples = next(iter(rig.probe.commands.values()))
    with line(rig, "live") as page:
        shows(page, "running")
        first = len(rig.probe.statuses)
        rig.processes["console"].stop(signal.SIGKILL)
        seen = len(samples)
        rig.probe.wait(lambda: len(samples) > seen + 50, "commands after the console's end")
        modes = {(status.mode, status.hold_cause) for _, status in rig.probe.statuses[first:]}
        assert modes == {(ControlStatus.RUNNING, "")}
    rig.probe.hold("cancelled")
    rig.probe.wait_mode(ControlStatus.HOLD, "cancelled")
    start_console(rig)
    with line(rig, "live") as page:
        assert shows(page, "hold")["control"]["cause"] == "cancelled"


def test_orders_without_a_policy_are_refused_in_words(rig: Rig) -> None:
    with line(rig, "live") as page:
        for what, values, words in (
            (
                "start",
                {"instruction": "lift"},
                "policy_node: expected its action execute, got none",
            ),
            ("start", {"instruction": "  "}, "instruction: expected a sentence"),
            ("cancel", {}, "policy_node: cancel: expected its service, got none"),
            ("record", {"command": "start"}, "recorder_node: control_recording"),
            ("record", {"command": "burn"}, "recording: expected start"),
            ("jump", {}, "order: expected start"),
        ):
            answer = order(page, what, **values)
            assert not answer["ok"]
            assert answer["words"].startswith(words), answer


def test_a_browser_shows_it_and_its_keys_stop(rig: Rig, tmp_path: Path) -> None:
    """Where Chromium is installed it runs the page; elsewhere the page is fetched."""
    if CHROMIUM is None:
        assert 'id="stop"' in urllib.request.urlopen(url(rig)).read().decode()
        return
    with Browser(tmp_path, url(rig)) as browser:
        browser.wait_for("#mode", "HOLDING")
        browser.wait_for("#link", "connected")
        assert browser.value("document.querySelectorAll('.joint').length") == len(rig.home)
        browser.wait_for("#cameras", "Hz")
        browser.value("document.querySelector('#sentence').focus()")
        browser.press(" ", 32)  # in a text it is a space
        browser.press("Escape", 27)
        rig.probe.wait_mode(ControlStatus.ESTOP)
        browser.wait_for("#mode", "STOPPED")
        for button in ("reset", "let-out", "reset"):
            browser.value(f"document.querySelector('#{button}').click()")
            words = {"reset": "re", "let-out": "button is out"}[button]
            browser.wait_for("#toast", words)
        browser.wait_for("#mode", "HOLDING")
        browser.value("document.activeElement.blur()")
        browser.press(" ", 32)
        rig.probe.wait_mode(ControlStatus.ESTOP)
