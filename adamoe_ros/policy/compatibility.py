# SPDX-License-Identifier: Apache-2.0
"""Checkpoint against robot profile: every mismatch, as lines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import Problems
from adamoe_ros.contract.joint_map import build_joint_map
from adamoe_ros.contract.manifest import CheckpointManifest
from adamoe_ros.contract.profile import RobotProfile

_REQUIRED = (
    "control_rate_hz", "normalization", "normalization_eps", "prompt_style", "prompt_state",
)  # fmt: skip
_REQUIRED_BY_ROBOTS = ("embodiment", *_REQUIRED, "state_source")
_SLACK = 1e-6  # rad or m; rounding of a driver is no reason to refuse


def mismatches(profile: RobotProfile | None, manifest: CheckpointManifest) -> list[str]:
    """What does not fit, one line each; empty when everything does.

    Args:
        profile: None: no robot, the checkpoint is used in its own units.
    """
    problems = Problems()
    _check_manifest(manifest, _REQUIRED if profile is None else _REQUIRED_BY_ROBOTS, problems)
    if profile is None:
        return problems.lines
    _check_cameras(profile, manifest, problems)
    _check_state_source(profile, manifest, problems)
    problems.collect(lambda: build_joint_map(profile, manifest))
    return problems.lines


def _check_manifest(
    manifest: CheckpointManifest, required: Sequence[str], problems: Problems
) -> None:
    if manifest.raw_only:
        problems.add(
            "checkpoint: raw_only",
            "false, for a checkpoint that drives a robot",
            f"true ({manifest.raw_only_reason})",
            "convert it again with what is missing",
        )
        return
    for name in required:
        if getattr(manifest, name) is None:
            problems.add(f"checkpoint: {name}", "a value", "null", "set it in manifest.json")


def _check_cameras(profile: RobotProfile, manifest: CheckpointManifest, problems: Problems) -> None:
    missing = [slot for slot in manifest.camera_slots if slot not in profile.cameras]
    if missing:
        problems.add(
            f"profile {profile.name}: cameras",
            f"the checkpoint's {', '.join(manifest.camera_slots)}",
            ", ".join(profile.cameras),
            f"add {', '.join(missing)}, with 'absent: true' where the robot has none",
        )
    if not any(slot in profile.present_cameras for slot in manifest.camera_slots):
        problems.add(
            f"profile {profile.name}: cameras",
            "at least one of the checkpoint's that is not absent",
            "none",
            "give one a topic",
        )


def _check_state_source(
    profile: RobotProfile, manifest: CheckpointManifest, problems: Problems
) -> None:
    if manifest.state_source not in (None, profile.state_source):
        problems.add(
            f"profile {profile.name}: state_source",
            f"{manifest.state_source!r} as the checkpoint was trained with",
            repr(profile.state_source),
            "change the profile, or use another checkpoint",
        )


def state_out_of_range(
    joint_ids: Sequence[str],
    state: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    margin: float,
) -> list[str]:
    """Lines for the joints whose state lies outside of what the training data covered.

    Args:
        state: (J,) model's order and units.
        low, high: (J,) quantiles of the training data.
        margin: how far outside is accepted, as a share of ``high - low``.
    """
    room = margin * (high - low) + _SLACK
    problems = Problems()
    for index, name in enumerate(joint_ids):
        if not low[index] - room[index] <= state[index] <= high[index] + room[index]:
            problems.add(
                f"state of {name}",
                f"{low[index]:.3f} ... {high[index]:.3f} as in the training data "
                f"(and {margin:.0%} more)",
                f"{state[index]:.3f}",
                "move the arms to the home pose, or set check_state:=false",
            )
    return problems.lines
