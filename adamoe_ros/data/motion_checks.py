# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with the motion of one episode: jumps, frozen joints, lag, standing still, units.

Thresholds are in the columns' units: rad, m, or share of a gripper's way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.data.dataset_checks import Finding, Level, Rows, found

_JUMP_ROWS = 3
_JUMP, _JUMP_TIMES = 0.25, 12.0  # least jump; times the step that 95 % of the rows stay below
_FROZEN_S, _FROZEN_MOVED, _FROZEN_JOINTS = 1.0, 0.05, 3
_IDLE_S, _IDLE_MOVED = 3.0, 0.004
_LAG_S, _LAG_SURE, _LAG_BETTER = 0.5, 0.7, 0.2
_DEGREES = (40.0, 80.0)  # ratio of the ranges of action and state; 57.3 in truth


def motion_findings(
    where: str, state: Rows, action: Rows, names: Sequence[str], fps: float
) -> Iterator[Finding]:
    """Everything that is odd in (N, J) finite states and actions of one episode."""
    names = list(names) or [str(number) for number in range(state.shape[1])]
    for key, rows in (("observation.state", state), ("action", action)):
        yield from _jumps(f"{where}: {key}", rows, names)
        yield from _elsewhere(f"{where}: {key}", rows)
    if state.shape != action.shape or len(state) < 3:
        return
    yield from _frozen_state(where, state, action, fps)
    yield from _frozen_action(where, state, action, fps)
    yield from _idle(where, state, action, fps)
    yield from _lag(where, state, action, fps)
    yield from _degrees(where, state, action)


def _jumps(where: str, rows: Rows, names: Sequence[str]) -> Iterator[Finding]:
    """One to three rows that lie far from the rows before and after, which lie close together."""
    if len(rows) < 4:
        return
    steps = np.diff(rows, axis=0)
    least = _least_jump(steps)
    known: set[int] = set()
    for width in range(1, min(_JUMP_ROWS, len(rows) - 2) + 1):
        shorter = np.minimum(np.abs(steps[:-width]), np.abs(steps[width:]))
        alone = (shorter > least) & (np.abs(rows[width + 1 :] - rows[: -width - 1]) < 0.5 * shorter)
        for column in np.flatnonzero(alone.any(axis=0)).tolist():
            if column in known or len(np.unique(rows[:, column].round(3))) <= 3:
                continue  # a gripper that is open or closed
            known.add(column)
            row = int(np.flatnonzero(alone[:, column])[0])
            name = names[column] if column < len(names) else str(column)
            far = f"{steps[row, column]:+.3f} in row {row + 1} and back again"
            level: Level = "error" if width == 1 else "warning"
            expected = "motion without " + ("one-row jumps" if width == 1 else "short jumps")
            got = far if width == 1 else f"{far} after {width} rows"
            yield found(level, f"{where}: {name}", expected, got, "drop the episode or that row")


def _least_jump(steps: Rows) -> Rows:
    """(J,) steps that are more than motion."""
    return np.maximum(_JUMP, _JUMP_TIMES * np.quantile(np.abs(steps), 0.95, axis=0))


def _elsewhere(where: str, rows: Rows) -> Iterator[Finding]:
    """Half of the joints or more that are far away from one row to the next, and stay there."""
    moving = np.ptp(rows, axis=0) > 0
    steps = np.diff(rows[:, moving], axis=0)
    if moving.sum() < 2 or len(steps) < 4:
        return
    far = (np.abs(steps) > _least_jump(steps)).mean(axis=1) >= 0.5
    if far.any():
        row = int(np.flatnonzero(far)[0])
        most = np.abs(steps[row]).max()
        got = f"a step of up to {most:.2f} of most joints at once in row {row + 1}"
        yield found("warning", where, "motion", got, "look whether two recordings were joined")


def _frozen_state(where: str, state: Rows, action: Rows, fps: float) -> Iterator[Finding]:
    """Several joints whose state stays exactly the same while their commands move on."""
    rows, joints = state.shape
    stuck = np.zeros((rows, joints), bool)
    for joint in range(joints):
        for first, last in runs(np.diff(state[:, joint]) == 0):
            moved = np.ptp(action[first : last + 1, joint])
            if last - first >= _FROZEN_S * fps and moved > _FROZEN_MOVED:
                stuck[first : last + 1, joint] = True
    together = stuck.sum(axis=1) >= min(_FROZEN_JOINTS, joints)
    for first, last in runs(together[:-1] & together[1:]):
        got = (
            f"{stuck[first].sum()} joints at rest for {(last - first) / fps:.1f} s from row {first}"
        )
        do = "drop the episode: the driver stopped answering"
        yield found("error", f"{where}: state", "to follow the action", got, do)


