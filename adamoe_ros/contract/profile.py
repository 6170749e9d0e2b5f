# SPDX-License-Identifier: Apache-2.0
"""Robot profile: everything the package must know of one robot, as one validated document.

Units: rad, m, s, Hz unless a field says otherwise. Joint values in a profile are the *driver's*;
``joint_map`` turns them into the model's order and convention. Read by ``profile_io.load_profile``.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

StampSource = Literal["header", "arrival"]
_CODEC = r"^[a-z0-9_]+$|^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
_STAMP = "time of a message: its header's, or its arrival where the driver's clock is another one"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Limits(_Strict):
    """Bounds of one joint, driver's unit; from the maker, never URDF placeholders."""

    position: tuple[float, float] = Field(description="lowest and highest, rad or m")
    velocity: float = Field(gt=0, description="rad/s or m/s")
    acceleration: float = Field(gt=0, description="rad/s^2 or m/s^2")

    @model_validator(mode="after")
    def _ordered(self) -> Limits:
        if not self.position[0] < self.position[1]:
            raise ValueError("position limits as [lowest, highest], lowest < highest")
        return self


class Joint(_Strict):
    """One revolute or prismatic joint of an arm; model value = sign * scale * driver + offset."""

    name: str = Field(min_length=1, description="in the driver's messages")
    limits: Limits
    sign: Literal[-1, 1] = 1
    scale: float = Field(1.0, gt=0, description="model unit per driver unit")
    offset: float = Field(0.0, description="rad or m, added after sign and scale")


class CommandTarget(_Strict):
    """Where commands go."""

    topic: str = Field(min_length=1)
    type: str = Field(
        "joint_state",
        pattern=_CODEC,
        description="joint_state, joint_trajectory, float64_multi_array, interbotix, or "
        "module:attribute of a CommandCodec of your own (streams/command_codecs.py)",
    )
    velocity: bool = Field(
        False, description="fill velocities; leave false for AgileX (percent there)"
    )
    stamp: StampSource = Field("header", description=f"{_STAMP}; for reading recordings")


class StateSource(_Strict):
    """Where the joint state of an arm, or of a gripper alone, comes from."""

    topic: str = Field(min_length=1)
    match: Literal["name", "index"] = Field(
        "name",
        description="index only for drivers whose names vary; the count must then be exact",
    )
    reliable: bool = Field(False, description="request reliable delivery")
    timeout: float = Field(0.2, gt=0, description="s without a message: stale")
    stamp: StampSource = Field("header", description=_STAMP)


class Gripper(_Strict):
    """The gripper of an arm, linear between its closed and open values."""

    name: str = Field(min_length=1, description="in the driver's state messages")
    unit: Literal["m", "rad", "normalized"] = "m"
    closed: float = Field(description="state value when closed, driver's unit")
    open: float = Field(description="state value when open, driver's unit")
    limits: Limits
    state: StateSource | None = Field(None, description="own state topic; null: the arm's")
    command_name: str | None = Field(None, description="name in command messages; null: the same")
    command_closed: float | None = Field(
        None, description="command value when closed; null: closed"
    )
    command_open: float | None = Field(None, description="command value when open; null: open")
    command: CommandTarget | None = Field(None, description="own command topic; null: the arm's")

    @model_validator(mode="after")
    def _consistent(self) -> Gripper:
        if math.isclose(self.open, self.closed):
            raise ValueError("open and closed to differ")
        if (self.command_closed is None) != (self.command_open is None):
            raise ValueError("command_closed and command_open given together or not at all")
        low, high = self.limits.position
        if not (low <= min(self.open, self.closed) and max(self.open, self.closed) <= high):
            raise ValueError("open and closed inside limits.position")
        return self


class Arm(_Strict):
    """One arm, joints in the model's order from base to wrist."""

    state: StateSource
    command: CommandTarget
    joints: tuple[Joint, ...] = Field(min_length=1)
    gripper: Gripper | None = None
    home: tuple[float, ...] = Field(description="driver's units, joints then gripper")

    @property
    def names(self) -> tuple[str, ...]:
        """Driver names in state messages, gripper last."""
        gripper = (self.gripper.name,) if self.gripper else ()
        return (*(joint.name for joint in self.joints), *gripper)

    @property
    def limits(self) -> tuple[Limits, ...]:
        """Limits in the order of ``names``."""
        gripper = (self.gripper.limits,) if self.gripper else ()
        return (*(joint.limits for joint in self.joints), *gripper)

    @model_validator(mode="after")
    def _consistent(self) -> Arm:
        repeated = sorted({name for name in self.names if self.names.count(name) > 1})
        if repeated:
            raise ValueError(f"each joint name once per arm (repeated: {', '.join(repeated)})")
        if len(self.home) != len(self.names):
            raise ValueError(f"home with {len(self.names)} values (joints, then gripper)")
        for name, value, limits in zip(self.names, self.home, self.limits, strict=True):
            if not limits.position[0] <= value <= limits.position[1]:
                raise ValueError(f"home of {name} inside its position limits {limits.position}")
        return self


