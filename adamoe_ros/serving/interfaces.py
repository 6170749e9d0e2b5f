# SPDX-License-Identifier: Apache-2.0
"""What a robot's clients call things: keys of their observations -> slots and joints of a checkpoint.

``config/interfaces/<name>.yaml`` has openpi's; a path of one's own is taken as well. Values are in the
checkpoint's units and its order of joints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adamoe_ros.contract.errors import ContractError, Problems, problem
from adamoe_ros.contract.manifest import CheckpointManifest
from adamoe_ros.contract.resources import share_dir
from adamoe_ros.contract.validation import validation_lines
from adamoe_ros.control.admission import LONGEST_INSTRUCTION
from adamoe_ros.serving.pictures import Layout, numbers, picture

_LONGEST_FILE = 1 << 16  # bytes
_LARGEST_ANGLE = 4 * np.pi  # rad: two turns; degrees are beyond it


Protocol = Literal["openpi", "vla-eval", "xpolicylab"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CameraKey(_Strict):
    """One picture of an observation."""

    key: str = Field(min_length=1, description="flat, or a path with dots: images.cam_high")
    slots: tuple[str, ...] = Field(min_length=1, description="the first that the checkpoint has")
    layout: Layout = "hwc"
    optional: bool = Field(False, description="a client without it has no such camera")


class StateKey(_Strict):
    """A part of the state vector."""

    key: str = Field(min_length=1)
    width: int = Field(gt=0)


class Interface(_Strict):
    """One interface file."""

    description: str
    protocol: Protocol = "openpi"
    cameras: tuple[CameraKey, ...] = Field(min_length=1)
    absent: tuple[str, ...] = Field((), description="slots that these robots have no camera for")
    state: tuple[StateKey, ...] = Field(min_length=1, description="in the order of the joints")
    prompt: str = "prompt"
    action_columns: int = Field(0, ge=0, description="leading ones that are sent; 0: all")


@dataclass(frozen=True)
class Inputs:
    """What one observation says.

    Attributes:
        images: slot -> (H, W, 3) uint8 RGB.
        state: (D,) the checkpoint's units.
        prompt: the sentence.
    """

    images: Mapping[str, NDArray[np.uint8]]
    state: NDArray[np.float64]
    prompt: str


def interface_names() -> list[str]:
    """Of the shipped files."""
    return sorted(path.stem for path in (share_dir() / "config" / "interfaces").glob("*.yaml"))


def load_interface(name: str) -> Interface:
    """A shipped interface by name, or a file.

    Raises:
        ContractError: no such file, no YAML, or keys that do not fit; all of them.
    """
    own = Path(name)
    path = (
        own if own.suffix in (".yaml", ".yml") else share_dir() / f"config/interfaces/{name}.yaml"
    )
    if not path.is_file():
        expected = f"{', '.join(interface_names())}, or a .yaml file"
        raise ContractError(problem("interface", expected, repr(name), "choose one"))
    try:
        with path.open("rb") as stream:
            tree = yaml.safe_load(stream.read(_LONGEST_FILE))
        return Interface.model_validate(tree)
    except ValidationError as error:
        raise ContractError(validation_lines(path.name, error, Interface)) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        what = " ".join(str(error).split())[:120]
        raise ContractError(problem(str(path), "YAML", what, "correct it")) from error


class ObservationReader:
    """An interface for one checkpoint.

    Args:
        prompt: for observations without one; empty: they are refused.

    Raises:
        ContractError: they do not fit; every mismatch.
    """

    def __init__(self, interface: Interface, manifest: CheckpointManifest, prompt: str) -> None:
        self.interface, self._prompt = interface, prompt
        self._cameras: dict[str, CameraKey] = {}
        problems, slots = Problems(), manifest.camera_slots
        for camera in interface.cameras:
            known = next((s for s in camera.slots if s in slots and s not in self._cameras), None)
            if known is not None:
                self._cameras[known] = camera
        missing = [s for s in slots if s not in self._cameras and s not in interface.absent]
        if missing or not self._cameras:
            given = ", ".join(slot for camera in interface.cameras for slot in camera.slots)
            do = "name their keys, or list them under absent"
            problems.add("interface: cameras", f"the slots {', '.join(slots)}", given, do)
        width, joints = sum(part.width for part in interface.state), len(manifest.joints)
        if width != joints:
            expected, do = f"{joints} numbers as the checkpoint has joints", "use another interface"
            problems.add("interface: state", expected, width, do)
        columns = len(manifest.action_entries)
        if interface.action_columns > columns:
            expected, got = f"at most {columns}", interface.action_columns
            problems.add("interface: action_columns", expected, got, "correct it")
        if prompt:
            problems.collect(lambda: sentence(prompt, "--prompt"))
        problems.raise_if_any()
        self._angles = {
            index: name
            for index, (joint, name) in enumerate(
                zip(manifest.joints, manifest.state_roles, strict=True)
            )
            if joint.kind == "revolute"
        }

    def __call__(self, frame: Mapping[str, Any]) -> Inputs:
        """What an observation says.

        Raises:
            ContractError: every key that is missing or wrong.
        """
        problems = Problems()
        images: dict[str, NDArray[np.uint8]] = {}
        for slot, camera in self._cameras.items():
            value = _find(frame, camera.key)
            if value is None and camera.optional:
                continue
            made = problems.collect(partial(picture, value, camera.key, camera.layout))
            if made is not None:
                images[slot] = made
        if not images and not problems.lines:
            keys = ", ".join(camera.key for camera in self._cameras.values())
            problems.add("cameras", f"one of {keys}", "none", "send a picture")
        state = problems.collect(lambda: self._state(frame))
        sentence = problems.collect(lambda: self._sentence(frame))
        problems.raise_if_any()
        assert state is not None and sentence is not None
        return Inputs(images, state, sentence)

    def _state(self, frame: Mapping[str, Any]) -> NDArray[np.float64]:
        do = "send the joints in the checkpoint's order and units"
        parts = [
            numbers(_find(frame, part.key), (part.width,), part.key, do)
            for part in self.interface.state
        ]
        state = np.concatenate(parts)
        for index, name in self._angles.items():
            if abs(state[index]) > _LARGEST_ANGLE:
                where, got = f"{self.interface.state[0].key}: {name}", f"{state[index]:.1f}"
                raise ContractError(problem(where, "rad", got, "convert degrees"))
        return state

    def _sentence(self, frame: Mapping[str, Any]) -> str:
        found = _find(frame, self.interface.prompt)
        value = self._prompt if found is None else found
        return sentence(value, self.interface.prompt)


def sentence(value: Any, where: str) -> str:
    """An instruction that a client sent.

    Raises:
        ContractError: none, or none that can be one.
    """
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if not isinstance(value, str) or not 0 < len(value.strip()) <= LONGEST_INSTRUCTION:
        got = type(value).__name__ if not isinstance(value, str) else f"{len(value)} characters"
        expected = f"a sentence of 1 ... {LONGEST_INSTRUCTION} characters"
        raise ContractError(problem(where, expected, got, "send one, or start with --prompt"))
    return value.strip()


def _find(frame: Mapping[str, Any], key: str) -> Any:
    """A value by its flat key or its path; None: there is none."""
    if key in frame:
        return frame[key]
    value: Any = frame
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
