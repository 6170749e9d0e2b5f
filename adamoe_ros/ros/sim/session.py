# SPDX-License-Identifier: Apache-2.0
"""One simulator session: ``sim_node``, ``policy_node`` and ``control_node`` as processes of their own,
and the director that runs episodes on them. For ``adamoe demo`` and ``adamoe evaluate --ros``.

The environment must be complete before this module is imported: see ``node_processes``.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType

import rclpy
from rclpy.signals import SignalHandlerOptions

from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.data.recording import Change, Episode
from adamoe_ros.ros.runner import ros_arguments, starting_ros
from adamoe_ros.ros.sim.director import Director
from adamoe_ros.ros.sim.node_processes import NodeProcesses

_SIM_ROBOT = "aloha_sim"  # what sim_node speaks, whatever profile policy and control are given
# s: on a computer that is busy with other things inputs come late; the arms hold then, and the goal goes on
_PATIENCE = 10.0
Values = Mapping[str, object]


class SimSession:
    """Nodes that run, and their director.

    Args:
        profile: of policy and control.
        nodes: to start processes with.
        sim, policy, control: parameters of the three nodes.
        on_turn: called between messages, often.
    """

    def __init__(
        self,
        profile: RobotProfile,
        nodes: NodeProcesses,
        sim: Values,
        policy: Values,
        control: Values,
        on_turn: Callable[[], None] = lambda: None,
    ) -> None:
        self.nodes = nodes
        self._on_turn = on_turn
        start_nodes(nodes, sim, policy, control)
        self.director = Director(profile, self._turn)
        self.live = self.director.recorder.live

    def _turn(self) -> None:
        self.nodes.check()
        self._on_turn()

    def begin_episode(self, episode: Episode) -> None:
        """Set the scene up and activate the nodes.

        Args:
            episode: without an instruction, it is given the simulator's own for the seed.
        """
        episode.instruction = self.director.begin_episode(
            episode.task, episode.instruction, episode.seed
        )

    def finish_episode(
        self, episode: Episode, instruction: str, limit: float, change: Change | None = None
    ) -> None:
        """Give an instruction in the scene that was set up, record, and deactivate the nodes at the end.

        Args:
            episode: filled.
            limit: s of the robot's clock.
            change: another instruction that is given meanwhile.
        """
        director = self.director
        director.recorder.begin(episode)
        begun = time.monotonic()
        result = director.execute(instruction, limit, change)
        episode.wall = time.monotonic() - begun
        director.recorder.end()
        episode.result_code, episode.result_message = int(result.code), result.message
        episode.elapsed = float(result.elapsed)
        director.end_episode()


@contextlib.contextmanager
def sim_session(
    profile: RobotProfile,
    environment: Mapping[str, str],
    logs: Path,
    sim: Values,
    policy: Values,
    control: Values,
    on_turn: Callable[[], None] = lambda: None,
) -> Iterator[SimSession]:
    """rclpy and the nodes from begin to end; SIGTERM ends the block as Ctrl-C does.

    Raises:
        ContractError: a node ended, or refused a transition.
        SessionFailed: a node did not answer in time.
    """
    old = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with starting_ros():
            rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        with NodeProcesses(environment, logs) as nodes:
            session = SimSession(profile, nodes, sim, policy, control, on_turn)
            try:
                yield session
            finally:
                session.director.cancel()
                session.director.close()
    finally:
        rclpy.try_shutdown()
        signal.signal(signal.SIGTERM, old)


def start_nodes(nodes: NodeProcesses, sim: Values, policy: Values, control: Values) -> None:
    """Start simulator, policy and control with these parameters, all on the simulator's clock."""
    rows: dict[str, Values] = {
        "sim": {"robot": _SIM_ROBOT, **sim},
        "policy": {"use_sim_time": True, "input_patience": _PATIENCE, **policy},
        "control": {"use_sim_time": True, **control},
    }
    for name, values in rows.items():
        module = f"adamoe_ros.ros.{name}.{name}_node"
        nodes.start(f"{name}_node", module, ros_arguments(values))


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
