# SPDX-License-Identifier: Apache-2.0
"""DDS transports of a process: whatever moves or stops arms goes over UDP alone, pictures may share memory.

A process that is killed or frozen while it holds the lock of a shared-memory port stalls everyone who
sends to that port for a second and more, in the thread that publishes. So the participant of a node has
no shared memory, neither for sending nor for receiving, and pictures have a participant of their own
(``PictureNode``), which nothing that holds or stops waits for. See ``doc/decisions/100-transports.md``.

Types are not looked up at the other side either: ROS compares names, and Fast DDS 3 (Kilted) waits for
the answer before it takes a publisher for known; one whose type resolves at that moment is lost for good.

rmw_fastrtps adds shared memory to every profile when ``ROS_AUTOMATIC_DISCOVERY_RANGE`` is LOCALHOST; the
profile written here finds the same peers, and the range is taken out of its way.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.ros import shared_memory

PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
PICTURES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_PREPARED = "ADAMOE_ROS_TRANSPORTS"  # path of the profile that ``prepare`` wrote
_BUILTIN = "FASTDDS_BUILTIN_TRANSPORTS"
_RANGE, _LOCALHOST_ONLY = "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY"
_PEERS = "ROS_STATIC_PEERS"
_SHIPPED = "adamoe_participant"  # profile name in config/fastdds.xml, which is for drivers
_SEND = "SHM?max_msg_size=16MB&sockets_size=32MB"  # a segment of 64 MiB: frames of several cameras
_RECEIVE = "SHM?sockets_size=256KB"  # 512 KiB: pictures lie in their senders' segments
_TRIES = 8  # participants, of which one reads a port that nobody lost

_PROFILE = """<?xml version="1.0" encoding="UTF-8"?>
<dds xmlns="http://www.eprosima.com"><profiles>
  <transport_descriptors><transport_descriptor>
    <transport_id>adamoe_udp</transport_id>
    <type>UDPv4</type>
    <sendBufferSize>4194304</sendBufferSize>
    <receiveBufferSize>4194304</receiveBufferSize>
    <maxInitialPeersRange>64</maxInitialPeersRange>
  </transport_descriptor></transport_descriptors>
  <participant profile_name="adamoe_node" is_default_profile="true"><rtps>
    {builtin}
    <propertiesPolicy><properties><property>
      <name>fastdds.type_propagation</name><value>disabled</value>
    </property></properties></propertiesPolicy>
    <userTransports><transport_id>adamoe_udp</transport_id></userTransports>
    <useBuiltinTransports>{more}</useBuiltinTransports>
  </rtps></participant>
