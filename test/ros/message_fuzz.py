# SPDX-License-Identifier: Apache-2.0
"""Any message to every topic and service of real nodes: all go on, answer, and command within limits.

A loopback robot with control_node, led by a probe that plays the policy, and a recorder; a policy_node with a
robot of its own, and sim_node, each in a namespace. What they listen to is read from the graph.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from any_message import interface, messages
from control_rig import Process, Rig, node_command
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from policy_rig import write_profile, write_rig_checkpoint
from rcl_interfaces.srv import ListParameters
from std_srvs.srv import Trigger

from adamoe_ros.contract.topics import command_topics
from adamoe_ros.msg import ControlStatus
from adamoe_ros.ros import qos

ANSWER = 30.0  # s for a node to answer
LATCHED = qos.INSTRUCTION  # offers what every subscription may ask for
BATCH = 100  # examples between two looks at everything
_SHUTDOWN = range(5, 9)  # transitions that end a node, as they should
_HELD = 20  # publishers and clients that stay; discovery of a new one takes a moment
# name in the graph, namespace; where it has one, the node's lifecycle is brought up again
MANAGED = (("control_node", "/"), ("policy_node", "/lone"))
PLAIN = (("recorder_node", "/"), ("sim_node", "/world"))


class MessageFuzz:
    """The processes, and what they were sent.

    Args:
        folder: of logs, profiles, bags.

    Attributes:
        sent: examples by target.
    """

    def __init__(self, folder: Path) -> None:
        robot = write_profile(folder)
        checkpoint = write_rig_checkpoint(folder / "checkpoint", robot)
        shared = {"robot": robot, "autostart": True}
        policy = {**shared, "checkpoint": checkpoint, "device": "cpu", "threads": 1}
        policy |= {"max_observation_age": 2.0, "input_timeout": 10.0}
        module = "adamoe_ros.ros"
        self._commands = {
            "lone_loopback": node_command(
                f"{module}.sim.loopback_node", "LoopbackNode", {**shared, "cameras": True}, "lone"
            ),
            "policy": node_command(
                f"{module}.policy.policy_node", "PolicyNode", policy, "lone", threads=4
            ),
            "recorder": node_command(
                f"{module}.recorder.recorder_node",
                "RecorderNode",
                {"robot": robot, "folder": folder / "bags", "min_free": 0.01},
            ),
            "sim": node_command(
                f"{module}.sim.sim_node",
                "SimNode",
                {"robot": "aloha_sim", "publish_clock": False, "camera_rate": 2.0},
                "world",
            ),
        }
        self._folder, self._robot = folder, robot
        self.sent: Counter[str] = Counter()
        self._last: deque[str] = deque(maxlen=5)

    def __enter__(self) -> MessageFuzz:
        with ExitStack() as stack:
            self.rig = stack.enter_context(Rig(self._folder, str(self._robot)))
            for name, command in self._commands.items():
                self.rig.start(name, command)
            self.rig.holding()
            self._places = {topic.target.topic: topic for topic in command_topics(self.rig.profile)}
            self._publishers: dict[str, Any] = {}
            self._clients: dict[str, Any] = {}
            self.rig.probe.wait(lambda: self._up("policy_node", "/lone"), "the policy", 120.0)
            self.targets = self._found()
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def _found(self) -> list[tuple[str, str, Any]]:
        """(what, name, type) of everything that the nodes listen to."""
        node, found = self.rig.probe.node, {}
        pictures = [(f"{name}_pictures", place) for name, place in (*MANAGED, *PLAIN)]
        commands = {f"/{topic}" for topic in self._places}
        for name, place in (*MANAGED, *PLAIN, *pictures):
            try:
                topics = node.get_subscriber_names_and_types_by_node(name, place)
                services = node.get_service_names_and_types_by_node(name, place)
            except Exception:  # that one has no node for pictures
                continue
            for topic, kinds in topics:
                # commands are control_node's answer here; sim_node has its own in its namespace
                if topic not in commands and "_action" not in topic:
                    found["topic", topic] = interface(kinds[0])
            for service, kinds in services:
                found["service", service] = interface(kinds[0])
        return [(what, name, kind) for (what, name), kind in sorted(found.items()) if kind]

    # --- one example -----------------------------------------------------------------------------

    def strategy(self) -> st.SearchStrategy[tuple[str, str, Any, Any]]:
        """A target with a message for it; topics as often as services."""

        def sends(target: tuple[str, str, Any]) -> st.SearchStrategy[Any]:
            what, name, kind = target
            shape = kind if what == "topic" else kind.Request
            return st.tuples(st.just(what), st.just(name), st.just(kind), messages(shape))

        kinds = {what: [t for t in self.targets if t[0] == what] for what in ("topic", "service")}
        return st.sampled_from([k for k in kinds if kinds[k]]).flatmap(
            lambda what: st.sampled_from(kinds[what]).flatmap(sends)
        )

    def send(self, what: str, name: str, kind: Any, message: Any) -> None:
        """One example; a service has to answer."""
        self.sent[name] += 1
        self._last.append(f"{name}: {message}"[:1000])
        if what == "topic":
            self._publisher(name, kind).publish(message)
            return
        if kind is ChangeState and message.transition.id in _SHUTDOWN:
            return
        future = self._client(name, kind).call_async(message)
        if not name.endswith("get_result"):  # an unknown goal's is answered, a running one's later
            self.rig.probe.wait(future.done, f"an answer of {name}; {self._report()}", ANSWER)

    def _publisher(self, name: str, kind: Any) -> Any:
        """Control hears its policy's topics from one publisher: more would make it hold."""
        probe = self.rig.probe
        for own in (probe._chunks, probe._motion, probe._alive, probe._stop):
            if own.topic_name == name:
                return own
        if name not in self._publishers:
            self._publishers[name] = probe.node.create_publisher(kind, name, LATCHED)
        return self._publishers[name]

    def _client(self, name: str, kind: Any) -> Any:
        if name not in self._clients:
            self._clients[name] = self.rig.probe.node.create_client(kind, name)
            assert self._clients[name].wait_for_service(ANSWER), f"{name}; {self._report()}"
        return self._clients[name]

    # --- between examples ----------------------------------------------------------------------------

    def check(self) -> None:
        """Every process runs and answers; the arms were commanded within their limits; all is up again."""
        for name, process in self.rig.processes.items():
            assert process.child.poll() is None, f"{name} ended; {self._report()}"
            assert "Traceback" not in process.text, self._report()
        for name, place in PLAIN:
            self._call(ListParameters, f"{place.rstrip('/')}/{name}/list_parameters")
        for name, place in MANAGED:
            self.rig.probe.wait(
                lambda name=name, place=place: self._up(name, place), f"{name} to come back", 120.0
            )
        self._check_commands()

    def _up(self, name: str, place: str) -> bool:
        """One step towards active."""
        full = f"{place.rstrip('/')}/{name}"
        state = self._call(GetState, f"{full}/get_state").current_state.id
        steps = {
            State.PRIMARY_STATE_UNCONFIGURED: Transition.TRANSITION_CONFIGURE,
            State.PRIMARY_STATE_INACTIVE: Transition.TRANSITION_ACTIVATE,
        }
        if state in steps:
            request = ChangeState.Request(transition=Transition(id=steps[state]))
            self._call(ChangeState, f"{full}/change_state", request)
        return bool(state == State.PRIMARY_STATE_ACTIVE)

    def _call(self, kind: Any, name: str, request: Any = None) -> Any:
        future = self._client(name, kind).call_async(request or kind.Request())
        self.rig.probe.wait(future.done, f"an answer of {name}; {self._report()}", 60.0)
        return future.result()

    def move(self) -> None:
        """Let the arms move, so that there is a motion to spoil."""
        probe = self.rig.probe
        probe.emergency_stop(False)
        if probe.status.mode == ControlStatus.ESTOP:
            self._call(Trigger, "/reset")
        probe.ask_run()
        for number in range(2):
            probe.chunk(self.rig.wave(5.0, 0.05 * (number + 1)))

    def _check_commands(self) -> None:
        limits = {}
        for place, topic in self._places.items():
            joints = [x for _, arm in self.rig.profile.ordered_arms for x in arm.limits]
            limits[place] = [joints[column] for column in topic.columns]
        for name, samples in self.rig.probe.commands.items():
            taken = list(samples)
            del samples[: len(taken) - 1]
            at = np.array([item.stamp_ns for item in taken]) / 1e9
            values = np.array([item.values for item in taken])
            if len(values) < 2:
                continue
            low, high = np.array([limit.position for limit in limits[name]]).T
            assert np.isfinite(values).all(), self._report()
            assert (values >= low - 1e-6).all(), self._report()
            assert (values <= high + 1e-6).all(), self._report()
            most = np.array([limit.velocity for limit in limits[name]])
            period = 1.0 / self.rig.profile.command_rate
            steps = np.maximum(np.diff(at), period)[:, None]
            # stamps are those of ticks, which are a little early or late themselves
            assert (np.abs(np.diff(values, axis=0)) <= 1.5 * most * steps + 1e-6).all(), (
                self._report()
            )

    def _report(self) -> str:
        logs = [f"{name}:\n{process.text[-1500:]}" for name, process in self._processes()]
        return "\n".join([*self._last, *logs])

    def _processes(self) -> list[tuple[str, Process]]:
        return list(self.rig.processes.items())


def fuzz(
    rig: MessageFuzz, count: int, number: int, until: float, said: Callable[[int], None]
) -> int:
    """Send that many examples.

    Args:
        number: seed.
        until: steady s, after which no more are sent.
        said: called after each batch with the examples so far.

    Returns:
        How many were sent.

    Raises:
        AssertionError: a node ended, did not answer, or moved the arms beyond a limit.
    """
    done = 0
    while done < count and time.monotonic() < until:
        size = min(BATCH, count - done)
        rig.move()

        @seed(number + done)
        @settings(
            max_examples=size,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(rig.strategy())
        def batch(example: tuple[str, str, Any, Any]) -> None:
            rig.send(*example)

        batch()
        rig.check()
        done += size
        said(done)
    return done
