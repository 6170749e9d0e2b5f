# SPDX-License-Identifier: Apache-2.0
"""Conversions between driver and model: round trips, signs and scales, which end is open."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.joint_map import (
    build_joint_map,
    command_names,
    gripper_command_ends,
    profile_roles,
    state_to_command,
)
from adamoe_ros.contract.manifest import CheckpointManifest
from adamoe_ros.contract.profile import RobotProfile

LIMITS = {"position": [-3.0, 3.0], "velocity": 1.0, "acceleration": 5.0}
WIDTH = 6


def robot(**gripper: Any) -> RobotProfile:
    joints = [
        {"name": "a", "limits": LIMITS, "sign": -1, "offset": 0.25},
        {"name": "b", "limits": LIMITS, "scale": 2.0},
    ]
    hand = {
        "name": "g",
        "closed": 0.01,
        "open": 0.09,
        "limits": {"position": [0.0, 0.1], "velocity": 0.2, "acceleration": 3.0},
    } | gripper

    def arm(side: str) -> dict[str, Any]:
        return {
            "state": {"topic": f"{side}/states"},
            "command": {"topic": f"{side}/commands"},
            "joints": joints,
            "gripper": hand,
            "home": [0, 0, 0.05],
        }

    return RobotProfile.model_validate(
        {
            "name": "r",
            "description": "r",
            "embodiments": ["e"],
            "arms": {"right": arm("right"), "left": arm("left")},
            "cameras": {"c": {"topic": "c"}},
        }
    )


def manifest(roles: list[str] | None = None, **changes: Any) -> CheckpointManifest:
    names = roles or [
        f"{side}_{part}" for side in ("left", "right") for part in ("0", "1", "gripper")
    ]
    joints = [
        {
            "role": name,
            "kind": "gripper" if name.endswith("gripper") else "revolute",
            "representation": "absolute",
        }
        for name in names
    ]
    base = {
        "raw_only": False,
        "embodiment": "e",
        "joints": joints,
        "gripper": {"open": 1.0, "closed": 0.0},
        "control_rate_hz": 50,
        "camera_slots": ["c"],
        "normalization": "mean_std",
        "adapt_to_pi": "none",
        "prompt_style": "plain",
        "tokenizer": None,
        "state_source": "measured",
        "provenance": {"source": "s", "created_by": "t", "created": "2026-01-01"},
    }
    return CheckpointManifest.model_validate(base | changes)


def test_left_comes_first_whatever_the_file_says() -> None:
    assert robot().joint_ids[0] == "left/a" and robot().joint_ids[-1] == "right/g"
    assert profile_roles(robot()) == manifest().state_roles


def test_sign_scale_and_offset_on_given_numbers() -> None:
    joints = build_joint_map(robot(), manifest())
    state = np.array([1.0, 1.0, 0.09, 0.0, -0.5, 0.01])
    np.testing.assert_allclose(
        joints.model_from_state(state), [-0.75, 2.0, 1.0, 0.25, -1.0, 0.0], atol=1e-12
    )
    assert joints.gripper_columns == (2, 5)


@pytest.mark.parametrize(
    "gripper",
    [
        {},
        {"command_closed": 1.6, "command_open": 0.6},
        {"closed": 0.09, "open": 0.01},
        {"command_closed": -5.0, "command_open": 5.0, "command_name": "finger"},
    ],
)
@pytest.mark.parametrize("ends", [(1.0, 0.0), (0.0, 1.0), (0.055, 0.0)])
def test_round_trips_and_gripper_ends(gripper: dict[str, Any], ends: tuple[float, float]) -> None:
    profile = robot(**gripper)
    joints = build_joint_map(profile, manifest(gripper={"open": ends[0], "closed": ends[1]}))
    values = np.random.default_rng(0).normal(size=(7, WIDTH))
    back = joints.model_from_command(joints.command_from_model(values))
    np.testing.assert_allclose(back, values, atol=1e-12)
    hand = profile.arms["left"].gripper
    assert hand is not None
    closed_command, open_command = gripper_command_ends(hand)
    for model, state, command in (
        (ends[0], hand.open, open_command),
        (ends[1], hand.closed, closed_command),
    ):
        out = joints.command_from_model(np.full(WIDTH, model))
        assert out[2] == pytest.approx(command) and out[5] == pytest.approx(command)
        assert joints.model_from_state(np.full(WIDTH, state))[2] == pytest.approx(model)
        assert state_to_command(profile).apply(np.full(WIDTH, state))[2] == pytest.approx(command)


def test_arm_joints_have_one_unit_for_state_and_command() -> None:
    affine = state_to_command(robot(command_closed=1.6, command_open=0.6))
    np.testing.assert_array_equal(affine.gain[[0, 1, 3, 4]], 1.0)
    np.testing.assert_array_equal(affine.offset[[0, 1, 3, 4]], 0.0)


def test_command_names_rename_the_gripper_only() -> None:
    assert command_names(robot(command_name="finger")) == ("a", "b", "finger") * 2


def test_every_mismatch_is_listed() -> None:
    wrong = manifest(["left_0", "left_gripper"], embodiment="other", gripper=None)
    with pytest.raises(ContractError) as caught:
        build_joint_map(robot(), wrong)
    text = str(caught.value)
    assert len(caught.value.problems) == 3
    assert "embodiments" in text and "left_0, left_gripper" in text and "manifest: gripper" in text


def test_half_a_gripper_command_is_refused() -> None:
    with pytest.raises(ValueError, match="given together"):
        robot(command_closed=1.0)
