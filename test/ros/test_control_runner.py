# SPDX-License-Identifier: Apache-2.0
"""The base of the nodes in one process: bugs in callbacks, refused transitions, errors as lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.parameters import ManagedParameters, param
from adamoe_ros.ros.lifecycle import ManagedNode
from adamoe_ros.ros.runner import _turn

pytestmark = pytest.mark.side_by_side


@dataclass(frozen=True)
class Params(ManagedParameters):
    """Parameters of the node under test."""

    wrong: bool = param(False, "Let configure fail.")


class Worker(ManagedNode[Params]):
    """Counts what it was asked to do."""

    def __init__(self) -> None:
        super().__init__("worker", Params)
        self.calls: list[str] = []

    def setup(self) -> None:
        self.calls.append("setup")
        if self.params.wrong:
            raise ContractError(["one: wrong", "two: wrong"])

    def start(self) -> None:
        self.calls.append("start")

    def stop(self) -> None:
        self.calls.append("stop")

    def teardown(self) -> None:
        self.calls.append("teardown")


@pytest.fixture
def worker() -> Iterator[Worker]:
    rclpy.init()
    node = Worker()
    yield node
    node.close()
    rclpy.try_shutdown()


def spin(node: Worker, turns: int = 5) -> None:
    executor = rclpy.executors.SingleThreadedExecutor()
    executor.add_node(node)
    for _ in range(turns):
        _turn(node, executor)
    executor.shutdown()


def test_a_bug_in_a_callback_stops_the_work_and_not_the_process(worker: Worker) -> None:
    worker.trigger_configure()
    worker.trigger_activate()
    timer = worker.create_timer(0.01, lambda: 1 / 0)
    spin(worker, 3)
    timer.cancel()
    assert worker.calls == ["setup", "start", "stop"]
    assert worker.state_name == "inactive"
    worker.trigger_activate()
    assert worker.active


def test_a_transition_the_state_does_not_have_changes_nothing(worker: Worker) -> None:
    client = worker.create_client(ChangeState, "worker/change_state")
    client.wait_for_service(5.0)
    client.call_async(ChangeState.Request(transition=Transition(id=Transition.TRANSITION_ACTIVATE)))
    spin(worker)
    assert worker.calls == []
    assert worker.state_name == "unconfigured"


def test_a_failed_configure_takes_down_what_was_made(worker: Worker) -> None:
    worker.set_parameters([rclpy.parameter.Parameter("wrong", value=True)])
    worker.trigger_configure()
    assert worker.calls == ["setup", "teardown"]
    assert worker.state_name == "unconfigured"


def test_close_from_active_stops_first_and_may_come_twice(worker: Worker) -> None:
    worker.trigger_configure()
    worker.trigger_activate()
    worker.close()
    worker.close()
    assert worker.calls == ["setup", "start", "stop", "teardown"]
