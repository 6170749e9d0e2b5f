# SPDX-License-Identifier: Apache-2.0
"""Every shipped profile loads, and a wrong one gives all its errors at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.joint_map import profile_roles
from adamoe_ros.contract.profile_io import known_profiles, load_profile, profile_path, read_yaml
from adamoe_ros.contract.resources import robots_dir, share_dir
from adamoe_ros.contract.topics import command_topics, state_topics

ASKED_FOR = {
    "aloha_sim",
    "aloha_agilex",
    "robotwin_aloha_agilex",
    "interbotix_aloha",
    "franka_dual",
    "ur5_dual",
    "arx_x5_dual",
}
NAMES = known_profiles(robots_dir())


def test_the_asked_for_robots_are_there() -> None:
    assert set(NAMES) >= ASKED_FOR
    assert any(name.startswith("isaac_") for name in NAMES)
    assert any(name.startswith("gazebo_") for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_profile_loads_and_is_complete(name: str) -> None:
    profile = load_profile(profile_path(name, robots_dir()))
    assert profile.name == name
    assert tuple(profile.arms) == ("left", "right")
    columns = sorted(column for topic in state_topics(profile) for column in topic.columns)
    assert columns == list(range(len(profile.joint_ids)))
    columns = sorted(column for topic in command_topics(profile) for column in topic.columns)
    assert columns == list(range(len(profile.joint_ids)))
    assert all(arm.gripper for arm in profile.arms.values())
    assert len(profile_roles(profile)) == len(profile.joint_ids)
    assert {"cam_high", "cam_left_wrist", "cam_right_wrist"} <= set(profile.cameras)


@pytest.mark.parametrize("name", NAMES)
def test_limits_are_no_placeholders(name: str) -> None:
    profile = load_profile(profile_path(name, robots_dir()))
    for _, arm in profile.ordered_arms:
        for limits in arm.limits:
            assert limits.position[1] - limits.position[0] <= 4 * 3.1416 + 1e-3
            assert limits.velocity <= 4.0
            assert limits.acceleration <= 25.0


def test_agilex_drivers_never_get_velocities() -> None:
    for name in NAMES:
        profile = load_profile(profile_path(name, robots_dir()))
        if "agilex" in name and not name.startswith("gazebo"):
            assert not any(topic.target.velocity for topic in command_topics(profile))


def test_names_are_relative_so_a_namespace_moves_a_robot() -> None:
    for name in NAMES:
        profile = load_profile(profile_path(name, robots_dir()))
        topics = [topic.source.topic for topic in state_topics(profile)]
        topics += [topic.target.topic for topic in command_topics(profile)]
        topics += [camera.topic or "" for camera in profile.cameras.values()]
        assert not any(topic.startswith("/") for topic in topics)


def write(folder: Path, document: dict[str, Any]) -> Path:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def document() -> dict[str, Any]:
    """The simulator's profile; through JSON, because its arms share their joints by YAML anchors."""
    loaded = yaml.safe_load((robots_dir() / "aloha_sim.yaml").read_text())
    return dict(json.loads(json.dumps(loaded)))


def test_a_wrong_profile_gives_all_errors_at_once(tmp_path: Path) -> None:
    wrong = document()
    wrong["colour"] = "red"
    wrong["arms"]["left"]["joints"][0]["limits"]["position"] = [1.0, -1.0]
    wrong["arms"]["right"]["joints"][2]["name"] = ""
    wrong["cameras"]["cam_high"].pop("topic")
    wrong["command_rate"] = float("nan")
    with pytest.raises(ContractError) as caught:
        load_profile(write(tmp_path, wrong))
    text = str(caught.value)
    for where in ("colour", "arms.left", "arms.right", "cameras.cam_high", "command_rate"):
        assert f"mine.yaml: {where}" in text
    assert len(caught.value.problems) == 5


def test_joints_of_arms_on_one_topic_must_differ(tmp_path: Path) -> None:
    wrong = document()
    for side in ("left", "right"):
        wrong["arms"][side]["state"]["topic"] = "joint_states"
        wrong["arms"][side]["command"] = {"topic": "commands", "velocity": side == "left"}
    with pytest.raises(ContractError, match="distinct joint names") as caught:
        load_profile(write(tmp_path, wrong))
    assert "one type and velocity setting" in str(caught.value)


def test_gripper_on_its_own_topics(tmp_path: Path) -> None:
    profile = load_profile(profile_path("franka_dual", robots_dir()))
    left_arm, left_hand, *_ = state_topics(profile)
    assert (left_arm.columns, left_hand.columns) == (tuple(range(7)), (7,))
    assert left_hand.names == ("fr3_finger_joint1",)
    assert command_topics(profile)[1].target.type == "float64_multi_array"


def test_one_topic_for_both_arms_is_one_message() -> None:
    profile = load_profile(profile_path("isaac_aloha_agilex", robots_dir()))
    (state,) = state_topics(profile)
    (command,) = command_topics(profile)
    assert state.columns == command.columns == tuple(range(14))
    assert command.names[:2] == ("fl_joint1", "fl_joint2")
    assert command.names[7] == "fr_joint1"


def test_extends_in_a_circle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: b\nname: a\n")
    (tmp_path / "b.yaml").write_text("extends: a\nname: b\n")
    with pytest.raises(ContractError, match="no circle"):
        load_profile(tmp_path / "a.yaml")


def test_a_users_own_file_extends_a_shipped_profile(tmp_path: Path) -> None:
    path = tmp_path / "ur5_dual.yaml"  # even under the same name
    path.write_text("extends: ur5_dual\nname: lab_3\ncommand_rate: 50.0\n")
    profile = load_profile(path)
    assert (profile.name, profile.command_rate) == ("lab_3", 50.0)
    assert profile.arms["right"].joints[0].name == "right_shoulder_pan_joint"
    path.write_text("extends: no_such_robot\nname: lab_3\n")
    with pytest.raises(ContractError, match=r"no_such_robot.yaml: expected a YAML file"):
        load_profile(path)


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text((robots_dir() / "aloha_sim.yaml").read_text() + "\nname: again\n")
    with pytest.raises(ContractError, match="stands twice"):
        load_profile(path)


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    document = json.loads((share_dir() / "config" / "robot_profile.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(document)
    return jsonschema.Draft202012Validator(document)


@pytest.mark.parametrize("name", NAMES)
def test_the_editors_schema_accepts_every_profile(
    schema: jsonschema.Draft202012Validator, name: str
) -> None:
    raw = read_yaml(robots_dir() / f"{name}.yaml")
    assert [error.message for error in schema.iter_errors(raw)] == []


def test_the_editors_schema_sees_unknown_and_missing_keys(
    schema: jsonschema.Draft202012Validator,
) -> None:
    wrong = document()
    wrong["colour"] = "red"
    del wrong["arms"]["left"]["home"]
    messages = " ".join(error.message for error in schema.iter_errors(wrong))
    assert "colour" in messages
    assert "'home' is a required property" in messages
    partial = {"extends": "aloha_sim", "name": "x", "arms": {"left": {"home": [0.0]}}}
    assert schema.is_valid(partial)
    assert not schema.is_valid({**partial, "colour": "red"})