def _frozen_action(where: str, state: Rows, action: Rows, fps: float) -> Iterator[Finding]:
    """Commands that stay exactly the same while the arms move on."""
    settled = round(_LAG_S * fps)
    for first, last in runs((np.diff(action, axis=0) == 0).all(axis=1)):
        if last - first < _FROZEN_S * fps or first + settled >= last:
            continue
        if np.ptp(state[first + settled : last + 1], axis=0).max() > _FROZEN_MOVED:
            got = f"it stands still for {(last - first) / fps:.1f} s from row {first}"
            do = "look whether commands were lost"
            yield found("warning", f"{where}: action", "to lead the state, which moves", got, do)


def _idle(where: str, state: Rows, action: Rows, fps: float) -> Iterator[Finding]:
    """The longest stretch in which nothing moves."""
    second = max(1, round(fps))
    both = np.concatenate([state, action], axis=1)
    if len(both) <= second:
        return
    still = np.abs(both[second:] - both[:-second]).max(axis=1) < _IDLE_MOVED
    longest = max(runs(still), key=lambda run: run[1] - run[0], default=None)
    if longest is None:
        return
    lasted = (longest[1] - longest[0]) / fps + 1.0
    if lasted >= _IDLE_S:
        got = f"nothing moves for {lasted:.1f} s from row {longest[0]} on"
        yield found("warning", where, "motion", got, "cut it out: a policy learns to wait")


def _lag(where: str, state: Rows, action: Rows, fps: float) -> Iterator[Finding]:
    """How many rows the state comes after the action, by the likeness of their steps."""
    most = min(round(1.5 * fps), len(state) // 3)
    told, done = np.diff(action, axis=0), np.diff(state, axis=0)
    moving = (np.ptp(action, axis=0) > 0.05) & (np.ptp(state, axis=0) > 0.05)
    if not moving.any() or most < 2:
        return
    scores = {
        lag: _likeness(told[:, moving], done[:, moving], lag) for lag in range(-most, most + 1)
    }
    best = max(scores, key=lambda lag: scores[lag])
    if scores[best] < _LAG_SURE or scores[best] - scores[0] < _LAG_BETTER:
        return
    if best > _LAG_S * fps:
        got = f"{best / fps:.2f} s later"
        yield found(
            "warning", where, "the state to follow the action soon", got, "check the clocks"
        )
    elif best < -1:
        got = f"{-best / fps:.2f} s before it"
        yield found("warning", where, "the state after the action", got, "check the clocks")


def _likeness(told: Rows, done: Rows, lag: int) -> float:
    """Correlation of all columns together, ``done`` that many rows later."""
    rows = len(told) - abs(lag)
    first = told[:rows] if lag >= 0 else told[-lag:]
    second = done[lag:] if lag >= 0 else done[:rows]
    first, second = first - first.mean(0), second - second.mean(0)
    size = np.sqrt((first**2).sum() * (second**2).sum())
    return float((first * second).sum() / size) if size > 0 else 0.0


def _degrees(where: str, state: Rows, action: Rows) -> Iterator[Finding]:
    """State in rad and action in degrees, or the other way round."""
    ranges = np.ptp(state, axis=0), np.ptp(action, axis=0)
    moving = (ranges[0] > 0.02) & (ranges[1] > 0.02)
    if moving.sum() < 2:
        return
    ratio = ranges[1][moving] / ranges[0][moving]
    low, high = _DEGREES
    for times, what in ((ratio, "the action"), (1.0 / ratio, "the state")):
        if (times > low).mean() > 0.5 and (times < high).mean() > 0.5:
            got = f"{what} moves {np.median(times):.0f} times as far"
            yield found("error", where, "one unit of angles", got, "convert degrees to radians")


def runs(held: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(first, last) row of every run in which each step holds: (N - 1,) steps of N rows."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], held, [False]]).astype(np.int8)))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]
