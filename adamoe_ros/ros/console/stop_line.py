# SPDX-License-Identifier: Apache-2.0
"""The page's stop: a publisher and a client that are there before they are needed, and a thread of their own.

The page is one stop button among others: pressed it says so on ``emergency_stop`` and calls the service
of that name, so that one of both arrives. It is let out only while no other button is known to be in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.ros import names, qos
from adamoe_ros.ros.conflicts import PublisherGraph, publisher_gid

_WAIT_S = 3.0  # for the answer to a reset


class StopLine:
    """The stop and the reset of one robot.

    Args:
        namespace: of the robot; empty for none.
        resolve: relative name -> full name.
        on_button: called with who pressed or let out which button, and whether it is in.
    """

    def __init__(
        self,
        namespace: str,
        resolve: Callable[[str], str],
        on_button: Callable[[str, bool], None],
    ) -> None:
        self._node = Node(
            "console_stop",
            namespace=namespace,
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        topic = resolve(names.EMERGENCY_STOP)
        self._ours = self._node.get_fully_qualified_name()
        self._on_button, self._topic = on_button, topic
        self._pressed: set[str] = set()
        self._graph = PublisherGraph(self._node)
        make = self._node.create_client
        self._publisher = self._node.create_publisher(Bool, topic, qos.EMERGENCY_STOP)
        self._stop: Any = make(Trigger, resolve(names.EMERGENCY_STOP))
        self._reset: Any = make(Trigger, resolve(names.RESET))
        self._node.create_subscription(Bool, topic, self._note, qos.EMERGENCY_STOP)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="stop_line", daemon=True)
        self._thread.start()

    def stop(self) -> str:
        """Stop now; words for the person. Does not wait."""
        self._publisher.publish(Bool(data=True))
        there = bool(self._stop.service_is_ready())
        if there:
            self._stop.call_async(Trigger.Request())
        if there or self._publisher.get_subscription_count() > 1:  # one of them is our own
            return "stop sent"
        return "stop sent, but no control_node is there to hear it: use the robot's own stop"

    def let_out(self) -> str:
        """The page's button is out again.

        Raises:
            ContractError: another button is in, and the page does not speak for it.
        """
        others = sorted(self._pressed - {self._ours})
        if others:
            do = "let that one out at the robot"
            raise ContractError(problem("stop button", "no other one in", ", ".join(others), do))
        self._publisher.publish(Bool(data=False))
        return "the page's stop button is out; reset to release the robot"

    def reset(self) -> str:
        """Release the emergency stop; the node's words.

        Raises:
            ContractError: it is refused, with the reason.
        """
        answer = call(self._reset, Trigger.Request(), "control_node: reset", _WAIT_S)
        if not answer.success:
            raise ContractError(f"reset refused: {answer.message}")
        return str(answer.message)

    def close(self) -> None:
        """End the thread, then the node."""
        self._executor.shutdown(timeout_sec=2.0)
        self._thread.join(2.0)
        self._node.destroy_node()

    def _note(self, message: Bool, info: Any) -> None:
        who = self._name(publisher_gid(info))
        (self._pressed.add if message.data else self._pressed.discard)(who)
        self._on_button("this page" if who == self._ours else who, bool(message.data))

    def _name(self, gid: bytes) -> str:
        found = self._graph.names(self._topic, [gid])
        return found[0] if found else "a publisher that is not known yet"

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return


def call(client: Any, request: Any, what: str, seconds: float) -> Any:
    """The answer of a service; for threads that spin nothing.

    Raises:
        ContractError: nobody serves it, or no answer came in time.
    """
    if not client.service_is_ready():
        raise ContractError(problem(what, "its service", "none", "start the node"))
    return result_of(client.call_async(request), what, seconds)


def result_of(future: Any, what: str, seconds: float) -> Any:
    """What another thread's executor brings.

    Raises:
        ContractError: not within ``seconds``.
    """
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    if not done.wait(seconds) or future.result() is None:
        got = f"none within {seconds:g} s"
        raise ContractError(problem(what, "an answer", got, "look whether the node runs"))
    return future.result()
