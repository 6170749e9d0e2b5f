# SPDX-License-Identifier: Apache-2.0
"""console_node: serves the operator's page for one robot or several. Ends without a word to the arms."""

from __future__ import annotations

import sys
import traceback
from functools import partial
from pathlib import Path

from rclpy.node import Node

from adamoe_ros.console.foxglove_feed import FoxgloveFeed
from adamoe_ros.console.page_server import PageServer
from adamoe_ros.console.picture_feed import PictureFeed
from adamoe_ros.console.robot_view import RobotView
from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.manifest import load_manifest
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.model.config import ModelConfig
from adamoe_ros.ros.console.console_parameters import ConsoleParameters
from adamoe_ros.ros.console.robot_link import RobotLink
from adamoe_ros.ros.control.control_diagnostics import advice
from adamoe_ros.ros.live_parameters import LiveParameters
from adamoe_ros.serving.door import make_door, read_token


class ConsoleNode(Node):
    """The console as a node.

    Raises:
        ContractError: a parameter, a profile, the checkpoint or the address does not fit.
    """

    def __init__(self) -> None:
        super().__init__("console_node")
        self._closed = False
        self._live = LiveParameters(self, ConsoleParameters)
        params = self._live.values
        door = make_door(
            params.host,
            params.port,
            _path(params.token_file),
            _path(params.certificate),
            _path(params.key),
            params.insecure,
        )
        view_token = read_token(Path(params.view_token_file)) if params.view_token_file else ""
        sentences, size = _of_checkpoint(params.checkpoint)
        self.links: dict[str, RobotLink] = {}
        for namespace, robot in self._robots(params).items():
            self.links[namespace] = self._link(namespace, robot, sentences, size, params)
        self.server = PageServer(self.links, door, view_token)
        self.server.start()
        self._foxglove = _foxglove(self.links, params.foxglove_port)
        self.get_logger().info(f"console: {self.server.url}")

    def _robots(self, params: ConsoleParameters) -> dict[str, str]:
        """Namespace -> profile."""
        entries = params.robots or (self.get_namespace(),)
        found = {}
        for entry in entries:
            namespace, _, robot = entry.partition("=")
            name = robot or params.robot
            if not name:
                do = f"set robot:=..., or robots:=[{namespace}=PROFILE]"
                raise ContractError(problem("parameter robot", "a profile", "none", do))
            found["/" + namespace.strip("/")] = name
        return found

    def _link(
        self,
        namespace: str,
        robot: str,
        sentences: tuple[str, ...],
        size: tuple[int, int] | None,
        params: ConsoleParameters,
    ) -> RobotLink:
        profile = load_profile(profile_path(robot, robots_dir()))
        own = namespace.strip("/") == self.get_namespace().strip("/")
        node = (
            self if own else Node("console_node", namespace=namespace, use_global_arguments=False)
        )
        view = RobotView(namespace.strip("/"), profile, advice, sentences, params.tasks)
        view.model_pictures = size is not None
        feed = PictureFeed(
            tuple(profile.present_cameras), size, params.picture_rate, partial(view.note, "warn")
        )
        doctor = ["--robot", robot]
        return RobotLink(node, view, feed, node.resolve_topic_name, doctor)

    @property
    def companions(self) -> list[Node]:
        """Nodes that have to be spun as well."""
        return [link.node for link in self.links.values() if link.node is not self]

    @property
    def state_name(self) -> str:
        """``active`` until it is closed."""
        return "finalized" if self._closed else "active"

    def halt(self) -> None:
        """Close the page; may be called twice."""
        self.server.stop()
        if self._foxglove is not None:
            self._foxglove.close()
            self._foxglove = None

    def close(self) -> None:
        """``halt``, then destroy the nodes."""
        if self._closed:
            return
        self._closed = True
        self.halt()
        for link in self.links.values():
            link.close()
        for node in (*self.companions, self):
            node.destroy_node()

    def callback_failed(self, error: Exception) -> None:
        """A callback raised: log it and stay open."""
        text = "".join(traceback.format_exception(error))
        self.get_logger().fatal(f"a callback failed by a bug in adamoe_ros:\n{text}")


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _foxglove(links: dict[str, RobotLink], port: int) -> FoxgloveFeed | None:
    return FoxgloveFeed(links, port) if port else None


def _of_checkpoint(folder: str) -> tuple[tuple[str, ...], tuple[int, int] | None]:
    """Trained sentences and size of the pictures; nothing without a checkpoint."""
    import json

    if not folder:
        return (), None
    path = Path(folder)
    config = ModelConfig.from_dict(json.loads((path / "config.json").read_text(encoding="utf-8")))
    return load_manifest(path / "manifest.json").instructions, config.vision.image_size


def main() -> int:
    """Run the node; the exit code."""
    from adamoe_ros.ros.runner import main as run

    return run("adamoe_ros.ros.console.console_node", "ConsoleNode")


if __name__ == "__main__":
    sys.exit(main())
