# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint's numbers mean, and who said so; nothing is made up where nobody says it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from adamoe_ros import __version__
from adamoe_ros.contract.errors import Problems
from adamoe_ros.contract.manifest import (
    CheckpointManifest,
    GripperConvention,
    Provenance,
    action_entry,
    vector_entry,
)
from adamoe_ros.model.config import Architecture
from adamoe_ros.policy.normalise import FeatureStats, NormStats

NAMES = {
    "horizon": "--horizon N",
    "prompt_length": "--prompt-length N",
    "flow_steps": "--flow-steps N",
    "top_k": "--top-k N",
    "camera_slots": "--cameras SLOT,SLOT,...",
    "joints": "--joints left*6,left_gripper,...",
    "actions": "--actions ee_x,...,gripper (where they are others than the joints)",
    "relative": "--relative-actions none|joints|all",
    "gripper": "--gripper-open X --gripper-closed Y",
    "control_rate_hz": "--control-rate HZ",
    "embodiment": "--embodiment NAME",
    "statistics": "--statistics FILE",
    "normalization": "--normalization mean_std|quantile",
    "normalization_eps": "--normalization-eps X",
    "adapt_to_pi": "--adapt-to-pi none|openpi|adamoe",
    "prompt_style": "--prompt-style openpi|lerobot|plain",
    "prompt_state": "--prompt-state none|joints|padded",
    "tokenizer": "--tokenizer FILE",
    "state_source": "--state-source measured|last_command",
}
"""Name -> the option that sets it."""