class Camera(_Strict):
    """One camera slot of the model."""

    topic: str | None = Field(None, description="null only for an absent slot")
    type: Literal["image", "compressed"] = "image"
    encoding: str = Field(
        "rgb8", description="expected in the messages; compressed: after decoding"
    )
    width: int = Field(640, gt=0, description="px")
    height: int = Field(480, gt=0, description="px")
    rate: float = Field(30.0, gt=0, description="Hz, expected")
    reliable: bool = Field(False, description="request reliable delivery")
    timeout: float = Field(0.3, gt=0, description="s without a frame: stale")
    tolerance: float = Field(0.05, gt=0, description="s, largest distance from the observation")
    stamp: StampSource = Field("header", description=_STAMP)
    absent: bool = Field(False, description="this robot has no such camera: the slot is masked")

    @model_validator(mode="after")
    def _topic_or_absent(self) -> Camera:
        if (self.topic is None) != self.absent:
            raise ValueError("a topic, or 'absent: true' without a topic")
        return self


class GateLimits(_Strict):
    """Bounds of the safety gate beyond the joints' own limits."""

    max_start_distance: float = Field(
        0.35,
        gt=0,
        description="rad (or m): first row of motion to the measured pose, per joint",
    )
    max_tracking_error: float = Field(
        0.5, gt=0, description="rad (or m): command to measured pose, per joint"
    )
    max_gripper_error: float | None = Field(
        None,
        gt=0,
        description="as max_tracking_error, for grippers; null: not limited (they hold things)",
    )
    hard_bound: float = Field(
        0.3,
        ge=0,
        description="rad (or m) beyond a position limit: the chunk is refused whole",
    )
    rejected_chunks_to_abort: int = Field(3, ge=1, description="in a row: the goal is aborted")
    workspace: tuple[tuple[float, float, float], tuple[float, float, float]] | None = Field(
        None,
        description="m, lowest and highest corner for the tool frames, base frame; needs urdf",
    )
    urdf: str | None = Field(None, description="file for the workspace box; null: none")


class WatchdogTimes(_Strict):
    """How long something may be missing before the arms hold."""

    chunk: float = Field(0.5, gt=0, description="s past the end of the last chunk")
    policy: float = Field(1.0, gt=0, description="s without a policy heartbeat")


class LeaderGripper(_Strict):
    """Ends of a leader's gripper or trigger, in the unit of its messages."""

    closed: float
    open: float

    @model_validator(mode="after")
    def _different(self) -> LeaderGripper:
        if math.isclose(self.open, self.closed):
            raise ValueError("open and closed to differ")
        return self


class LeaderArm(_Strict):
    """What a human moves for one arm: joint states of a leader arm, or a teleop node's commands."""

    topic: str = Field(min_length=1)
    type: str = Field("joint_state", pattern=_CODEC, description="as of a command target")
    joints: tuple[str, ...] | None = Field(
        None,
        description="names in its messages, in the arm's order, gripper last; null: the arm's own",
    )
    gripper: LeaderGripper | None = Field(
        None, description="its gripper's ends; null: it has the arm's command values"
    )
    reliable: bool = Field(False, description="request reliable delivery")
    timeout: float = Field(0.2, gt=0, le=1, description="s without a message: stale")
    stamp: StampSource = Field("header", description=_STAMP)


class Deadman(_Strict):
    """The switch that a human holds while moving the arms; judged by arrivals."""

    topic: str = Field(min_length=1)
    type: Literal["bool", "joy"] = Field("bool", description="std_msgs/Bool, sensor_msgs/Joy")
    button: int = Field(0, ge=0, le=63, description="of the Joy message")
    reliable: bool = Field(False, description="request reliable delivery")
    timeout: float = Field(0.2, gt=0, le=1, description="s without a message: lost, the arms hold")


class Teleop(_Strict):
    """Where a human takes over from: leader arms and a dead-man switch."""

    arms: dict[Literal["left", "right"], LeaderArm] = Field(min_length=1)
    deadman: Deadman
    console: bool = Field(
        False, description="the operator's page may lead: console_node publishes all of these"
    )


