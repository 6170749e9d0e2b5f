# SPDX-License-Identifier: Apache-2.0
"""Which transports a process takes, and which RMW it loads, from nothing but its environment."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.resources import share_dir
from adamoe_ros.ros import transports

SHIPPED = str(share_dir() / "config" / "fastdds.xml")
KILTED, JAZZY = transports.PROFILE_VARIABLES


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """An ament prefix with two RMWs and the library that loads one of them."""
    index = tmp_path / "share" / "ament_index" / "resource_index" / "rmw_typesupport"
    index.mkdir(parents=True)
    for name in ("rmw_fastrtps_cpp", "rmw_cyclonedds_cpp", "rmw_implementation"):
        (index / name).touch()
    return {"AMENT_PREFIX_PATH": f"/nowhere:{tmp_path}"}


def profile(environment: dict[str, str]) -> str:
    text = Path(environment[transports.profile_variable(environment)]).read_text()
    ElementTree.fromstring(text.encode())
    return text


@pytest.mark.parametrize("distro", ["", "jazzy", "kilted"])
@pytest.mark.parametrize("given", [{}, {KILTED: SHIPPED, JAZZY: SHIPPED}])
def test_udp_alone_whatever_drivers_use(distro: str, given: dict[str, str]) -> None:
    environment = {"ROS_DISTRO": distro, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", **given}
    transports.prepare(environment)
    text = profile(environment)
    assert "UDPv4" in text
    assert "SHM" not in text
    assert "127.0.0.1" in text
    # rmw_fastrtps would add shared memory for LOCALHOST, and Fast DDS by itself
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "SYSTEM_DEFAULT"
    assert environment["FASTDDS_BUILTIN_TRANSPORTS"] == "NONE"
    assert (JAZZY in environment) == (distro == "jazzy")
    before = dict(environment)
    transports.prepare(environment)  # as in a child process
    assert environment == before
    environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"  # a child that wants it again
    transports.prepare(environment)
    assert environment == before


def test_a_network_keeps_its_discovery() -> None:
    environment = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}
    transports.prepare(environment)
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "SUBNET"
    assert "initialPeersList" not in profile(environment)


def test_peers_beside_this_machine_stay() -> None:
    environment = {
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "localhost",
        "ROS_STATIC_PEERS": "10.0.0.7;robot",
    }
    transports.prepare(environment)
    assert all(
        f"<address>{peer}</address>" in profile(environment) for peer in ("10.0.0.7", "robot")
    )


def test_humble_knows_no_builtin_none() -> None:
    environment = {"ROS_DISTRO": "humble", "ROS_LOCALHOST_ONLY": "1"}
    transports.prepare(environment)
    assert "<useBuiltinTransports>false<" in profile(environment)
    assert "ROS_LOCALHOST_ONLY" not in environment


@pytest.mark.parametrize("name", [KILTED, "FASTDDS_BUILTIN_TRANSPORTS"])
def test_what_a_user_chose_stays_and_is_named(tmp_path: Path, name: str) -> None:
    own = tmp_path / "own.xml"
    own.write_text("<dds/>")
    value = str(own) if name == KILTED else "LARGE_DATA"
    environment = {name: value}
    transports.prepare(environment)
    assert environment == {name: value}
    assert transports.chosen_transports(environment) == f"{name}={value}"


def test_another_rmw_is_left_alone(installed: dict[str, str]) -> None:
    environment = {**installed, "RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}
    before = dict(environment)
    transports.prepare(environment)
    assert environment == before


def test_an_rmw_that_is_not_installed_is_one_line(installed: dict[str, str]) -> None:
    environment = {**installed, "RMW_IMPLEMENTATION": "rmw_zenoh_cpp"}
    with pytest.raises(ContractError) as refused:
        transports.prepare(environment)
    assert str(refused.value) == (
        "RMW_IMPLEMENTATION: expected one that is installed (rmw_cyclonedds_cpp, rmw_fastrtps_cpp), "
        "got rmw_zenoh_cpp; unset or install it"
    )