</profiles></dds>
"""
# no multicast, peers on this machine: what rmw_fastrtps does for LOCALHOST
_LOCAL = """<builtin>
      <metatrafficUnicastLocatorList><locator/></metatrafficUnicastLocatorList>
      <initialPeersList>{peers}</initialPeersList>
    </builtin>"""
_PEER = "<locator><udpv4><address>{}</address></udpv4></locator>"


def installed_rmws(environment: MutableMapping[str, str] = os.environ) -> list[str]:
    """RMW implementations on the ament path."""
    return sorted(
        {
            entry.name
            for prefix in environment.get("AMENT_PREFIX_PATH", "").split(":")
            if prefix
            for entry in Path(prefix).glob("share/ament_index/resource_index/rmw_typesupport/rmw_*")
            if entry.name != "rmw_implementation"  # it loads one of them
        }
    )


def chosen_rmw(environment: MutableMapping[str, str] = os.environ) -> str:
    """The RMW implementation that this process will load.

    Raises:
        ContractError: RMW_IMPLEMENTATION names one that is not installed.
    """
    named, installed = environment.get("RMW_IMPLEMENTATION", ""), installed_rmws(environment)
    if named and installed and named not in installed:
        some = ", ".join(installed)
        line = problem(
            "RMW_IMPLEMENTATION", f"one that is installed ({some})", named, "unset or install it"
        )
        raise ContractError(line)
    default = "rmw_fastrtps_cpp"
    return named or (default if default in installed or not installed else installed[0])


def prepare(environment: MutableMapping[str, str] = os.environ) -> None:
    """Choose the transports of this process; before ``rclpy.init``. May be called twice.

    A profile or FASTDDS_BUILTIN_TRANSPORTS that the user chose stays; ``config/fastdds.xml`` counts as
    none, since it is meant for camera drivers. Other RMW implementations are left alone.

    Raises:
        ContractError: RMW_IMPLEMENTATION names one that is not installed.
    """
    fastdds = chosen_rmw(environment).startswith("rmw_fastrtps")
    if not fastdds or prepared(environment) or chosen_transports(environment):
        return
    old = environment.get("ROS_DISTRO") == "humble"  # it knows no FASTDDS_BUILTIN_TRANSPORTS
    local = _localhost(environment)
    peers = ["127.0.0.1", *filter(None, environment.get(_PEERS, "").split(";"))]
    path = _write(
        _PROFILE.format(
            builtin=_LOCAL.format(peers="".join(_PEER.format(escape(peer)) for peer in peers))
            if local
            else "",
            more="false" if old else "true",
        )
    )
    for variable in PROFILE_VARIABLES:
        environment.pop(variable, None)
    environment[profile_variable(environment)] = environment[_PREPARED] = str(path)
    environment[_BUILTIN] = "NONE"
    if local:
        environment[_RANGE] = "SYSTEM_DEFAULT"
        environment.pop(_LOCALHOST_ONLY, None)


def prepared(environment: MutableMapping[str, str] = os.environ) -> bool:
    """Whether ``prepare`` chose the transports, here or in the process that started this one."""
    return (
        _has_our_profile(environment)
        and environment.get(_BUILTIN) == "NONE"
        and not _localhost(environment)  # set since: rmw_fastrtps would add shared memory
    )


def _has_our_profile(environment: MutableMapping[str, str]) -> bool:
    path = environment.get(_PREPARED, "")
    ours = bool(path) and path == environment.get(profile_variable(environment))
    return ours and Path(path).is_file()


def _localhost(environment: MutableMapping[str, str]) -> bool:
    only = environment.get(_LOCALHOST_ONLY) == "1"
    return only or environment.get(_RANGE, "").upper() == "LOCALHOST"


def chosen_transports(environment: MutableMapping[str, str] = os.environ) -> str:
    """``NAME=value`` by which a user chose transports of Fast DDS; empty: none did."""
    if _has_our_profile(environment):
        return ""
    for name in PROFILE_VARIABLES:
        value = environment.get(name, "")
        if value and not _is_shipped(Path(value)):
            return f"{name}={value}"
    builtin = environment.get(_BUILTIN, "")
    return f"{_BUILTIN}={builtin}" if builtin and builtin != "DEFAULT" else ""


def profile_variable(environment: MutableMapping[str, str]) -> str:
    """Fast DDS of Kilted has renamed the variable and warns about the old name."""
    old = environment.get("ROS_DISTRO") in ("humble", "jazzy")
    return PROFILE_VARIABLES[1 if old else 0]


def shared_memory_line() -> str:
    """What is wrong where this process, which may have no shared memory, has some; empty: all is well."""
    try:
        used = shared_memory.files_in_use()
    except OSError:  # no /proc: nothing can be seen
        return ""
    if not used:
        return ""
    why = chosen_transports() or "the settings of Fast DDS"
    return problem(
        "transports",
        "UDP alone",
        f"shared memory by {why}",
        "unset it: a process that dies can delay the emergency stop by seconds",
    )


class PictureNode:
    """A node for picture topics, in a participant of its own that may use shared memory.

    Where the user chose the transports, and with another RMW, ``node`` is the main one.

    Args:
        main: the node to which the pictures belong; its remappings and namespace apply through ``topic``.
        sends: whether pictures are published, and not only taken.

    Attributes:
        node: make publishers and subscriptions on it. No executor spins it.
    """

    def __init__(self, main: Any, sends: bool) -> None:
        self._main, self._sends = main, sends
        self._apart = prepared() and os.environ.get("ROS_DISTRO") != "humble"
        self.node = self._make() if self._apart else main

    @property
    def apart(self) -> bool:
        """Whether it is another participant than the main node's."""
        return self._apart

    def topic(self, name: str) -> str:
        """Full name of a topic, as the main node would resolve it."""
        return str(self._main.resolve_topic_name(name))

    def renew(self) -> None:
        """A new participant, which reads another port; subscriptions on the old node are gone."""
        if self._apart:
            old, self.node = self.node, self._make()
            _close(old)

    def close(self) -> None:
        """Destroy it; the main node stays."""
        if self._apart:
            _close(self.node)

    def _make(self) -> Any:
        """A node whose port no process has lost; the last one tried where all are lost."""
        tried: list[Any] = []
        try:
            while True:
                before = shared_memory.ports_read()
                tried.append(self._participant())
                mine = shared_memory.ports_read() - before
                if len(tried) == _TRIES or not mine & shared_memory.lost_ports():
                    return tried.pop()
        finally:
            for node in tried:
                _close(node)

    def _participant(self) -> Any:
        from rclpy.context import Context
        from rclpy.node import Node
        from rclpy.parameter import Parameter

        context = Context()
        # this process's own arguments, for the enclave; names and remappings are the main node's
        domain = self._main.context.get_domain_id()
        context.init(None, initialize_logging=False, domain_id=domain)
        with _variable(_BUILTIN, _SEND if self._sends else _RECEIVE):
            return Node(
                f"{self._main.get_name()}_pictures",
                namespace=self._main.get_namespace(),
                context=context,
                use_global_arguments=False,
                enable_rosout=False,
                start_parameter_services=False,
                # a service of a node that nobody spins would never answer
                parameter_overrides=[Parameter("start_type_description_service", value=False)],
            )


def _close(node: Any) -> None:
    node.destroy_node()
    node.context.try_shutdown()


@contextlib.contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """A variable of the environment, as long as the block lasts."""
    before, os.environ[name] = os.environ[name], value
    try:
        yield
    finally:
        os.environ[name] = before


def _is_shipped(path: Path) -> bool:
    try:
        return f'"{_SHIPPED}"' in path.read_text(errors="replace")
    except OSError:
        return False


def _write(text: str) -> Path:
    """The profile as a file that stays: Fast DDS reads it when the first participant is made."""
    folder = Path(tempfile.gettempdir()) / f"adamoe_ros_{os.geteuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.geteuid():  # somebody else's, who could change the file
        folder = Path(tempfile.mkdtemp(prefix="adamoe_ros_"))
    path = folder / f"fastdds_{hashlib.sha256(text.encode()).hexdigest()[:12]}.xml"
    if not path.is_file() or path.read_text() != text:
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(text)
        draft.replace(path)
    return path
