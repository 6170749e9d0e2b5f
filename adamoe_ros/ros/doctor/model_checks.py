# SPDX-License-Identifier: Apache-2.0
"""The checkpoint's files against each other, and the live pose against its training data.

Imports the policy (torch) inside functions: without it these points stay unchecked. No ROS.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.extras import missing_part
from adamoe_ros.contract.joint_map import build_joint_map
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.topics import StateTopic
from adamoe_ros.policy.compatibility import state_out_of_range
from adamoe_ros.ros.doctor.joint_checks import JointMessage, joint_values
from adamoe_ros.ros.doctor.report import Check, Report
from adamoe_ros.ros.policy.policy_parameters import PolicyParameters

if TYPE_CHECKING:
    from adamoe_ros.policy.checkpoint import Checkpoint

_NAME = "pose against training data"


def open_checkpoint(report: Report, folder: Path) -> Checkpoint | None:
    """Read everything but the weights, by the lines of policy_node; every problem is a failed check."""
    try:
        from adamoe_ros.policy.checkpoint import read_checkpoint
    except ImportError as error:
        text = missing_part(error, ["policy"]) or str(error)
        report.add("checkpoint", "files", "unchecked", f"{text} where policy_node is to run")
        return None
    try:
        checkpoint = read_checkpoint(folder)
    except ContractError as error:
        for line in error.problems:
            report.add("checkpoint", "files", "fail", line)
        return None
    report.add("checkpoint", "files", "ok", "configuration, statistics, tokenizer and joints fit")
    return checkpoint


def check_pose(
    profile: RobotProfile,
    checkpoint: Checkpoint,
    messages: Sequence[tuple[StateTopic, JointMessage]],
) -> Iterator[Check]:
    """Whether policy_node would activate in this pose.

    Args:
        messages: the last message of every state topic.
    """
    state = np.full(len(profile.joint_ids), np.nan)
    for topic, message in messages:
        values = joint_values(topic, message)
        if values is not None:
            state[list(topic.columns)] = values
    if not np.isfinite(state).all():
        yield Check("robot", _NAME, "unchecked", "joints are missing: see above")
        return
    try:
        mapping = build_joint_map(profile, checkpoint.manifest)
        trained = checkpoint.vectors().inner_state(mapping.model_from_state(state))
    except ContractError:
        yield Check("robot", _NAME, "unchecked", "checkpoint and profile do not fit: see above")
        return
    assert checkpoint.statistics is not None  # its vectors could be made
    low, high = checkpoint.statistics.state.usual_range()
    lines = state_out_of_range(
        mapping.joint_ids, trained, low, high, PolicyParameters().state_margin
    )
    for line in lines:
        yield Check("robot", _NAME, "fail", line)
    if not lines:
        yield Check("robot", _NAME, "ok", "every joint is inside of its range")
