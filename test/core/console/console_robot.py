# SPDX-License-Identifier: Apache-2.0
"""What ``ros/console`` puts behind the page, without nodes."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from adamoe_ros.console.picture_feed import PictureFeed
from adamoe_ros.console.robot_view import RobotView
from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.profile_io import load_profile
from adamoe_ros.contract.resources import robots_dir

PROFILE = load_profile(robots_dir() / "aloha_sim.yaml")


class Robot:
    """Notes stops; orders are answered, refused or held by their name."""

    def __init__(self) -> None:
        self.view = RobotView("", PROFILE)
        self.leader = self.view.leader
        self.pictures = PictureFeed(tuple(PROFILE.present_cameras), (72, 96), 50.0, self.failed)
        self.stops: list[str] = []
        self.lines: list[str] = []
        self.held = threading.Event()

    def failed(self, line: str) -> None:
        self.lines.append(line)

    def stop(self, who: str) -> str:
        self.stops.append(who)
        return "stop sent"

    def act(self, what: str, values: Mapping[str, Any], who: str) -> str:
        if what == "wait":
            self.held.wait(30.0)
        if what == "refuse":
            raise ContractError("reset refused: the stop is still pressed")
        return f"{what} by {who}"
