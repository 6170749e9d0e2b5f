# SPDX-License-Identifier: Apache-2.0
"""Joint values between the driver's convention and the model's, by name.

Four vectors, all float64 and in one order (left arm first, gripper last of each arm):
*state* as the driver reports it, *command* as the driver takes it, and *model* as the checkpoint
means it. Chunks travel in command units; only grippers may differ between state and command.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, Problems, problem
from adamoe_ros.contract.manifest import CheckpointManifest
from adamoe_ros.contract.profile import Gripper, RobotProfile

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Affine:
    """y = gain * x + offset, per joint; gain is never 0."""

    gain: Vector
    offset: Vector

    def apply(self, values: Vector) -> Vector:
        """(..., J) -> (..., J)."""
        return np.asarray(values * self.gain + self.offset, dtype=np.float64)

    def invert(self, values: Vector) -> Vector:
        """Inverse of ``apply``."""
        return np.asarray((values - self.offset) / self.gain, dtype=np.float64)


@dataclass(frozen=True)
class JointMap:
    """Conversions for one pair of robot profile and checkpoint.

    Attributes:
        joint_ids: ``<arm>/<name>`` in vector order.
        state_to_model: driver's state units -> model's physical units.
        command_to_model: driver's command units -> model's physical units.
        gripper_columns: indices of the grippers.
    """

    joint_ids: tuple[str, ...]
    state_to_model: Affine
    command_to_model: Affine
    gripper_columns: tuple[int, ...]

    def model_from_state(self, state: Vector) -> Vector:
        """(..., J) driver's state -> model."""
        return self.state_to_model.apply(state)

    def command_from_model(self, actions: Vector) -> Vector:
        """(..., J) model -> driver's command."""
        return self.command_to_model.invert(actions)

    def model_from_command(self, command: Vector) -> Vector:
        """(..., J) driver's command -> model (for ``state_source: last_command``)."""
        return self.command_to_model.apply(command)


def profile_roles(profile: RobotProfile) -> tuple[str, ...]:
    """Canonical roles of the profile's joints: ``left_0 ... left_gripper, right_0 ...``."""
    roles: list[str] = []
    for side, arm in profile.ordered_arms:
        roles += [f"{side}_{index}" for index in range(len(arm.joints))]
        roles += [f"{side}_gripper"] if arm.gripper else []
    return tuple(roles)


def command_names(profile: RobotProfile) -> tuple[str, ...]:
    """Driver names for command messages, in vector order."""
    names: list[str] = []
    for _, arm in profile.ordered_arms:
        names += [joint.name for joint in arm.joints]
        names += [arm.gripper.command_name or arm.gripper.name] if arm.gripper else []
    return tuple(names)


def _gripper_affine(
    closed: float, opened: float, to_closed: float, to_open: float
) -> tuple[float, float]:
    gain = (to_open - to_closed) / (opened - closed)
    return gain, to_closed - gain * closed


def gripper_command_ends(gripper: Gripper) -> tuple[float, float]:
    """(closed, open) in command units."""
    if gripper.command_closed is None or gripper.command_open is None:
        return gripper.closed, gripper.open
    return gripper.command_closed, gripper.command_open


def state_to_command(profile: RobotProfile) -> Affine:
    """Driver's state units -> driver's command units: identity but for some grippers."""
    gain, offset = [], []
    for _, arm in profile.ordered_arms:
        gain += [1.0] * len(arm.joints)
        offset += [0.0] * len(arm.joints)
        if arm.gripper:
            ends = gripper_command_ends(arm.gripper)
            pair = _gripper_affine(arm.gripper.closed, arm.gripper.open, *ends)
            gain.append(pair[0])
            offset.append(pair[1])
    return Affine(np.array(gain), np.array(offset))


def leader_to_command(profile: RobotProfile) -> Affine:
    """Leaders' units -> driver's command units: identity but for grippers with ends of their own."""
    pairs: list[tuple[float, float]] = []
    for side, arm in profile.ordered_arms:
        pairs += [(1.0, 0.0)] * len(arm.names)
        leader = profile.leader(side)
        if arm.gripper and leader and leader.gripper:
            ends = gripper_command_ends(arm.gripper)
            pairs[-1] = _gripper_affine(leader.gripper.closed, leader.gripper.open, *ends)
    return _affine(pairs)


def build_joint_map(profile: RobotProfile, manifest: CheckpointManifest) -> JointMap:
    """Match a profile and a checkpoint by joint role.

    Raises:
        ContractError: roles, embodiment, or gripper convention do not fit; every mismatch listed.
    """
    problems = Problems()
    foreign = [entry.role for entry in manifest.action_entries if not entry.for_joints]
    if manifest.actions or foreign:
        expected = f"set points of the joints of profile {profile.name}"
        got = ", ".join(entry.role for entry in manifest.action_entries)
        do = "it is for 'adamoe serve' and 'adamoe benchmark'; use a checkpoint of joints"
        raise ContractError(problem("checkpoint: actions", expected, got, do))
    roles, wanted = profile_roles(profile), manifest.state_roles
    if manifest.embodiment not in profile.embodiments:
        problems.add(
            f"profile {profile.name}: embodiments",
            f"the checkpoint's {manifest.embodiment!r} among them",
            ", ".join(profile.embodiments),
            "use a checkpoint trained for this robot, or add the embodiment if the kinematics are the same",
        )
    if roles != wanted:
        problems.add(
            f"profile {profile.name}: arms",
            f"joints {', '.join(wanted)} as the checkpoint has",
            ", ".join(roles),
            "give each arm the checkpoint's number of joints, from base to wrist, and its gripper",
        )
    has_gripper = any(arm.gripper for _, arm in profile.ordered_arms)
    if has_gripper and manifest.gripper is None:
        problems.add("manifest: gripper", "its open and closed values", "null", "set them")
    problems.raise_if_any()

    state: list[tuple[float, float]] = []
    command: list[tuple[float, float]] = []
    grippers: list[int] = []
    for _, arm in profile.ordered_arms:
        pairs = [(joint.sign * joint.scale, joint.offset) for joint in arm.joints]
        state += pairs
        command += pairs
        if arm.gripper and manifest.gripper:
            grippers.append(len(state))
            ends = (manifest.gripper.closed, manifest.gripper.open)
            state.append(_gripper_affine(arm.gripper.closed, arm.gripper.open, *ends))
            command.append(_gripper_affine(*gripper_command_ends(arm.gripper), *ends))
    return JointMap(profile.joint_ids, _affine(state), _affine(command), tuple(grippers))


def identity_joint_map(manifest: CheckpointManifest) -> JointMap:
    """The checkpoint's own order and units, joints named by their roles: for what has no driver."""
    state, command = (
        Affine(np.ones(len(entries)), np.zeros(len(entries)))
        for entries in (manifest.joints, manifest.action_entries)
    )
    grippers = [i for i, entry in enumerate(manifest.action_entries) if entry.kind == "gripper"]
    return JointMap(manifest.state_roles, state, command, tuple(grippers))


def _affine(pairs: list[tuple[float, float]]) -> Affine:
    gain, offset = zip(*pairs, strict=True)
    return Affine(np.array(gain, dtype=np.float64), np.array(offset, dtype=np.float64))
