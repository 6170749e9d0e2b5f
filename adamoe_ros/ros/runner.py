# SPDX-License-Identifier: Apache-2.0
"""Runs one node as a process: start-up checks, signals, and an end that always comes.

``rclpy`` is told to leave the signals alone: its own handlers shut the context down first, and then
a node can no longer publish that the arms hold. Any number of SIGINT and SIGTERM ends the process
once, in order. SIGUSR1 writes every thread's stack to stderr: where does a node that hangs, hang?
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.extras import parts_needed
from adamoe_ros.ros import shared_memory, transports

if TYPE_CHECKING:
    from rclpy.executors import Executor

    from adamoe_ros.ros.lifecycle import ManagedNode

_LINGER = 0.3  # s
_END = 8.0  # s from the request to the end, whatever hangs; launch kills after 10
_WAKE = 0.1  # s; a waiting executor does not notice a signal by itself
_HIGHEST_DOMAIN = 232  # beyond it there are no UDP ports (DDSI-RTPS 9.6.1.1)


def require_overlay() -> None:
    """Check that rclpy and this package's messages can be imported, and choose transports.

    Raises:
        ContractError: ROS, the built interfaces or the chosen RMW are not on the path.
    """
    transports.prepare()  # before the import: rclpy loads the RMW there
    for module, do in (
        ("rclpy", "source /opt/ros/<distro>/setup.bash, or run 'make setup'"),
        ("adamoe_ros.msg", "build with colcon and source install/setup.bash"),
    ):
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ContractError(f"{module}: expected it to import, got {error}; {do}") from error


@contextlib.contextmanager
def starting_ros() -> Iterator[None]:
    """What ROS refuses while a block starts it, in one line: security, arguments, names, the domain.

    Raises:
        ContractError: it did not start; the context may be up and is the caller's to shut down.
    """
    domain = os.environ.get("ROS_DOMAIN_ID") or "0"
    if not domain.isdecimal() or int(domain) > _HIGHEST_DOMAIN:  # Fast DDS would end the process
        expected = f"a number of 0 to {_HIGHEST_DOMAIN}"
        raise ContractError(problem("ROS_DOMAIN_ID", expected, domain, "correct it"))
    try:
        yield
    except Exception as error:
        kinds = {f"{kind.__module__}.{kind.__name__}" for kind in type(error).__mro__}
        refused = type(error).__module__ == "rclpy._rclpy_pybind11"
        if not refused and "rclpy.exceptions.NameValidationException" not in kinds:
            raise
        raise ContractError(_refusal(" ".join(str(error).split()))) from error


def _refusal(text: str) -> str:
    """Where, what and what to do, from the words of rcl and of the RMW."""
    text = re.sub(r",? at /\S+:\d+", "", text)  # places in their sources
    off = "or unset ROS_SECURITY_ENABLE"
    secured = os.environ.get("ROS_SECURITY_ENABLE") == "true"
    if secured and not os.environ.get("ROS_SECURITY_KEYSTORE"):
        do = f"set it (doc/security.md), {off}"
        return problem("ROS_SECURITY_KEYSTORE", "a keystore's folder", "none", do)
    if "security libraries" in text:
        do = f"use one of a ROS distribution, {off}"
        return problem("ROS security", "an RMW with security plugins", text, do)
    if found := re.search(r"SECURITY ERROR: directory '(.*?)' does not exist", text):
        do = f"create it (ros2 security create_enclave), name yours with --enclave, {off}"
        return problem("enclave", "a folder of the keystore", f"no {found[1]}", do)
    where = "ROS security" if secured else "ROS"
    return problem(where, "it to start", text, "correct arguments and environment")


def ros_arguments(values: Mapping[str, object], namespace: str = "") -> list[str]:
    """``--ros-args`` with parameters and a namespace."""
    arguments = ["--ros-args"]
    for name, value in values.items():
        if isinstance(value, bool):
            text = "true" if value else "false"
        elif isinstance(value, (int, float)):
            text = repr(value)
        elif isinstance(value, (list, tuple)):
            text = json.dumps(list(value))
        else:
            text = "'" + str(value).replace("'", "''") + "'"  # YAML, so that 1e3 stays a text
        arguments += ["-p", f"{name}:={text}"]
    return [*arguments, *(["-r", f"__ns:=/{namespace.strip('/')}"] if namespace else [])]


class Stop:
    """Notes SIGINT and SIGTERM; true once one has come."""

    def __init__(self) -> None:
        self.signal: int | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or number

    def __bool__(self) -> bool:
        return self.signal is not None


def run_node(
    make: Callable[[], Any],
    argv: Sequence[str] | None = None,
    executor: Callable[[], Executor] | None = None,
) -> int:
    """Spin a node until a signal, or until its lifecycle is finalized or has failed.

    Args:
        make: makes the node; a ``ContractError`` from it is printed, exit code 2.
        argv: command line with ``--ros-args``; None: this process's.
        executor: makes the executor; None: single-threaded.

    Returns:
        Exit code: 0 ended in order, 2 something the user gave does not fit, 3 the node gave up.
    """
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    stop = Stop()
    spinner: Executor | None = None
    node: ManagedNode[Any] | None = None
    try:
        with starting_ros():
            rclpy.init(
                args=list(argv) if argv is not None else None,
                signal_handler_options=SignalHandlerOptions.NO,
            )
            spinner = executor() if executor else SingleThreadedExecutor()
            node = make()
        for each in (node, *getattr(node, "companions", ())):
            spinner.add_node(each)
        while not stop and node.state_name not in ("finalized", "failed"):
            _turn(node, spinner)
        _linger(spinner, 0.0 if stop else _LINGER)
    except ContractError as error:
        for line in error.problems:
            print(line, file=sys.stderr)
        return 2
    finally:
        if stop:
            _end_by_force(_END)
        if node is not None:
            node.halt()  # first: callbacks that wait for the work's end keep the executor from ending
        if spinner is not None:
            spinner.shutdown(timeout_sec=5.0)
        if node is not None:
            node.close()
        rclpy.try_shutdown()
    return 3 if node.state_name == "failed" else 0


def _end_by_force(seconds: float) -> None:
    """End the process after some time: a model that loads, or a library that hangs, cannot be asked to.

    Nothing moves by then: a node that was active has told control to hold before anything else.
    """

    def end() -> None:
        print(f"did not end within {seconds:g} s of a signal; ended by force", file=sys.stderr)
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def _leave_at_once(number: int, frame: FrameType | None) -> None:
    """Before there is a node, nothing has to be ended in order."""
    os._exit(0)


def _turn(node: ManagedNode[Any], spinner: Executor) -> None:
    """Serve what is ready; an exception of a callback is the node's to judge, not the process's end."""
    try:
        spinner.spin_once(timeout_sec=_WAKE)
    except Exception as error:
        node.callback_failed(error)


def _linger(spinner: Executor, seconds: float) -> None:
    """Let the answer to a shutdown request leave before the participant does."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        spinner.spin_once(timeout_sec=left)


def main(module: str, attribute: str, threads: int = 1) -> int:
    """Entry of a node script: ``main("adamoe_ros.ros.control.control_node", "ControlNode")``.

    The node's module is imported only after the overlay was found, so a missing overlay is one
    line and not a traceback.

    Args:
        threads: 1 for the single-threaded executor, more for the multi-threaded one.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave_at_once)
    # before torch loads: its idle threads would spin, and take the cores that they wait for
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        require_overlay()
        with parts_needed():
            make = getattr(importlib.import_module(module), attribute)
    except ContractError as error:
        print(error, file=sys.stderr)
        return 2
    faulthandler.register(signal.SIGUSR1)
    shared_memory.remove_leftovers()
    if threads == 1:
        return run_node(make)
    from rclpy.executors import MultiThreadedExecutor

    return run_node(make, executor=lambda: MultiThreadedExecutor(num_threads=threads))
