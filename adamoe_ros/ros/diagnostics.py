# SPDX-License-Identifier: Apache-2.0
"""One line of /diagnostics as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum


class Level(IntEnum):
    """Levels as an aggregator reads them."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


@dataclass(frozen=True)
class Diagnostic:
    """State of one part of a node.

    Attributes:
        name: part, e.g. "gate"; the node's name is put before it.
        level: how bad it is.
        message: one line; where it is not OK, it names what to do.
        values: figures, unit in the key: ``{"tick jitter p99 (s)": 0.0004}``.
    """

    name: str
    level: Level = Level.OK
    message: str = "ok"
    values: Mapping[str, object] = field(default_factory=dict)


def others_diagnostic(conflict: str, clocks: Sequence[str]) -> Diagnostic:
    """Other nodes that have a hand in the robot, and clocks that differ from this computer's."""
    if conflict:
        return Diagnostic("others", Level.ERROR, "; ".join([conflict, *clocks]))
    if clocks:
        return Diagnostic("others", Level.WARN, "; ".join(clocks))
    return Diagnostic("others", Level.OK, "no other node commands this robot; clocks agree")