class RobotProfile(_Strict):
    """One robot. Names in ROS are relative unless they start with '/'."""

    name: str = Field(min_length=1)
    description: str = Field(min_length=1)
    embodiments: tuple[str, ...] = Field(
        min_length=1,
        description="checkpoint embodiments that fit this robot's kinematics",
    )
    state_source: Literal["measured", "last_command"] = "measured"
    arms: dict[Literal["left", "right"], Arm] = Field(min_length=1)
    cameras: dict[str, Camera] = Field(min_length=1)
    command_rate: float = Field(100.0, ge=10, le=1000, description="Hz")
    gate: GateLimits = GateLimits()
    watchdogs: WatchdogTimes = WatchdogTimes()
    teleop: Teleop | None = Field(None, description="null: nobody can take over")
    use_sim_time: bool = False

    @property
    def joint_ids(self) -> tuple[str, ...]:
        """``<arm>/<name>`` of every joint, left arm first, gripper last of each arm."""
        return tuple(f"{side}/{name}" for side, arm in self.ordered_arms for name in arm.names)

    @property
    def ordered_arms(self) -> tuple[tuple[str, Arm], ...]:
        """Arms, left before right."""
        return tuple((side, self.arms[side]) for side in ("left", "right") if side in self.arms)

    def leader(self, side: str) -> LeaderArm | None:
        """What leads an arm; None: nothing does."""
        arms = self.teleop.arms.items() if self.teleop else ()
        return next((leader for name, leader in arms if name == side), None)

    @property
    def present_cameras(self) -> dict[str, Camera]:
        """Camera slots that exist on this robot."""
        return {slot: camera for slot, camera in self.cameras.items() if not camera.absent}

    @model_validator(mode="after")
    def _consistent(self) -> RobotProfile:
        wrong = [*_repeated_state_names(self), *_mixed_command_targets(self)]
        if self.teleop is not None:
            wrong += _teleop_problems(self, self.teleop)
        if not self.present_cameras:
            wrong.append("at least one camera that is not absent")
        if self.gate.workspace is not None and self.gate.urdf is None:
            wrong.append("gate.urdf beside gate.workspace")
        if wrong:
            raise ValueError("; and ".join(wrong))
        return self


def _repeated_state_names(profile: RobotProfile) -> list[str]:
    by_topic: dict[str, list[str]] = {}
    for _, arm in profile.ordered_arms:
        by_topic.setdefault(arm.state.topic, []).extend(joint.name for joint in arm.joints)
        if arm.gripper:
            source = arm.gripper.state or arm.state
            by_topic.setdefault(source.topic, []).append(arm.gripper.name)
    wrong = []
    for topic, names in by_topic.items():
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            wrong.append(
                f"distinct joint names for the arms that share {topic} "
                f"(repeated: {', '.join(repeated)})"
            )
    return wrong


def _mixed_command_targets(profile: RobotProfile) -> list[str]:
    by_topic: dict[str, set[CommandTarget]] = {}
    for _, arm in profile.ordered_arms:
        own = [arm.gripper.command] if arm.gripper and arm.gripper.command else []
        for target in (arm.command, *own):
            by_topic.setdefault(target.topic, set()).add(target)
    return [
        f"one type and velocity setting for everything commanded on {topic}"
        for topic, targets in by_topic.items()
        if len(targets) > 1
    ]


def _teleop_problems(profile: RobotProfile, teleop: Teleop) -> list[str]:
    wrong: list[str] = []
    shared: dict[str, list[tuple[LeaderArm, set[str]]]] = {}  # topic -> its arms and joint names
    for side, leader in teleop.arms.items():
        if side not in profile.arms:
            wrong.append(f"teleop.arms.{side} only where there is a {side} arm")
            continue
        count = len(profile.arms[side].names)
        given = leader.joints
        if given is not None and not len(given) == len(set(given)) == count:
            wrong.append(f"teleop.arms.{side}.joints with {count} names, each once")
        if leader.gripper is not None and profile.arms[side].gripper is None:
            wrong.append(f"teleop.arms.{side}.gripper only where the arm has one")
        names = leader.joints or profile.arms[side].names
        shared.setdefault(leader.topic, []).append((leader, set(names)))
    for topic, arms in shared.items():
        settings = {
            leader.model_copy(update={"joints": None, "gripper": None}) for leader, _ in arms
        }
        if len(settings) > 1 or (len(arms) > 1 and arms[0][1] & arms[1][1]):
            wrong.append(f"one setting and distinct joint names for the leaders that share {topic}")
    own = {end.topic for arm in profile.arms.values() for end in (arm.state, arm.command)}
    grippers = [arm.gripper for arm in profile.arms.values() if arm.gripper]
    own |= {end.topic for item in grippers for end in (item.state, item.command) if end}
    taken = sorted({*shared, teleop.deadman.topic} & own)
    if taken:  # a leader that moves the arms past the gate, or an arm that leads itself
        wrong.append(
            f"topics of their own for leaders and dead-man (the arms': {', '.join(taken)})"
        )
    if teleop.deadman.topic in shared:
        wrong.append("a topic of its own for teleop.deadman")
    plain = all(arm.type == "joint_state" and arm.gripper is None for arm in teleop.arms.values())
    if teleop.console and not (plain and teleop.deadman.type == "bool"):
        wrong.append(
            "joint_state leaders without gripper ends, and a bool dead-man, for teleop.console"
        )
    return wrong
