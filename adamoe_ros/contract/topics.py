# SPDX-License-Identifier: Apache-2.0
"""Which joints travel on which topic of a robot, as columns of the profile's joint vector."""

from __future__ import annotations

from dataclasses import dataclass

from adamoe_ros.contract.joint_map import command_names
from adamoe_ros.contract.profile import Arm, CommandTarget, LeaderArm, RobotProfile, StateSource


@dataclass(frozen=True)
class StateTopic:
    """One topic of joint states.

    Attributes:
        source: topic name, matching, reliability and time-out; the first arm's where arms share it.
        names: driver's names that are taken from it.
        columns: their places in ``RobotProfile.joint_ids``.
    """

    source: StateSource
    names: tuple[str, ...]
    columns: tuple[int, ...]


@dataclass(frozen=True)
class CommandTopic:
    """One topic of joint commands.

    Attributes:
        target: topic name, type, whether velocities are filled.
        names: driver's names in command messages.
        columns: their places in ``RobotProfile.joint_ids``.
    """

    target: CommandTarget
    names: tuple[str, ...]
    columns: tuple[int, ...]


@dataclass(frozen=True)
class LeaderTopic(CommandTopic):
    """One topic on which a human leads, read as commands.

    Attributes:
        source: reliability and time-out.
    """

    source: LeaderArm


def state_topics(profile: RobotProfile) -> tuple[StateTopic, ...]:
    """Every state topic once, in order of first use; arms that share a topic are joined."""
    sources: dict[str, StateSource] = {}
    columns: dict[str, list[int]] = {}
    for column, source in enumerate(_column_sources(profile)):
        sources.setdefault(source.topic, source)
        columns.setdefault(source.topic, []).append(column)
    names = [name for _, arm in profile.ordered_arms for name in arm.names]
    return tuple(
        StateTopic(sources[topic], tuple(names[column] for column in own), tuple(own))
        for topic, own in columns.items()
    )


def command_topics(profile: RobotProfile) -> tuple[CommandTopic, ...]:
    """Every command topic once, in order of first use; arms that share a topic are joined."""
    targets: dict[str, CommandTarget] = {}
    columns: dict[str, list[int]] = {}
    for column, target in enumerate(_column_targets(profile)):
        targets.setdefault(target.topic, target)
        columns.setdefault(target.topic, []).append(column)
    names = command_names(profile)
    return tuple(
        CommandTopic(targets[topic], tuple(names[column] for column in own), tuple(own))
        for topic, own in columns.items()
    )


def leader_topics(profile: RobotProfile) -> tuple[LeaderTopic, ...]:
    """Every leader topic once, arms that share a topic are joined; none without ``teleop``."""
    found: dict[str, LeaderTopic] = {}
    first = 0
    for side, arm in profile.ordered_arms:
        columns = tuple(range(first, first + len(arm.names)))
        first = columns[-1] + 1
        leader = profile.leader(side)
        if leader is None:
            continue
        names = leader.joints or arm.names
        target = CommandTarget(topic=leader.topic, type=leader.type, stamp=leader.stamp)
        before = found.get(leader.topic)
        if before is not None:
            names, columns = (*before.names, *names), (*before.columns, *columns)
        found[leader.topic] = LeaderTopic(target, names, columns, leader)
    return tuple(found.values())


def _column_sources(profile: RobotProfile) -> list[StateSource]:
    return [
        source
        for _, arm in profile.ordered_arms
        for source in [arm.state] * len(arm.joints) + _gripper_state(arm)
    ]


def _column_targets(profile: RobotProfile) -> list[CommandTarget]:
    return [
        target
        for _, arm in profile.ordered_arms
        for target in [arm.command] * len(arm.joints) + _gripper_command(arm)
    ]


def _gripper_state(arm: Arm) -> list[StateSource]:
    return [arm.gripper.state or arm.state] if arm.gripper else []


def _gripper_command(arm: Arm) -> list[CommandTarget]:
    return [arm.gripper.command or arm.command] if arm.gripper else []
