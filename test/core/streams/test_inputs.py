# SPDX-License-Identifier: Apache-2.0
"""Messages to observations: pictures are checked on arrival and decoded once somebody looks."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from streams_support import MS, SECOND, header, image, joint_state, robot

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.streams.frames import Frame
from adamoe_ros.streams.inputs import FrameError, ObservationInputs, decoded

CAMS = ("cam_high", "cam_left_wrist")


def profile() -> RobotProfile:
    """The robot with one camera compressed."""
    made = robot()
    camera = made.cameras["cam_high"]
    cameras = dict(made.cameras)
    cameras["cam_high"] = camera.model_copy(update={"type": "compressed"})
    return made.model_copy(update={"cameras": cameras})


def jpeg(inputs: RobotProfile, stamp_ns: int, damage: bool = False) -> SimpleNamespace:
    camera = inputs.cameras["cam_high"]
    ok, data = cv2.imencode(".jpg", np.full((camera.height, camera.width, 3), 90, np.uint8))
    assert ok
    content = data.tobytes()
    if damage:  # head and end stay
        content = content[:2] + bytes(len(content) - 4) + content[-2:]
    return SimpleNamespace(header=header(stamp_ns), format="jpeg", data=content)


def feed(inputs: ObservationInputs, robot_profile: RobotProfile, stamp: int, damage: bool) -> None:
    for topic in inputs.topics:
        if topic.kind == "joint_state":
            names = ["a", "b", "g", "finger"]
            message = joint_state(names, [0.1] * len(names), stamp)
        elif topic.kind == "compressed":
            message = jpeg(robot_profile, stamp, damage)
        else:
            camera = robot_profile.cameras[topic.name]
            pixels = np.full((camera.height, camera.width * 3), 50, np.uint8)
            message = image("rgb8", pixels, width=camera.width, header=header(stamp))
        sample = inputs.accept(topic.name, message, stamp + MS)
        inputs.push(topic.name, sample, stamp + MS)


def test_pictures_are_decoded_when_an_observation_is_wanted() -> None:
    made = profile()
    inputs = ObservationInputs(made)
    feed(inputs, made, 5 * SECOND, damage=False)
    found = inputs.aligner.observation("lift")
    assert found is not None
    assert all(isinstance(value, Frame) for value in found.images.values())
    whole = decoded(found)
    assert whole.stamp_ns == found.stamp_ns and whole.instruction == "lift"
    assert {slot: int(value[0, 0, 0]) for slot, value in whole.images.items()} == {
        "cam_high": 90,
        "cam_left_wrist": 50,
    }
    assert decoded(found).images["cam_high"] is whole.images["cam_high"]  # once


def test_damage_inside_a_picture_shows_when_it_is_decoded_and_costs_one_set() -> None:
    made = profile()
    inputs = ObservationInputs(made)
    feed(inputs, made, 5 * SECOND, damage=False)
    feed(inputs, made, 5 * SECOND + 40 * MS, damage=True)
    with pytest.raises(FrameError, match="undecodable") as caught:
        inputs.observation("lift")
    assert (caught.value.slot, caught.value.stamp_ns) == ("cam_high", 5 * SECOND + 40 * MS)
    inputs.aligner.drop_image(caught.value.slot, caught.value.stamp_ns)
    observation = inputs.observation("lift")
    assert observation is not None and observation.stamp_ns == 5 * SECOND


def test_what_is_wrong_on_the_outside_is_refused_on_arrival() -> None:
    made = profile()
    inputs = ObservationInputs(made)
    message = jpeg(made, SECOND)
    message.data = message.data[:-30]
    with pytest.raises(ContractError, match="no end of one"):
        inputs.accept("cam_high", message, SECOND)


def test_inputs_on_another_clock_are_explained_and_may_be_taken_by_their_arrival() -> None:
    """What policy_node says and does while drivers stamp since their start."""
    made = profile()
    inputs = ObservationInputs(made)
    now = 1_700_000_000 * SECOND
    seen = by_arrival(made)
    for each in (inputs, seen):
        for topic in each.topics:
            if topic.kind == "joint_state":
                message = joint_state(["a", "b", "g", "finger"], [0.1] * 4, 9 * SECOND)
            elif topic.kind == "compressed":
                message = jpeg(made, 9 * SECOND)
            else:
                pixels = np.full((6, 24), 50, np.uint8)
                message = image("rgb8", pixels, width=8, header=header(9 * SECOND))
            each.push(topic.name, each.accept(topic.name, message, now), now)
    lines = inputs.missing(now)
    assert len(lines) == 5 and inputs.observation("") is None
    assert all("device's start: 9.0 s" in line and "stamp: arrival" in line for line in lines)
    observation = seen.observation("lift")
    assert observation is not None and observation.stamp_ns == now and not seen.missing(now)


def by_arrival(made: RobotProfile) -> ObservationInputs:
    document = made.model_dump(exclude_unset=True)
    owners = [camera for camera in document["cameras"].values() if not camera.get("absent")]
    for arm in document["arms"].values():
        owners += [arm["state"], *filter(None, [arm["gripper"].get("state")])]
    for owner in owners:
        owner["stamp"] = "arrival"
    return ObservationInputs(RobotProfile.model_validate(document))
