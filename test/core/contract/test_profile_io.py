# SPDX-License-Identifier: Apache-2.0
"""Reading profiles: every error at once, extends, merge, keys that stand twice."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.profile_io import load_profile, merge, profile_path, read_yaml

LIMITS = {"position": [-1.0, 1.0], "velocity": 1.0, "acceleration": 5.0}
ARM: dict[str, Any] = {
    "state": {"topic": "left/states"},
    "command": {"topic": "left/commands"},
    "joints": [{"name": "a", "limits": dict(LIMITS)}, {"name": "b", "limits": dict(LIMITS)}],
    "home": [0.0, 0.0],
}
GOOD: dict[str, Any] = {
    "name": "one",
    "description": "one arm",
    "embodiments": ["one"],
    "arms": {"left": ARM},
    "cameras": {"cam_high": {"topic": "high"}},
}


def write(folder: Path, document: Any, name: str = "one") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return path


def refused(path: Path) -> tuple[str, ...]:
    with pytest.raises(ContractError) as caught:
        load_profile(path)
    return caught.value.problems


def test_a_good_profile_loads(tmp_path: Path) -> None:
    profile = load_profile(write(tmp_path, GOOD))
    assert profile.joint_ids == ("left/a", "left/b")
    assert profile.command_rate == 100.0


def test_every_error_of_every_section_at_once(tmp_path: Path) -> None:
    wrong = copy.deepcopy(GOOD)
    wrong["speling"] = 1
    del wrong["embodiments"]
    wrong["command_rate"] = 5
    wrong["arms"]["left"]["joints"][0]["limits"]["position"] = [1.0, -1.0]
    wrong["arms"]["left"]["joints"][1]["sign"] = 2
    wrong["arms"]["left"]["command"]["type"] = "no codec"
    wrong["cameras"]["cam_high"]["width"] = -3
    lines = refused(write(tmp_path, wrong))
    text = "\n".join(lines)
    for words in (
        "speling: expected a known key",
        "embodiments: expected a value, got nothing",
        "command_rate",
        "joints.0.limits",
        "lowest < highest",
        "joints.1.sign",
        "command.type",
        "cam_high.width",
    ):
        assert words in text, words
    assert len(lines) == 7
    assert all(line.startswith("one.yaml: ") and "; " in line for line in lines)


@pytest.mark.parametrize(
    ("section", "wrong", "meant"),
    [
        ((), "comand_rate", "command_rate"),
        ((), "camera", "cameras"),
        (("arms", "left"), "comand", "command"),
        (("arms", "left", "command"), "tpoic", "topic"),
        (("arms", "left", "joints", 1), "limit", "limits"),
        (("arms", "left", "joints", 0, "limits"), "acceleraton", "acceleration"),
        (("cameras", "cam_high"), "widht", "width"),
        (("gate",), "max_stp", ""),  # near to nothing
    ],
)
def test_a_mistyped_key_is_guessed(
    tmp_path: Path, section: tuple[Any, ...], wrong: str, meant: str
) -> None:
    document = copy.deepcopy(GOOD)
    place: Any = document
    for part in section:
        place = place[part] if isinstance(part, int) else place.setdefault(part, {})
    place[wrong] = place.pop(meant, 1)
    lines = [line for line in refused(write(tmp_path, document)) if f"key {wrong!r}" in line]
    assert len(lines) == 1
    assert (f"did you mean {meant!r}?" in lines[0]) == bool(meant), lines[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"home": [0.0]}, "home with 2 values"),
        ({"home": [0.0, 3.0]}, "home of b inside its position limits"),
        ({"joints": [ARM["joints"][0]] * 2}, "each joint name once per arm"),
    ],
)
def test_arms_are_checked_as_a_whole(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    (line,) = refused(write(tmp_path, merge(GOOD, {"arms": {"left": change}})))
    assert words in line


def test_numbers_must_be_finite(tmp_path: Path) -> None:
    text = yaml.safe_dump(GOOD).replace("velocity: 1.0", "velocity: .nan")
    assert any("velocity" in line for line in refused(write(tmp_path, text)))


def test_a_camera_is_absent_or_has_a_topic(tmp_path: Path) -> None:
    for camera in ({}, {"topic": "x", "absent": True}):
        document = merge(GOOD, {"cameras": {"cam_low": camera}})
        assert "a topic, or 'absent: true'" in refused(write(tmp_path, document))[0]
    document = merge(GOOD, {"cameras": {"cam_low": {"absent": True}}})
    assert "cam_low" not in load_profile(write(tmp_path, document)).present_cameras


def test_extends_merges_key_by_key_and_replaces_lists(tmp_path: Path) -> None:
    write(tmp_path, GOOD, "base")
    changes = {
        "extends": "base",
        "name": "two",
        "arms": {"left": {"command": {"topic": "other"}}},
        "embodiments": ["x", "y"],
    }
    profile = load_profile(write(tmp_path, changes, "two"))
    assert profile.name == "two" and profile.embodiments == ("x", "y")
    assert profile.arms["left"].command.topic == "other"
    assert profile.arms["left"].state.topic == "left/states"
    write(tmp_path, {"extends": "two", "name": "three"}, "three")
    assert load_profile(tmp_path / "three.yaml").arms["left"].command.topic == "other"


def test_extends_in_a_circle_or_to_nothing(tmp_path: Path) -> None:
    write(tmp_path, {"extends": "b"}, "a")
    write(tmp_path, {"extends": "a"}, "b")
    assert "a -> b -> a" in refused(tmp_path / "a.yaml")[0]
    assert "missing.yaml" in refused(write(tmp_path, {"extends": "missing"}, "c"))[0]


def test_merge_leaves_its_arguments_alone() -> None:
    base = {"a": {"b": 1, "c": [1, 2]}}
    assert merge(base, {"a": {"c": [3]}}) == {"a": {"b": 1, "c": [3]}}
    assert base == {"a": {"b": 1, "c": [1, 2]}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2\n", "stands twice"),
        ("a: [1\n", "valid YAML"),
        ("- 1\n- 2\n", "a mapping"),
        ("", "a mapping"),
        ("a: \x00", "valid YAML"),
    ],
)
def test_documents_that_are_no_mapping(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        read_yaml(write(tmp_path, text))


def test_an_unknown_robot_lists_the_known_ones(tmp_path: Path) -> None:
    write(tmp_path, GOOD, "one")
    write(tmp_path, GOOD, "two")
    with pytest.raises(ContractError, match="one of one, two or the path"):
        profile_path("three", tmp_path)
    assert profile_path("two", tmp_path) == tmp_path / "two.yaml"
    assert profile_path("my/own.yaml", tmp_path) == Path("my/own.yaml")
