# SPDX-License-Identifier: Apache-2.0
"""What the page shows, for Foxglove: a live server on this computer, which only gives.

Topics of each robot, its namespace before them: ``state`` (the page's snapshot), ``plot`` (figures by name),
``events``, and one per camera. Pictures are made only while somebody has subscribed to one.
``config/foxglove_layout.json`` shows them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.extras import parts_needed

if TYPE_CHECKING:
    from adamoe_ros.console.page_server import LedRobot

_PERIOD_S = 0.125
_HOST = "127.0.0.1"  # it asks nobody for a token: from elsewhere by 'ssh -L'


class FoxgloveFeed:
    """The server and its thread; runs until ``close``.

    Args:
        robots: by namespace, as the page has them.
        port: 0: a free one.

    Raises:
        ContractError: the SDK is not installed, or the port is taken.
    """

    def __init__(self, robots: Mapping[str, LedRobot], port: int) -> None:
        with parts_needed("console"):
            import foxglove
        self._context = context = foxglove.Context()  # channels close with it
        self._feeds = [_RobotFeed(name, robot, context) for name, robot in robots.items()]
        self._closing = threading.Event()
        try:
            self._server = foxglove.start_server(
                name="adamoe console",
                host=_HOST,
                port=port,
                context=context,
                server_listener=cast("Any", _Listener(self._feeds)),
            )
        except RuntimeError as error:
            do = "choose another --foxglove"
            raise ContractError(problem(f"{_HOST}:{port}", "a free port", error, do)) from error
        self._thread = threading.Thread(target=self._run, name="foxglove", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """That it listens on."""
        return int(self._server.port)

    def close(self) -> None:
        """End thread and server."""
        self._closing.set()
        self._thread.join(2.0)
        self._server.stop()

    def _run(self) -> None:
        while not self._closing.wait(_PERIOD_S):
            for feed in self._feeds:
                feed.turn()


class _RobotFeed:
    """The topics of one robot."""

    def __init__(self, name: str, robot: LedRobot, context: Any) -> None:
        from foxglove import Channel
        from foxglove.channels import CompressedImageChannel, LogChannel

        prefix = "" if name == "/" else name
        anything = {"type": "object"}
        self._robot, self._event = robot, 0
        self._state = Channel(f"{prefix}/state", schema=anything, context=context)
        self._plot = Channel(f"{prefix}/plot", schema=anything, context=context)
        self._events = LogChannel(f"{prefix}/events", context=context)
        self._cameras = [
            CompressedImageChannel(f"{prefix}/{slot}", context=context)
            for slot in robot.pictures.slots
        ]
        self._pictures = {f"{prefix}/{slot}" for slot in robot.pictures.slots}
        self._wanted: set[tuple[int, str]] = set()

    def subscribed(self, client: int, topic: str, wanted: bool) -> None:
        """A client wants a topic, or does not any more."""
        if topic not in self._pictures:
            return
        (self._wanted.add if wanted else self._wanted.discard)((client, topic))
        if self._wanted:
            self._robot.pictures.look(self, "raw", self._show)
        else:
            self._robot.pictures.look_away(self)

    def turn(self) -> None:
        """Snapshot and events of now."""
        from foxglove.messages import Log, LogLevel

        view = self._robot.view
        state = view.snapshot()
        self._state.log(state)
        self._plot.log(figures(state))
        levels = {"warn": LogLevel.Warning, "error": LogLevel.Error}
        for event in view.events_since(self._event):
            self._event = event["number"]
            level = levels.get(event["level"], LogLevel.Info)
            stamp = _timestamp(event["time"])
            self._events.log(Log(timestamp=stamp, level=level, message=event["text"]))

    def _show(self, camera: int, view: str, jpeg: bytes) -> None:
        from foxglove.messages import CompressedImage

        slot = self._robot.pictures.slots[camera]
        stamp = _timestamp(time.time())
        self._cameras[camera].log(
            CompressedImage(timestamp=stamp, frame_id=slot, data=jpeg, format="jpeg")
        )


class _Listener:
    """Subscriptions, as the SDK tells of them."""

    def __init__(self, feeds: list[_RobotFeed]) -> None:
        self._feeds = feeds

    def on_subscribe(self, client: Any, channel: Any) -> None:
        for feed in self._feeds:
            feed.subscribed(client.id, channel.topic, True)

    def on_unsubscribe(self, client: Any, channel: Any) -> None:
        for feed in self._feeds:
            feed.subscribed(client.id, channel.topic, False)


def figures(state: Mapping[str, Any]) -> dict[str, Any]:
    """What a plot wants, by names without a slash: joints, latency by stage, timing."""
    control, policy = state["control"], state["policy"]
    joints = {joint["name"].replace("/", "_"): joint for joint in control.get("joints", ())}
    return {
        "commanded": {name: joint["commanded"] for name, joint in joints.items()},
        "measured": {name: joint["measured"] for name, joint in joints.items()},
        "latency": {name: last for name, last, *_ in policy.get("stages", ())},
        "jitter_p99": control.get("jitter_p99"),
        "rate": control.get("rate"),
        "oldest_input": max((row.get("age") or 0.0 for row in state["inputs"]), default=None),
    }


def _timestamp(seconds: float) -> Any:
    from foxglove.messages import Timestamp

    return Timestamp(int(seconds), int(seconds % 1.0 * 1e9))
