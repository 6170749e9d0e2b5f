# SPDX-License-Identifier: Apache-2.0
"""In which order and units a recording's joints are written: the checkpoint's, or the driver's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.joint_map import (
    Affine,
    build_joint_map,
    profile_roles,
)
from adamoe_ros.contract.manifest import (
    CheckpointManifest,
    GripperConvention,
    Provenance,
    vector_entry,
)
from adamoe_ros.contract.profile import RobotProfile

GripperUnits = Literal["driver", "1_open", "0_open"]
GRIPPERS: dict[str, GripperConvention] = {
    "1_open": GripperConvention(open=1.0, closed=0.0),
    "0_open": GripperConvention(open=0.0, closed=1.0),
}


@dataclass(frozen=True)
class Units:
    """Names and conversions of one recording.

    Attributes:
        names: of the columns, canonical roles (``left_0 ... left_gripper, right_0 ...``).
        state: driver's state -> written.
        command: driver's command -> written.
        gripper: (open, closed) as written; None: as the driver has them.
    """

    names: tuple[str, ...]
    state: Affine
    command: Affine
    gripper: tuple[float, float] | None


def units_for(profile: RobotProfile, manifest: CheckpointManifest | None, gripper: str) -> Units:
    """The units of a dataset.

    Args:
        manifest: of a checkpoint that the data are for; None: by ``gripper``.
        gripper: ``driver`` (joints and grippers as the driver has them), ``1_open`` or ``0_open``
            (joints in the model's sense, grippers 0 ... 1); not used with a manifest.

    Raises:
        ContractError: profile and checkpoint do not fit; or no choice was made.
    """
    if manifest is None and gripper == "driver":
        same = Affine(np.ones(len(profile.joint_ids)), np.zeros(len(profile.joint_ids)))
        return Units(profile_roles(profile), same, same, None)
    if manifest is None and gripper not in GRIPPERS:
        raise ContractError(
            problem(
                "gripper units",
                "a choice, as data and checkpoint must agree",
                "none",
                "give --checkpoint, or --gripper 1_open, 0_open or driver",
            )
        )
    if manifest is None:
        return units_with_gripper(profile, GRIPPERS[gripper])
    joints = build_joint_map(profile, manifest)
    ends = (manifest.gripper.open, manifest.gripper.closed) if manifest.gripper else None
    return Units(manifest.state_roles, joints.state_to_model, joints.command_to_model, ends)


def units_with_gripper(profile: RobotProfile, gripper: GripperConvention) -> Units:
    """Joints in the model's sense, grippers between two values."""
    return units_for(profile, _plain_manifest(profile, gripper), "")


def _plain_manifest(profile: RobotProfile, gripper: GripperConvention) -> CheckpointManifest:
    """Joint semantics of the profile itself."""
    roles = tuple(map(vector_entry, profile_roles(profile)))
    return CheckpointManifest(
        raw_only=False,
        embodiment=profile.embodiments[0],
        joints=roles,
        gripper=gripper,
        control_rate_hz=None,
        camera_slots=tuple(profile.cameras),
        normalization=None,
        adapt_to_pi="none",
        prompt_style=None,
        tokenizer=None,
        state_source=profile.state_source,
        provenance=Provenance(source="profile", created_by="adamoe_ros", created="", notes=""),
    )