_NEEDED_TO_ACT = (
    "joints", "relative", "control_rate_hz", "embodiment", "statistics", "normalization",
    "normalization_eps", "adapt_to_pi", "prompt_style", "prompt_state", "tokenizer",
    "state_source",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One value and its origin, as a person reads it."""

    value: Any
    origin: str


@dataclass
class CheckpointMetadata:
    """Values by name; a later ``set`` of the same name replaces an earlier one."""

    known: dict[str, Entry] = field(default_factory=dict)

    def set(self, origin: str, **values: Any) -> None:
        """Note metadata; None says nothing."""
        for name, value in values.items():
            if name not in NAMES:
                raise ValueError(f"no such name: {name}")
            if value is not None:
                self.known[name] = Entry(value, origin)

    def __getitem__(self, name: str) -> Any:
        entry = self.known.get(name)
        return None if entry is None else entry.value

    def require(self, names: tuple[str, ...], problems: Problems) -> None:
        """Values without which there is no network."""
        for name in names:
            if self[name] is None:
                problems.add(
                    name, "a value; the source tells none", "nothing", f"give {NAMES[name]}"
                )

    def lines(self) -> Iterator[str]:
        """Name, value and origin, for a person."""
        for name in NAMES:
            entry = self.known.get(name)
            if entry is not None:
                yield f"{name}: {_shown(entry.value)}  ({entry.origin})"
            elif name not in ("top_k", "actions"):
                yield f"{name}: unknown  ({NAMES[name]} tells it)"

    def unknown(self) -> list[str]:
        """What a robot needs and nobody set."""
        names = [name for name in _NEEDED_TO_ACT if self[name] is None]
        roles: tuple[str, ...] = (*(self["joints"] or ()), *(self["actions"] or ()))
        if any(_is_gripper(role) for role in roles) and self["gripper"] is None:
            names.append("gripper")
        return names


def _shown(value: Any) -> str:
    if isinstance(value, NormStats):
        return f"{value.state.width} state and {value.actions.width} action dimensions"
    if isinstance(value, (tuple, list)):
        return ", ".join(map(str, value))
    return str(value)


def expand_joints(text: str) -> tuple[str, ...]:
    """``left*2,left_gripper`` -> left_0, left_1, left_gripper."""
    roles: list[str] = []
    for item in (part.strip() for part in text.split(",")):
        match = re.fullmatch(r"(\w+)\*(\d+)", item)
        roles += [f"{match[1]}_{i}" for i in range(int(match[2]))] if match else [item]
    return tuple(roles)


def _is_gripper(role: str) -> bool:
    return role.endswith("gripper")


def relative_roles(roles: tuple[str, ...], word: str) -> tuple[bool, ...]:
    """``none``, ``joints`` (all but grippers, ALOHA's mask) or ``all`` as one flag per role."""
    return tuple(word == "all" or (word == "joints" and not _is_gripper(r)) for r in roles)


def make_manifest(
    metadata: CheckpointMetadata,
    source: str,
    raw_only: bool,
    problems: Problems,
    architecture: Architecture = "pi0",
    allow_constant: bool = False,
) -> Any:
    """The manifest; ``raw_only`` where asked for or where a value is missing.

    Args:
        source: format and name of the source, for the provenance.
        architecture, allow_constant: see ``CheckpointManifest``.

    Returns:
        ``CheckpointManifest``; None where ``problems`` were found.
    """
    roles: tuple[str, ...] = metadata["joints"] or ()
    actions: tuple[str, ...] = metadata["actions"] or ()
    relative = metadata["relative"]
    if isinstance(relative, str):
        relative = relative_roles(actions or roles, relative)
    if relative is not None and roles and len(relative) != len(actions or roles):
        got = f"{len(relative)} of {len(actions or roles)} entries"
        problems.add("relative", "one flag for each joint", got, f"give {NAMES['relative']}")
    for name, given in (("joints", roles), ("actions", actions)):
        if len(set(given)) != len(given):
            problems.add(name, "every role once", ", ".join(given), f"correct --{name}")
    slots: tuple[str, ...] = metadata["camera_slots"] or ()
    if len(set(slots)) != len(slots) or not all(slots):
        problems.add("camera_slots", "different names", ", ".join(slots), "correct --cameras")
    missing = metadata.unknown()
    if problems.lines:
        return None
    raw_only = raw_only or bool(missing)
    flags = relative if roles and relative is not None else ()
    moved = tuple(
        vector_entry(role, "relative" if flag else "absolute")
        for role, flag in zip(roles, flags, strict=False)
    )
    gripper = metadata["gripper"]
    notes = f"unknown: {', '.join(missing)}" if missing else ""
    return CheckpointManifest(
        raw_only=raw_only,
        architecture=architecture,
        embodiment=metadata["embodiment"],
        joints=tuple(map(vector_entry, roles)) if actions else moved,
        actions=tuple(map(action_entry, actions, flags)),
        gripper=None if gripper is None else GripperConvention(open=gripper[0], closed=gripper[1]),
        control_rate_hz=metadata["control_rate_hz"],
        camera_slots=tuple(metadata["camera_slots"]),
        normalization=metadata["normalization"],
        normalization_eps=metadata["normalization_eps"],
        allow_constant=allow_constant,
        adapt_to_pi=metadata["adapt_to_pi"],
        prompt_style=metadata["prompt_style"],
        prompt_state=metadata["prompt_state"],
        tokenizer=None if metadata["tokenizer"] is None else metadata["tokenizer"].name,
        state_source=metadata["state_source"],
        provenance=Provenance(
            source=source,
            created_by=f"adamoe_ros {__version__}",
            created=datetime.now(timezone.utc).date().isoformat(),
            notes=notes,
        ),
    )


def fitted_statistics(statistics: NormStats, metadata: CheckpointMetadata) -> NormStats:
    """Statistics of the real joints: cut to their number, else without padding's zeros."""
    joints = len(metadata["joints"] or ())
    return NormStats(
        state=_fitted(statistics.state, joints),
        actions=_fitted(statistics.actions, len(metadata["actions"] or ()) or joints),
        objects=statistics.objects,
    )


def _fitted(stats: FeatureStats, joints: int) -> FeatureStats:
    width = stats.width
    if joints:
        width = min(width, joints)
    else:  # openpi's early code pads before it computes: mean 0 and std 0 behind the last joint
        while width and stats.mean[width - 1] == 0 and stats.std[width - 1] == 0:
            width -= 1
    return FeatureStats.model_validate(
        {
            name: None if values is None else values[:width]
            for name, values in stats.model_dump().items()
        }
    )
