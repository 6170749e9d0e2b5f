# SPDX-License-Identifier: Apache-2.0
"""What one tick gave and what the control core knows, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Counts = NDArray[np.int64]


class Mode(IntEnum):
    """As in ``msg/ControlStatus``."""

    INACTIVE = 0
    HOLD = 1
    RUNNING = 2
    ESTOP = 3


class Source(IntEnum):
    """Whose motion a tick commanded, as in ``msg/ControlStatus``."""

    NONE = 0
    POLICY = 1
    HUMAN = 2


@dataclass(frozen=True)
class TickResult:
    """One control tick.

    Attributes:
        now_ns: its time.
        command: (J,) driver's command units; None while inactive.
        velocity: (J,) per s, of the command; None while inactive.
        publish: whether the command is to be sent (holding without output is a parameter).
        mode: now.
        source: whose motion it is.
        hold_cause: empty unless HOLD or ESTOP.
        chunk_id: being followed; 0: none.
        row: of that chunk reached; -1: none.
        changed: mode, source, cause, or who has the arms is not that of the tick before.
    """

    now_ns: int
    command: Vector | None
    velocity: Vector | None
    publish: bool
    mode: Mode
    source: Source
    hold_cause: str
    chunk_id: int
    row: int
    changed: bool


@dataclass(frozen=True)
class ChunkVerdict:
    """What became of a chunk.

    Attributes:
        accepted: it is followed from now on.
        late: it was dropped without blame: nothing left of it, superseded, or another generation.
        reason: why it was not accepted; empty if it was.
        aborted: it was one refusal too many: the arms hold until the next RUN.
    """

    accepted: bool
    late: bool = False
    reason: str = ""
    aborted: bool = False


@dataclass(frozen=True)
class ControlSnapshot:
    """Fields of ``msg/ControlStatus`` by the same names and units.

    The node adds header, shadow, missed_ticks, rate and jitter_p99, which are its own.
    """

    mode: int
    source: int
    takeover: bool
    hold_cause: str
    hold_detail: str
    joint_names: tuple[str, ...]
    commanded: Vector
    measured: Vector
    generation: int
    chunk_id: int
    row: int
    command_age: float
    state_age: float
    chunk_age: float
    policy_age: float
    leader_age: float
    deadman_age: float
    ticks: int
    holds: int
    hold_share: float
    accepted_chunks: int
    rejected_chunks: int
    late_chunks: int
    position_clips: Counts
    velocity_clips: Counts
    acceleration_clips: Counts
    step_clips: Counts
    workspace_clips: int
    seams: int
    seam_position_jump: Vector
    seam_velocity_jump: Vector
    seam_jerk: Vector
    repeated_rows: int
    skipped_rows: int
