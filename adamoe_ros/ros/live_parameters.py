# SPDX-License-Identifier: Apache-2.0
"""A ``Parameters`` declaration on a live node: descriptors, overrides, changes at run time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.parameters import Declaration, Parameters

P = TypeVar("P", bound=Parameters)

# declared by rclpy itself or by a publisher's QoS overrides
_FOREIGN = ("use_sim_time", "start_type_description_service", "qos_overrides.")


def _answer_malformed(node: Node) -> None:
    """Refuse parameters of no known type, where rclpy raises: nobody would be answered, and a callback
    that raises stops the node's work."""

    def guarded(callback: Callable[[Any, Any], Any], together: bool) -> Callable[[Any, Any], Any]:
        def answer(request: Any, response: Any) -> Any:
            try:
                for item in request.parameters:
                    Parameter.from_parameter_msg(item)
            except (TypeError, ValueError) as error:
                result = SetParametersResult(successful=False, reason=str(error))
                if together:
                    response.result = result
                else:
                    response.results = [result for _ in request.parameters]
                return response
            return callback(request, response)

        return answer

    for service in node.services:
        name = service.srv_name.rsplit("/", 1)[-1]
        if name in ("set_parameters", "set_parameters_atomically"):
            service.callback = guarded(service.callback, name.endswith("atomically"))


class LiveParameters(Generic[P]):
    """The parameters of one node.

    Args:
        node: the node that declares them.
        kind: the declaration.
        frozen: True while only dynamic parameters may change (configured or active).
        on_change: called with the new values after a change that was accepted.

    Raises:
        ContractError: an override is unknown or does not fit; every problem at once.
    """

    def __init__(
        self,
        node: Node,
        kind: type[P],
        frozen: Callable[[], bool] = lambda: False,
        on_change: Callable[[P], None] = lambda values: None,
    ) -> None:
        self._frozen = frozen
        self._on_change = on_change
        self.values: P = kind.from_values(_overrides(node))
        for item in kind.declarations():
            value = getattr(self.values, item.name)
            node.declare_parameter(
                item.name, _for_ros(value), _descriptor(item), ignore_override=True
            )
        node.add_on_set_parameters_callback(self._set)
        _answer_malformed(node)

    def _set(self, changes: list[Parameter[Any]]) -> SetParametersResult:
        known = {item.name: item for item in self.values.declarations()}
        ours = {change.name: change.value for change in changes if change.name in known}
        if not ours:
            return SetParametersResult(successful=True)
        try:
            values = self.values.changed(ours)
            self._refuse_frozen(
                [item for name, item in known.items() if self._differs(name, values)]
            )
            self._on_change(values)
        except ContractError as error:
            return SetParametersResult(successful=False, reason="; ".join(error.problems))
        self.values = values
        return SetParametersResult(successful=True)

    def _differs(self, name: str, values: P) -> bool:
        return bool(getattr(values, name) != getattr(self.values, name))

    def _refuse_frozen(self, items: list[Declaration]) -> None:
        fixed = [item.name for item in items if not item.spec.dynamic]
        if fixed and self._frozen():
            raise ContractError(
                problem(
                    f"parameter {', '.join(fixed)}",
                    "no change while the node is configured",
                    "a new value",
                    "deactivate and clean up the node first",
                )
            )


def _overrides(node: Node) -> dict[str, Any]:
    """Values from the command line and params files, by name.

    rclpy keeps them for ``declare_parameter`` only, and there an unknown name is ignored and an
    integer for a float is an exception; both need the whole set, which has no public accessor.
    """
    given: dict[str, Parameter[Any]] = node._parameter_overrides
    return {
        name: parameter.value for name, parameter in given.items() if not name.startswith(_FOREIGN)
    }


def _for_ros(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _descriptor(item: Declaration) -> ParameterDescriptor:
    spec = item.spec
    unit = f" [{spec.unit}]" if spec.unit else ""
    made = ParameterDescriptor(description=spec.text + unit)
    changes = "may change while active" if spec.dynamic else "fixed once configured"
    made.additional_constraints = "; ".join(filter(None, (spec.allowed, changes)))
    if not item.default and isinstance(item.default, tuple):
        made.dynamic_typing = True  # an empty list has no element type in ROS
    if spec.bounds and isinstance(item.default, float):
        made.floating_point_range = [
            FloatingPointRange(from_value=spec.bounds[0], to_value=spec.bounds[1])
        ]
    elif spec.bounds and isinstance(item.default, int):
        low, high = (int(bound) for bound in spec.bounds)
        made.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
    return made
