# SPDX-License-Identifier: Apache-2.0
"""ROS and the three nodes of a simulated run, from begin to end: for ``demo`` and ``evaluate``.

Imports ROS inside functions, after the environment is complete.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType

from adamoe_ros.cli.demo_processes import NodeProcesses
from adamoe_ros.contract.errors import ContractError

_SIM_ROBOT = "aloha_sim"  # what sim_node speaks, whatever profile policy and control are given
# s: on a computer that is busy with other things inputs come late; the arms hold then, and the goal goes on
_PATIENCE = 2.0
Values = Mapping[str, object]


@contextlib.contextmanager
def node_session(environment: Mapping[str, str], logs: Path) -> Iterator[NodeProcesses]:
    """rclpy and a place for node processes; both end with the block, SIGTERM ends it as Ctrl-C does."""
    from adamoe_ros.ros.sim.demo_director import ros_session

    old = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with ros_session(), NodeProcesses(environment, logs) as nodes:
            yield nodes
    finally:
        signal.signal(signal.SIGTERM, old)


def start_nodes(nodes: NodeProcesses, sim: Values, policy: Values, control: Values) -> None:
    """Start simulator, policy and control with these parameters, all on the simulator's clock."""
    rows: dict[str, Values] = {
        "sim_node": {"robot": _SIM_ROBOT, **sim},
        "policy_node": {"use_sim_time": True, "max_observation_age": _PATIENCE, **policy},
        "control_node": {"use_sim_time": True, **control},
    }
    for name, values in rows.items():
        nodes.start(name, f"adamoe_ros.ros.{name}", ros_arguments(values))


def check_running(nodes: NodeProcesses) -> None:
    """Raises ``ContractError`` with the last words of a node that ended."""
    ended = nodes.ended()
    if ended is not None:
        raise ContractError(ended.last_line or f"{ended.name}: ended without a word")


def ros_arguments(values: Values) -> list[str]:
    """``--ros-args`` with parameters."""
    arguments = ["--ros-args"]
    for name, value in values.items():
        if isinstance(value, bool):
            text = "true" if value else "false"
        elif isinstance(value, (int, float)):
            text = repr(value)
        else:
            text = "'" + str(value).replace("'", "''") + "'"  # YAML, so that 1e3 stays a text
        arguments += ["-p", f"{name}:={text}"]
    return arguments


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
