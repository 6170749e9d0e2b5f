# SPDX-License-Identifier: Apache-2.0
"""The Foxglove server gives what the layout file asks for, and wants pictures only for a subscriber."""

from __future__ import annotations

import json
import struct
import time

import numpy as np
import pytest
from console_robot import PROFILE, Robot
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from adamoe_ros.console.foxglove_feed import FoxgloveFeed
from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.resources import share_dir

LAYOUT = json.loads((share_dir() / "config" / "foxglove_layout.json").read_text())


def topics_of_the_layout() -> set[str]:
    found = set()
    for name, panel in LAYOUT["configById"].items():
        if name.startswith("Image"):
            found.add(panel["imageMode"]["imageTopic"])
        elif name.startswith("Plot"):
            found |= {path["value"].partition(".")[0] for path in panel["paths"]}
        else:
            found.add(str(panel.get("topicPath", panel.get("topicToRender"))).partition(".")[0])
    return found


def test_a_client_finds_every_topic_and_gets_pictures_while_it_wants_them() -> None:
    robot = Robot()
    feed = FoxgloveFeed({"/": robot}, 0)
    try:
        protocol = Subprotocol("foxglove.sdk.v1")
        with connect(f"ws://127.0.0.1:{feed.port}", subprotocols=[protocol]) as client:
            channels: dict[str, int] = {}
            while not topics_of_the_layout() <= set(channels):
                message = json.loads(client.recv(20))
                for channel in message.get("channels", ()):
                    channels[channel["topic"]] = channel["id"]
            assert {f"/{slot}" for slot in PROFILE.present_cameras} <= set(channels)
            assert not robot.pictures.looked_at
            ids = [channels["/state"], channels["/cam_high"]]
            asked = [{"id": number, "channelId": each} for number, each in enumerate(ids)]
            client.send(json.dumps({"op": "subscribe", "subscriptions": asked}))
            seen: set[int] = set()
            while seen != {0, 1}:
                robot.pictures.offer("cam_high", lambda: np.zeros((48, 64, 3), np.uint8))
                data = client.recv(20)
                if isinstance(data, bytes):
                    seen.add(struct.unpack("<I", data[1:5])[0])
            client.send(json.dumps({"op": "unsubscribe", "subscriptionIds": [1]}))
            end = time.monotonic() + 20.0
            while robot.pictures.looked_at and time.monotonic() < end:
                time.sleep(0.01)
            assert not robot.pictures.looked_at
        with pytest.raises(ContractError, match="expected a free port"):
            FoxgloveFeed({"/": robot}, feed.port)
    finally:
        feed.close()
        robot.pictures.close()
