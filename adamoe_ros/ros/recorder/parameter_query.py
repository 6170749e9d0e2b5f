# SPDX-License-Identifier: Apache-2.0
"""Asks other nodes for all their parameters, without waiting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rcl_interfaces.srv import GetParameters, ListParameters
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python

Answer = Callable[[str, dict[str, Any]], None]


class ParameterQuery:
    """Clients for the parameters of one node.

    Args:
        node: that asks.
        name: of the node that is asked; relative to the namespace.
    """

    def __init__(self, node: Node, name: str) -> None:
        self.name = name
        group = ReentrantCallbackGroup()
        self._list: Any = node.create_client(
            ListParameters, f"{name}/list_parameters", callback_group=group
        )
        self._get: Any = node.create_client(
            GetParameters, f"{name}/get_parameters", callback_group=group
        )

    def ask(self, answer: Answer) -> bool:
        """Ask; ``answer`` is called with name and values later. False: the node is not there."""
        if not self._list.service_is_ready():
            return False
        future = self._list.call_async(ListParameters.Request())
        future.add_done_callback(lambda done: self._listed(done, answer))
        return True

    def _listed(self, future: Any, answer: Answer) -> None:
        if future.result() is None:
            return
        names = list(future.result().result.names)
        request = self._get.call_async(GetParameters.Request(names=names))
        request.add_done_callback(lambda done: self._got(names, done, answer))

    def _got(self, names: list[str], future: Any, answer: Answer) -> None:
        if future.result() is None:
            return
        values = [_plain(parameter_value_to_python(item)) for item in future.result().values]
        answer(self.name, dict(zip(names, values, strict=True)))


def _plain(value: Any) -> Any:
    """As JSON can hold it."""
    if isinstance(value, bytes):
        return value.hex()
    return list(value) if hasattr(value, "__len__") and not isinstance(value, str) else value
