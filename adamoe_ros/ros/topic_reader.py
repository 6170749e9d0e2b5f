# SPDX-License-Identifier: Apache-2.0
"""Takes the messages of busy topics in a thread of its own, past the executor.

An rclpy executor builds its wait set over everything the node has before every single callback: with
services, timers and an action server that costs more than a joint state is worth. This thread waits
for a few subscriptions only, and takes all that has arrived. Imports rclpy; wait set and taking are as
in ``rclpy.wait_for_message``, the same from Humble to Kilted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.guard_condition import GuardCondition
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile

_LOOK = 500_000_000  # ns between looks at a context that somebody else has shut down
_GATHER = 0.002  # s that messages may gather after a turn: one wake-up then serves several


class NoExecutor(CallbackGroup):
    """Entities of this group are left alone by every executor."""

    def can_execute(self, entity: Any) -> bool:
        """Never."""
        return False

    def beginning_execution(self, entity: Any) -> bool:
        """Never."""
        return False

    def ending_execution(self, entity: Any) -> None:
        """Nothing has begun."""


@dataclass(frozen=True)
class Topic:
    """What to take.

    Attributes:
        kind: message class.
        name: as given to ``create_subscription``.
        qos: of the subscription.
        take: called with each message, in the reader's thread.
    """

    kind: Any
    name: str
    qos: QoSProfile
    take: Callable[[Any], None]


class TopicReader:
    """The thread; runs from when it is made until ``close``.

    Args:
        node: subscriptions are made on it.
        topics: those that are served first come first.
        settled: called when everything that had arrived was taken.
        failed: called with what ``take`` or ``settled`` raised; the thread has ended then.
    """

    def __init__(
        self,
        node: Node,
        topics: Sequence[Topic],
        settled: Callable[[], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._node, self._topics = node, topics
        self._settled, self._failed = settled, failed
        self._closing = threading.Event()
        self._wake = GuardCondition(None, None, context=node.context)
        group = NoExecutor()
        self._subscriptions = [
            node.create_subscription(
                topic.kind, topic.name, topic.take, topic.qos, callback_group=group
            )
            for topic in topics
        ]
        self._thread = threading.Thread(target=self._run, name="topic_reader", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and destroy the subscriptions. May be called twice, and by the thread."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._wake.trigger()
        if self._thread is not threading.current_thread():
            self._thread.join()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._wake.destroy()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        context = self._node.context
        try:
            with ExitStack() as held:  # nothing of it goes away while it is waited for
                for handle in (context.handle, self._wake.handle, *self._handles()):
                    held.enter_context(handle)
                sizes = (len(self._subscriptions), 1, 0, 0, 0, 0)
                assert context.handle is not None  # the node was made with it
                wait_set = _rclpy.WaitSet(*sizes, context.handle)
                while not self._closing.is_set() and context.ok():
                    self._turn(wait_set)
        except Exception as error:
            if not self._closing.is_set() and context.ok():
                self._failed(error)

    def _handles(self) -> list[Any]:
        return [subscription.handle for subscription in self._subscriptions]

    def _turn(self, wait_set: Any) -> None:
        """Wait, take all that has arrived, say so."""
        wait_set.clear_entities()
        wait_set.add_guard_condition(self._wake.handle)
        for handle in self._handles():
            wait_set.add_subscription(handle)
        wait_set.wait(_LOOK)
        ready = set(wait_set.get_ready_entities("subscription"))
        if not ready or self._closing.is_set():
            return
        for topic, handle in zip(self._topics, self._handles(), strict=True):
            if handle.pointer in ready:
                self._drain(topic, handle)
        self._settled()
        self._closing.wait(_GATHER)

    def _drain(self, topic: Topic, handle: Any) -> None:
        for _ in range(
            topic.qos.depth
        ):  # not more: a flood on one topic must not hold up the others
            taken = handle.take_message(topic.kind, False)
            if taken is None:
                return
            topic.take(taken[0])
