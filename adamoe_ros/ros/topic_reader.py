# SPDX-License-Identifier: Apache-2.0
"""Takes the messages of busy topics in a thread of its own, past the executor.

An rclpy executor builds its wait set over everything the node has before every single callback: with
services, timers and an action server that costs more than a joint state is worth. This thread waits
for a few subscriptions only, and takes all that has arrived.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, cast

from rclpy.callback_groups import CallbackGroup
from rclpy.guard_condition import GuardCondition
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.node import Node
from rclpy.subscription import Subscription

_LOOK = 500_000_000  # ns between looks at a context that somebody else has shut down
_SHORT = 20_000_000  # ns
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


PAST_EXECUTORS = NoExecutor()


Takers = dict[Subscription[Any], Callable[[Any, Any], None]]


def take_while(node: Node, takers: Callable[[], Takers], waiting: Callable[[], bool]) -> None:
    """Serve a few subscriptions from inside a callback of a single-threaded executor.

    Args:
        takers: subscription -> what takes its messages, with their information; asked every turn.
        waiting: whether to go on; asked several times a second.
    """
    context = node.context
    assert context.handle is not None  # the node was made with it
    with context.handle:
        while waiting() and context.ok():
            serving = takers()
            wait_set = _rclpy.WaitSet(len(serving), 0, 0, 0, 0, 0, context.handle)
            wait_set.clear_entities()
            for subscription in serving:
                wait_set.add_subscription(subscription.handle)
            wait_set.wait(_SHORT)
            for subscription, take in serving.items():
                _drain(subscription, take)


def without_info(callback: Callable[[Any], None]) -> Callable[[Any, Any], None]:
    """A taker that gives a callback the message alone."""
    return lambda message, _: callback(message)


def _drain(subscription: Subscription[Any], take: Callable[[Any, Any], None]) -> None:
    # not more than can have waited: a flood on one topic must not hold up the others
    for _ in range(subscription.qos_profile.depth):
        taken = subscription.handle.take_message(subscription.msg_type, False)
        if taken is None:
            return
        take(*taken)


class TopicReader:
    """The thread; runs from when it is made until ``close``.

    Args:
        node: who has the subscriptions.
        subscriptions: in the group ``PAST_EXECUTORS``; those that are served first come first. Their
            callbacks run in the reader's thread.
        settled: called when everything that had arrived was taken.
        failed: called with what a callback or ``settled`` raised; the thread has ended then.
    """

    def __init__(
        self,
        node: Node,
        subscriptions: Sequence[Subscription[Any]],
        settled: Callable[[], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._context = node.context
        self._subscriptions = list(subscriptions)
        self._settled, self._failed = settled, failed
        self._closing = threading.Event()
        self._wake = GuardCondition(None, None, context=node.context)
        self._thread = threading.Thread(target=self._run, name="topic_reader", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; the subscriptions may go then. May be called twice, and by the thread."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._wake.trigger()
        if self._thread is not threading.current_thread():
            self._thread.join()
        self._wake.destroy()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        context = self._context
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
        for subscription in self._subscriptions:
            if subscription.handle.pointer in ready:
                _drain(subscription, without_info(cast("Any", subscription.callback)))
        self._settled()
        self._closing.wait(_GATHER)
