# SPDX-License-Identifier: Apache-2.0
"""Base of the lifecycle nodes: transitions, errors as lines, a shutdown that leaves nothing behind.

A node fills in ``setup``, ``start``, ``stop`` and ``teardown``; a ``ContractError`` in the first two
fails the transition and every line of it is logged.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.parameters import ManagedParameters
from adamoe_ros.ros.live_parameters import LiveParameters
from adamoe_ros.ros.transports import shared_memory_line

P = TypeVar("P", bound=ManagedParameters)

_AUTOSTART_PERIOD = 0.5  # s between attempts to activate
_REPEAT_AFTER = 10.0  # s before the same error lines are logged again

_SUCCESS, _FAILURE, _ERROR = (
    TransitionCallbackReturn.SUCCESS,
    TransitionCallbackReturn.FAILURE,
    TransitionCallbackReturn.ERROR,
)


class ManagedNode(LifecycleNode, Generic[P]):
    """A lifecycle node with declared parameters.

    Args:
        name: node name.
        parameters: declaration of its parameters.

    Raises:
        ContractError: a parameter is unknown or does not fit; every problem at once.
    """

    def __init__(self, name: str, parameters: type[P]) -> None:
        super().__init__(name)
        _free_clock(self)
        self.transport_problem = shared_memory_line()  # one line; empty: UDP alone
        if self.transport_problem:
            self.get_logger().error(self.transport_problem)
        self.state_name = "unconfigured"
        self.ending = threading.Event()  # set: whatever waits in a transition gives up
        self._transition = threading.RLock()
        self._closed = False
        self._parameters_live = LiveParameters(
            self,
            parameters,
            frozen=lambda: self.state_name != "unconfigured",
            on_change=self.parameters_changed,
        )
        self._logged: dict[str, tuple[tuple[str, ...], float]] = {}
        self.starting = self.params.autostart  # on its own way to active
        self._starter = self.create_timer(
            _AUTOSTART_PERIOD,
            self._autostart,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )

    @property
    def params(self) -> P:
        """Current parameter values."""
        return self._parameters_live.values

    @property
    def active(self) -> bool:
        """True between ``start`` and ``stop``."""
        return self.state_name == "active"

    # --- what a node fills in -------------------------------------------------------------------

    def wait_for_discovery(self) -> None:
        """Block until nodes that were there before are known. No input is subscribed to yet."""

    def setup(self) -> None:
        """Load and cross-check everything; raises ``ContractError`` with all that does not fit."""

    def start(self) -> None:
        """Begin to work; raises ``ContractError`` when inputs or pose forbid it."""

    def stop(self) -> None:
        """Stop working; leaves the arms holding. Must not raise."""

    def teardown(self) -> None:
        """Give back what ``setup`` took, whatever part of it was reached. May be called twice."""

    def parameters_changed(self, values: P) -> None:
        """Take over dynamic parameters; raises ``ContractError`` to refuse them."""

    # --- transitions ----------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """``setup``; on failure ``teardown`` and back to unconfigured."""
        self.wait_for_discovery()
        with self._transition:
            if self.ending.is_set():
                return _FAILURE
            if not self._attempt("configure", self.setup) or self.ending.is_set():
                self._attempt("cleanup", self.teardown)
                return _FAILURE
            self.state_name = "inactive"
            return _SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """``start``; on failure ``stop`` and back to inactive."""
        with self._transition:
            if self.ending.is_set():
                return _FAILURE
            if not self._attempt("activate", self.start) or self.ending.is_set():
                self._attempt("deactivate", self.stop)
                return _FAILURE
            self.state_name = "active"
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """``stop``."""
        self.starting = False
        self.state_name = "inactive"
        stopped = self._attempt("deactivate", self.stop)
        super().on_deactivate(state)
        return _SUCCESS if stopped else _ERROR

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """``teardown``."""
        self.starting = False
        self.state_name = "unconfigured"
        return _SUCCESS if self._attempt("cleanup", self.teardown) else _ERROR

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """``stop`` where it runs, then ``teardown``."""
        self._end()
        self.state_name = "finalized"
        return _SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After a failed ``stop`` or ``teardown``: everything down, back to unconfigured."""
        self._end()
        self.state_name = "unconfigured"
        return _SUCCESS

    def halt(self) -> None:
        """End the work from any state: arms holding, nothing running. May be called twice.

        A transition in another thread ends first; ``ending`` tells it to.
        """
        self.ending.set()
        with self._transition:
            if not self._closed:
                self._end()

    def callback_failed(self, error: Exception) -> None:
        """A callback raised: say it, and stop working rather than go on with half of the work.

        rclpy before Kilted raises on a transition that the state does not have; that is the
        caller's mistake and changes nothing.
        """
        if type(error).__name__ == "RCLError" and "transition" in str(error):
            self.get_logger().error(f"transition refused in state {self.state_name}: {error}")
            return
        text = "".join(traceback.format_exception(error))
        self.get_logger().fatal(f"a callback failed by a bug in adamoe_ros:\n{text}")
        if self.active:
            self.trigger_deactivate()

    def give_up(self, line: str) -> None:
        """End the process with a line, so that whoever started it can start it again."""
        self.get_logger().fatal(line)
        self._end()
        self.state_name = "failed"

    def close(self) -> None:
        """``halt``, then destroy the node. May be called twice."""
        if self._closed:
            return
        self._end()
        self._closed = True
        self.destroy_node()

    def _end(self) -> None:
        if self.active:
            self.state_name = "inactive"
            self._attempt("deactivate", self.stop)
        self._attempt("cleanup", self.teardown)

    def _attempt(self, what: str, work: Callable[[], None]) -> bool:
        try:
            work()
        except ContractError as error:
            self._log(what, error.problems)
            return False
        except Exception:
            self.get_logger().fatal(
                f"{what} failed by a bug in adamoe_ros:\n{traceback.format_exc()}"
            )
            return False
        return True

    def _log(self, what: str, lines: tuple[str, ...]) -> None:
        """Errors once, and again only when they differ or some time has passed."""
        before, at = self._logged.get(what, ((), 0.0))
        now = time.monotonic()
        if lines == before and now - at < _REPEAT_AFTER:
            return
        self._logged[what] = (lines, now)
        for line in lines:
            self.get_logger().error(f"{what}: {line}")

    def _autostart(self) -> None:
        """One step towards active. A failed configure ends it: what was given does not fit."""
        if not self.starting or self.ending.is_set():
            self._starter.cancel()
        elif self.state_name == "unconfigured":
            self.starting = self.trigger_configure() == _SUCCESS
        elif self.state_name == "inactive":
            self.starting = self.trigger_activate() != _SUCCESS


def clock_subscription(node: LifecycleNode) -> Any:
    """Of /clock; None without ``use_sim_time``. rclpy has no public name for it."""
    return getattr(getattr(node, "_time_source", None), "_clock_sub", None)


def _free_clock(node: LifecycleNode) -> None:
    """Let simulation time go on while a transition waits for inputs.

    rclpy listens to /clock in the default callback group, which a transition holds: without this, the
    node's clock would stand still then, and stamps that go on would look like those of another clock.
    """
    subscription = clock_subscription(node)
    if subscription is not None:
        group = MutuallyExclusiveCallbackGroup()
        group.add_entity(subscription)
        subscription.callback_group = group
