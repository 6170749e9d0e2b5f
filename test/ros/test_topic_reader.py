# SPDX-License-Identifier: Apache-2.0
"""The reader's thread: takes everything, in order, past the executor, and ends when it is told to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import rclpy
from control_rig import wait_until
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_msgs.msg import Int32, String

from adamoe_ros.ros.topic_reader import PAST_EXECUTORS, TopicReader

QOS = QoSProfile(depth=100)
NOTHING: Callable[[], None] = lambda: None  # noqa: E731


@pytest.fixture
def node() -> Iterator[Node]:
    context = Context()
    rclpy.init(context=context)
    made = rclpy.create_node("reader_test", context=context)
    yield made
    made.destroy_node()
    rclpy.try_shutdown(context=context)


class Reader:
    """Two topics, and what came of them."""

    def __init__(self, node: Node, settled: Callable[[], None] = NOTHING) -> None:
        self.taken: list[str] = []
        self.errors: list[Exception] = []
        self.numbers = node.create_publisher(Int32, "numbers", QOS)
        self.words = node.create_publisher(String, "words", QOS)
        listen = partial(node.create_subscription, qos_profile=QOS, callback_group=PAST_EXECUTORS)
        self.subscriptions = [
            listen(String, "words", lambda message: self.taken.append(message.data)),
            listen(Int32, "numbers", self._number),
        ]
        self.reader = TopicReader(node, self.subscriptions, settled, self.errors.append)
        for publisher in (self.numbers, self.words):
            wait_until(publisher.get_subscription_count, "the reader to listen")

    def _number(self, message: Int32) -> None:
        if message.data < 0:
            raise ValueError("below zero")
        self.taken.append(str(message.data))


def test_everything_is_taken_in_order_without_an_executor(node: Node) -> None:
    made = Reader(node)
    wanted = [str(number) for number in range(80)]
    for number in range(80):
        made.numbers.publish(Int32(data=number))
    wait_until(lambda: len(made.taken) == 80, "all numbers")
    assert made.taken == wanted
    made.reader.close()
    assert not made.reader.alive
    made.reader.close()  # once more does nothing


def test_topics_given_first_are_served_first_in_a_turn(node: Node) -> None:
    entered, leave = threading.Event(), threading.Event()

    def settled() -> None:
        entered.set()
        assert leave.wait(30.0)

    made = Reader(node, settled)
    made.numbers.publish(Int32(data=0))
    assert entered.wait(30.0)
    for number in (1, 2):
        made.numbers.publish(Int32(data=number))
    made.words.publish(String(data="a"))
    wait_until(lambda: _waiting(node, made.subscriptions), "the messages to wait")
    leave.set()
    wait_until(lambda: len(made.taken) == 4, "the rest")
    assert made.taken == ["0", "a", "1", "2"]
    made.reader.close()


def _waiting(node: Node, subscriptions: list) -> bool:  # type: ignore[type-arg]
    """Whether both topics have something for the reader, which does not look at them now."""
    from rclpy.impl.implementation_singleton import rclpy_implementation

    handle = node.context.handle
    assert handle is not None
    wait_set = rclpy_implementation.WaitSet(len(subscriptions), 0, 0, 0, 0, 0, handle)
    wait_set.clear_entities()
    for subscription in subscriptions:
        wait_set.add_subscription(subscription.handle)
    wait_set.wait(0)
    return len(wait_set.get_ready_entities("subscription")) == len(subscriptions)


def test_an_executor_leaves_its_messages_alone(node: Node) -> None:
    made = Reader(node)
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    spinner = threading.Thread(target=executor.spin, daemon=True)
    spinner.start()
    for number in range(50):
        made.numbers.publish(Int32(data=number))
    wait_until(lambda: len(made.taken) == 50, "all numbers")
    assert made.taken == [str(number) for number in range(50)]
    executor.shutdown()
    spinner.join(30.0)
    made.reader.close()
    assert made.errors == []


def test_an_exception_ends_the_thread_and_is_handed_on(node: Node) -> None:
    made = Reader(node)
    made.numbers.publish(Int32(data=-1))
    wait_until(lambda: made.errors, "the exception")
    wait_until(lambda: not made.reader.alive, "the end of the thread")
    assert str(made.errors[0]) == "below zero"
    made.reader.close()


def test_a_subscription_may_go_while_it_is_waited_for(node: Node) -> None:
    made = Reader(node)
    node.destroy_subscription(made.subscriptions[1])
    made.words.publish(String(data="a"))
    wait_until(lambda: made.taken == ["a"], "the word")
    made.reader.close()
    assert made.errors == []


def test_it_ends_when_somebody_shuts_the_context_down(node: Node) -> None:
    made = Reader(node)
    rclpy.shutdown(context=node.context)
    wait_until(lambda: not made.reader.alive, "the end of the thread")
    assert made.errors == []
    made.reader.close()


def test_it_may_be_closed_by_what_it_calls(node: Node) -> None:
    readers: list[Reader] = []
    made = Reader(node, lambda: readers[0].reader.close())
    readers.append(made)
    made.numbers.publish(Int32(data=1))
    wait_until(lambda: not made.reader.alive, "the end of the thread")
    assert made.taken == ["1"]
    assert made.errors == []
