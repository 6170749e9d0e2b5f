# SPDX-License-Identifier: Apache-2.0
"""What was seen on the topics during a run, as plain data: the one input of the report.

Times are seconds of the robot's clock since the episode began, joint values are the driver's units.
Filled by ``ros.sim.session_recorder``.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from adamoe_ros.control.scheduling import InstructionChange as ChangeMode

FORMAT = "adamoe_ros/recording/1"
CHANGE_AFTER_S = 0.8  # the hands are on their way and have touched nothing


@dataclass(frozen=True)
class Change:
    """A plan to give another instruction while the arms move.

    Attributes:
        after_s: s of the robot's clock since the goal began.
        how: as ``policy_node``'s parameter ``instruction_change``; the simulator's loop alone asks.
    """

    instruction: str
    after_s: float = CHANGE_AFTER_S
    how: ChangeMode = "blend"


@dataclass
class ChunkRecord:
    """One action chunk as it was published.

    Attributes:
        stamp: s, the observation it was made from.
        received: s, when it was seen on the topic.
        skew: s, largest distance of an input from the stamp.
        inference: s, observation complete -> chunk ready, wall clock.
    """

    chunk_id: int
    stamp: float
    received: float
    rows: int
    dt: float
    skew: float
    inference: float


@dataclass
class InferenceRecord:
    """One inference as the policy reported it.

    Attributes:
        time: s, when it was reported.
        latency: s per stage, in the order of ``Episode.stages``.
        experts: per mixture layer ``{"layer": int, "selected": [...], "probability": [...],
            "scale": [...]}``; empty for dense models.
    """

    time: float
    latency: list[float]
    experts: list[dict[str, Any]]


@dataclass
class ControlRecord:
    """One status of the control node; names and units as in ``msg/ControlStatus.msg``."""

    time: float
    mode: int
    hold_cause: str
    command_age: float
    rate: float
    jitter_p99: float


@dataclass
class SeamRecord:
    """One chunk boundary: per joint, new chunk minus old; see ``msg/ControlStatus.msg``."""

    time: float
    position_jump: list[float]
    velocity_jump: list[float]
    jerk: list[float]


@dataclass
class InstructionChange:
    """The sentence was replaced while the goal ran; ``time`` in s."""

    time: float
    instruction: str


@dataclass
class Samples:
    """Joint values over time: ``time`` (N,) s and ``values`` (N, J)."""

    time: list[float] = field(default_factory=list)
    values: list[list[float]] = field(default_factory=list)


@dataclass
class Episode:
    """One goal from reset to result; ``start`` is s of the robot's clock, where times are 0."""

    index: int
    seed: int
    task: str
    instruction: str
    start: float = 0.0
    joint_names: list[str] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    commanded: Samples = field(default_factory=Samples)
    measured: Samples = field(default_factory=Samples)
    chunks: list[ChunkRecord] = field(default_factory=list)
    inferences: list[InferenceRecord] = field(default_factory=list)
    control: list[ControlRecord] = field(default_factory=list)
    seams: list[SeamRecord] = field(default_factory=list)
    counters: dict[str, Any] = field(default_factory=dict)
    success: bool = False
    ever_success: bool = False
    result_code: int = -1
    result_message: str = ""
    elapsed: float = 0.0
    wall: float = 0.0
    frames_sent: int = 0
    dropped_frames: int = 0
    changes: list[InstructionChange] = field(default_factory=list)

    def instruction_at(self, time: float) -> str:
        """The sentence that was in force at ``time``."""
        given = [change.instruction for change in self.changes if change.time <= time]
        return given[-1] if given else self.instruction

    def instructions(self) -> str:
        """Every instruction, in order, for a line of text."""
        parts = [f'"{self.instruction}"']
        parts += [f'at {change.time:.1f} s "{change.instruction}"' for change in self.changes]
        return ", ".join(parts)


@dataclass
class Recording:
    """A whole run: its settings and its episodes."""

    settings: dict[str, Any] = field(default_factory=dict)
    episodes: list[Episode] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Store as JSON (numbers at full precision)."""
        document = {"format": FORMAT, **asdict(self)}
        path.write_text(json.dumps(document, separators=(",", ":")), encoding="utf-8")


def read_recording(path: Path) -> Recording:
    """Inverse of ``Recording.write``.

    Raises:
        ValueError: another format.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    if document.get("format") != FORMAT:
        raise ValueError(f"{path}: expected {FORMAT}, got {document.get('format')!r}")
    return Recording(document["settings"], [_episode(entry) for entry in document["episodes"]])


def _episode(entry: dict[str, Any]) -> Episode:
    nested = {
        "commanded": Samples(**entry["commanded"]),
        "measured": Samples(**entry["measured"]),
        "chunks": [ChunkRecord(**item) for item in entry["chunks"]],
        "inferences": [InferenceRecord(**item) for item in entry["inferences"]],
        "control": [ControlRecord(**item) for item in entry["control"]],
        "seams": [SeamRecord(**item) for item in entry["seams"]],
        "changes": [InstructionChange(**item) for item in entry.get("changes", ())],
    }
    return Episode(**{**entry, **nested})
