# SPDX-License-Identifier: Apache-2.0
"""Which topics of a bag are a profile's, and whether they hold the messages that it expects."""

from __future__ import annotations

from collections.abc import Sequence

from adamoe_ros.contract.errors import Problems, problem
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.topics import command_topics, state_topics
from adamoe_ros.data.bag.reader import Bag
from adamoe_ros.streams.commands import command_type

PICTURES = {"image": "sensor_msgs/msg/Image", "compressed": "sensor_msgs/msg/CompressedImage"}
_JOINT_STATE = "sensor_msgs/msg/JointState"
_SENTENCES = {
    "instruction": "std_msgs/msg/String",
    "policy_status": "adamoe_ros/msg/PolicyStatus",
    "task_status": "adamoe_ros/msg/TaskStatus",
}
_CONTROL = ("control_status", "adamoe_ros/msg/ControlStatus")


class BagTopics:
    """The topics of one robot in one bag.

    Args:
        bag: open; topics without a stored type are read as the profile has them.
        profile: the robot that recorded it.
        namespace: before the profile's relative topics.
        slots: camera slots that are read.

    Attributes:
        profile: as given, with cameras as the bag has them: raw or compressed.
        inputs: the bag's topic -> camera slots and state topics of the profile that come from it.
        commands: the bag's topic -> the profile's command topic.
        has_commands: whether the bag has every command topic.
        notes: what a person should know, one line each.

    Raises:
        ContractError: pictures or joint states that the bag does not have; every one.
    """

    def __init__(
        self, bag: Bag, profile: RobotProfile, namespace: str, slots: Sequence[str]
    ) -> None:
        self._bag, self._namespace = bag, namespace.strip("/")
        self.notes: list[str] = []
        self.inputs: dict[str, list[str]] = {}
        self.commands: dict[str, str] = {}
        self._problems = Problems()
        self.profile = self._take_cameras(profile, slots)
        if profile.state_source != "last_command":
            for topic in state_topics(profile):
                found = self._find(topic.source.topic, (_JOINT_STATE,))
                if found is not None:
                    self.inputs.setdefault(found, []).append(topic.source.topic)
        self._problems.raise_if_any()
        self.has_commands = self._take_commands(profile)

    def resolve(self, topic: str) -> str:
        """A profile's topic name as it stands in the bag."""
        if topic.startswith("/"):
            return topic
        return f"/{self._namespace}/{topic}" if self._namespace else f"/{topic}"

    def _take_cameras(self, profile: RobotProfile, slots: Sequence[str]) -> RobotProfile:
        cameras = dict(profile.cameras)
        for slot in slots:
            camera = cameras[slot]
            kinds = sorted(PICTURES.values(), key=lambda kind: kind != PICTURES[camera.type])
            found = self._find(str(camera.topic), kinds)
            if found is None:
                continue
            self.inputs.setdefault(found, []).append(slot)
            have = self._bag.topics[found].type
            if have != kinds[0]:
                where = f"{self._bag.path.name}: cameras.{slot} ({found})"
                line = problem(where, kinds[0], have, f"read as {have}; correct the profile")
                self.notes.append(line)
                changes = {"type": next(name for name in PICTURES if PICTURES[name] == have)}
                cameras[slot] = camera.model_copy(update=changes)
        return profile.model_copy(update={"cameras": cameras})

    def _take_commands(self, profile: RobotProfile) -> bool:
        for topic in command_topics(profile):
            name = self.resolve(topic.target.topic)
            if name not in self._bag.topics:
                continue
            problems, self._problems = self._problems, Problems()
            found = self._find(topic.target.topic, (command_type(topic),))
            if found is not None:
                self.commands[found] = topic.target.topic
            elif self._bag.topics[name].count:
                self.notes += self._problems.lines
            self._problems = problems
        return len(self.commands) == len(command_topics(profile))

    def _find(self, topic: str, kinds: Sequence[str]) -> str | None:
        """The bag's name of a topic with messages of one of some types; None, and a line: none."""
        name, have = self.resolve(topic), self._bag.topics
        if name in have and not have[name].type:
            self._bag.assume(name, kinds[0])
        for kind in kinds:
            for found in (name, f"{name} ({kind})"):
                if found in have and have[found].type == kind and have[found].count:
                    return found
        where = f"{self._bag.path.name}: {name}"
        if name in have and have[name].count:
            do = "correct the topic or its type in the profile, or the recorder's remapping"
            self._problems.add(where, kinds[0], have[name].type, do)
            return None
        relative = topic.lstrip("/").removeprefix(f"{self._namespace}/" if self._namespace else "")
        alike = [other for other in have if other.endswith(f"/{relative}") and other != name]
        got = "no message on it" if name in have else "no such topic"
        do = f"it has {', '.join(alike)}: set --namespace" if alike else "check the profile"
        self._problems.add(where, "messages", got, do)
        return None

    @property
    def sentences(self) -> str | None:
        """Where the instruction comes from: its own topic, else what the nodes say of it."""
        for topic, kind in _SENTENCES.items():
            name = self.resolve(topic)
            entry = self._bag.topics.get(name)
            if entry is None or not entry.count:
                continue
            if not entry.type:
                self._bag.assume(name, kind)
            if self._bag.topics[name].type == kind:
                return name
            where = f"{self._bag.path.name}: {name}"
            self.notes.append(problem(where, kind, entry.type, "it is left out"))
        return None

    @property
    def control(self) -> str | None:
        """Where it is said who leads the arms; None where the bag does not say."""
        name, kind = self.resolve(_CONTROL[0]), _CONTROL[1]
        entry = self._bag.topics.get(name)
        if entry is not None and not entry.type:
            self._bag.assume(name, kind)
        good = entry is not None and entry.count and self._bag.topics[name].type == kind
        return name if good else None

    @property
    def clock(self) -> str | None:
        """The bag's ``/clock``; None where it has none."""
        entry = self._bag.topics.get("/clock")
        good = entry is not None and entry.count and entry.type == "rosgraph_msgs/msg/Clock"
        return "/clock" if good else None
