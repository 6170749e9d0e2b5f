# SPDX-License-Identifier: Apache-2.0
"""An episode of a dataset -> a bag with the topics of a robot, to play it back or to look at it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.profile import Camera, RobotProfile
from adamoe_ros.contract.resources import share_dir
from adamoe_ros.contract.topics import state_topics
from adamoe_ros.control.status import Source
from adamoe_ros.data.bag.types import distro_store
from adamoe_ros.data.bag.writer import BagWriter
from adamoe_ros.data.episode_info import EpisodeInfo
from adamoe_ros.data.lerobot.dataset_reader import Dataset, EpisodeEntry
from adamoe_ros.data.units import Units
from adamoe_ros.streams.command_codecs import make_time
from adamoe_ros.streams.commands import CommandEncoder
from adamoe_ros.streams.encodings import opencv

JOINTS, STRING = "sensor_msgs/msg/JointState", "std_msgs/msg/String"
STATUS = "adamoe_ros/msg/ControlStatus"
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
_ORDERS = {"rgb8": [0, 1, 2], "bgr8": [2, 1, 0], "rgba8": [0, 1, 2, 3], "bgra8": [2, 1, 0, 3]}
_BASIC: dict[str, Any] = {"string": "", "wstring": "", "bool": False}


class MessageMaker:
    """Messages as rosbags makes them, and their bytes.

    Args:
        definitions: type name -> .msg text of types that no ROS distribution brings.
    """

    def __init__(self, definitions: Mapping[str, str] | None = None) -> None:
        base = distro_store("")
        extra: dict[str, Any] = {}
        for name, text in (definitions or {}).items():
            extra |= get_types_from_msg(text, name)
        self.store = base
        if extra:
            self.store = get_typestore(Stores.EMPTY)
            self.store.register({**base.fielddefs, **extra})
        self.types = self.store.types

    def make(self, kind: str, **fields: Any) -> Any:
        """A message; fields that are not given have their default."""
        if kind not in self.types:
            do = "give the codec its .msg text in 'definitions'"
            raise ContractError(problem(kind, "a known message type", "none", do))
        _, defined = self.store.fielddefs[kind]
        return self.types[kind](
            **{
                name: fields[name] if name in fields else self._default(*field)
                for name, field in defined
            }
        )

    def _default(self, node: Any, detail: Any) -> Any:
        if node == Nodetype.NAME:
            return self.make(detail)
        if node == Nodetype.BASE:
            return _BASIC.get(detail[0], 0)
        (inner, inner_detail), size = detail
        if inner == Nodetype.BASE and inner_detail[0] not in _BASIC:
            return np.zeros(size, inner_detail[0].replace("octet", "uint8"))
        return [self._default(inner, inner_detail) for _ in range(size)]

    def header(self, stamp_ns: int, frame: str = "") -> Any:
        """std_msgs/Header."""
        time = make_time(self.make, stamp_ns)
        return self.make("std_msgs/msg/Header", stamp=time, frame_id=frame)

    def joints(self, names: tuple[str, ...], values: NDArray[Any], stamp_ns: int) -> bytes:
        """JointState."""
        position = np.asarray(values, np.float64)
        header = self.header(stamp_ns)
        return self.bytes(self.make(JOINTS, header=header, name=list(names), position=position))

    def image(self, pixels: NDArray[np.uint8], stamp_ns: int, frame: str, camera: Camera) -> bytes:
        """Image or CompressedImage (PNG) of (H, W, 3) RGB, as the profile has it; lossless."""
        header = self.header(stamp_ns, frame)
        if camera.type == "compressed":
            _, data = opencv().imencode(".png", pixels[..., ::-1])
            text = f"{camera.encoding}; png compressed {camera.encoding}"
            return self.bytes(self.make(COMPRESSED, header=header, format=text, data=data.ravel()))
        height, width, _ = pixels.shape
        opaque = np.full((height, width, 1), 255, np.uint8)
        order = _ORDERS[camera.encoding.lower()]
        data = np.concatenate([pixels, opaque], axis=2)[..., order]
        message = self.make(
            IMAGE,
            header=header,
            height=height,
            width=width,
            encoding=camera.encoding.lower(),
            step=len(order) * width,
            data=np.ascontiguousarray(data).reshape(-1),
        )
        return self.bytes(message)

    def text(self, words: str) -> bytes:
        """String."""
        return self.bytes(self.make(STRING, data=words))

    def bytes(self, message: Any, kind: str = "") -> bytes:
        """CDR of a message."""
        return bytes(self.store.serialize_cdr(message, kind or message.__msgtype__))


def episode_to_bag(
    dataset: Dataset, entry: EpisodeEntry, folder: Path, profile: RobotProfile, units: Units
) -> int:
    """Write one episode; messages have the original stamps where the dataset has them.

    Returns:
        Number of messages.

    Raises:
        ContractError: the profile's cameras or joints are not those of the dataset, or it has an
            encoding or a command that cannot be written.
    """
    _check(dataset, profile)
    if not entry.length:
        where = f"{dataset.folder}: episode {entry.index}"
        raise ContractError(problem(where, "rows", "none", "choose another"))
    dataset.check(entry, list(dataset.cameras.values()))
    encoder = CommandEncoder(profile)
    led = dataset.interventions(entry)
    definitions = dict(encoder.definitions)
    if led.any():
        definitions[STATUS] = (share_dir() / "msg" / "ControlStatus.msg").read_text("utf-8")
    make = MessageMaker(definitions)
    cameras = {slot: profile.cameras[slot] for slot in dataset.cameras}
    instruction, start = "", None
    with _new_bag(folder) as writer:
        _declare(writer, profile, encoder, cameras, make)
        if led.any():
            writer.add_topic("/control_status", STATUS, make.store)
        for number, (observation, action) in enumerate(dataset.observations(entry)):
            start = observation.stamp_ns if start is None else start
            now = start + round(number * 1e9 / dataset.fps)
            if observation.instruction != instruction:
                instruction = observation.instruction
                writer.write("/instruction", now, make.text(instruction))
            if led.any():
                source = Source.HUMAN if led[number] else Source.NONE  # who else, nobody knows
                status = make.make(STATUS, header=make.header(now), source=int(source))
                writer.write("/control_status", now, make.bytes(status))
            state = units.state.invert(np.asarray(observation.state, np.float64))
            command = units.command.invert(np.asarray(action, np.float64))
            for item in state_topics(profile):
                values = state[list(item.columns)]
                data = make.joints(item.names, values, observation.stamp_ns)
                writer.write(_absolute(item.source.topic), now, data)
            messages = encoder.encode(command, None, now, make.make)
            for target, message in zip(encoder.topics, messages, strict=True):
                writer.write(_absolute(target.target.topic), now, make.bytes(message))
            for slot, pixels in observation.images.items():
                stamp = observation.image_stamps_ns.get(slot, observation.stamp_ns)
                data = make.image(pixels, stamp, f"{slot}_optical", cameras[slot])
                writer.write(_absolute(cameras[slot].topic), now, data)
        written = sum(writer.counts.values())
        said = dataset.sentences(entry)
        one = said[0] if len(set(said)) == 1 else ""  # else the bag's own topic says which when
        info = EpisodeInfo(instruction=one, heard=said[0], robot=profile.name)
        writer.note({"adamoe_episode": info.text()})
    return written


@contextmanager
def _new_bag(folder: Path) -> Iterator[BagWriter]:
    """A bag of which nothing stays behind when it is not finished."""
    with BagWriter(folder) as writer:
        try:
            yield writer
        except BaseException:
            writer.close()
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _declare(
    writer: BagWriter,
    profile: RobotProfile,
    encoder: CommandEncoder,
    cameras: Mapping[str, Camera],
    make: MessageMaker,
) -> None:
    for item in state_topics(profile):
        writer.add_topic(_absolute(item.source.topic), JOINTS)
    for target, kind in zip(encoder.topics, encoder.types, strict=True):
        writer.add_topic(_absolute(target.target.topic), kind, make.store)
    for camera in cameras.values():
        kind = COMPRESSED if camera.type == "compressed" else IMAGE
        writer.add_topic(_absolute(camera.topic), kind)
    writer.add_topic("/instruction", STRING)


def _absolute(topic: str | None) -> str:
    return f"/{str(topic).lstrip('/')}"


def _check(dataset: Dataset, profile: RobotProfile) -> None:
    unknown = [slot for slot in dataset.cameras if slot not in profile.present_cameras]
    lines = []
    lossy = [
        f"{slot} {camera.encoding}"
        for slot, camera in profile.present_cameras.items()
        if slot in dataset.cameras
        and camera.type == "image"
        and camera.encoding.lower() not in _ORDERS
    ]
    if lossy:
        do = "give a profile whose cameras have one of them"
        lines.append(problem("cameras", f"one of {', '.join(_ORDERS)}", ", ".join(lossy), do))
    if unknown:
        known = ", ".join(profile.present_cameras)
        lines.append(problem("cameras", f"some of {known}", ", ".join(unknown), "check --robot"))
    width = dataset.width("action")
    if width != len(profile.joint_ids):
        joints = f"{len(profile.joint_ids)} joints"
        lines.append(problem(f"profile {profile.name}", f"{width} joints", joints, "check --robot"))
    if lines:
        raise ContractError(lines)
