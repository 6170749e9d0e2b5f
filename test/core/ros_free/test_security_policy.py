# SPDX-License-Identifier: Apache-2.0
"""The SROS 2 policy of every shipped robot: complete, least privilege, one enclave per process."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

import pytest

from adamoe_ros.cli.main import main
from adamoe_ros.contract.profile_io import known_profiles, load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.contract.topics import command_topics
from adamoe_ros.ros.security_policy import ENCLAVES, policy_xml


def _publishers(root: Xml.Element, topic: str) -> set[str]:
    return {
        enclave.attrib["path"]
        for enclave in root.iter("enclave")
        for group in enclave.iter("topics")
        if group.get("publish") == "ALLOW"
        for item in group
        if item.text == topic
    }


@pytest.mark.parametrize("name", known_profiles(robots_dir()))
def test_only_control_commands_and_nobody_else_lets_the_arms_move(name: str) -> None:
    profile = load_profile(profile_path(name, robots_dir()))
    root = Xml.fromstring(policy_xml(profile, "/cell").encode())
    assert [item.attrib["path"] for item in root.iter("enclave")] == [
        f"/cell/{enclave}" for enclave in ENCLAVES
    ]
    for topic in command_topics(profile):
        assert _publishers(root, topic.target.topic) == {"/cell/control"}
    assert _publishers(root, "action_chunk") == {"/cell/policy"}
    assert _publishers(root, "motion") == {"/cell/policy"}
    assert _publishers(root, "emergency_stop") == {"/cell/operator"}


def test_the_command_writes_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["security", "--robot", "aloha_sim"]) == 0
    root = Xml.fromstring(capsys.readouterr().out.encode())
    assert root.attrib["version"] == "0.2.0"
    assert {item.attrib["path"] for item in root.iter("enclave")} == {
        f"/{enclave}" for enclave in ENCLAVES
    }
    assert main(["security", "--robot", "no_such_robot"]) == 2
