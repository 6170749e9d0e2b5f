# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a dataset: numbers, times, pictures, joint order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.control.limits import joint_limits
from adamoe_ros.data.joint_order import followed_joints
from adamoe_ros.data.lerobot.dataset_reader import Dataset, EpisodeEntry
from adamoe_ros.data.lerobot.dataset_schema import ACTION, STAMPS, STATE
from adamoe_ros.data.units import Units, units_for

Level = Literal["error", "warning"]
Rows = NDArray[np.float64]
_BEYOND = 0.05  # of a joint's range that a value may lie outside
_FROZEN_S = 0.5  # of equal pictures while joints move
_MOVED = 0.02  # rad or m; less is standing still


@dataclass(frozen=True)
class Diagnostic:
    """One thing that is wrong.

    Attributes:
        level: ``error``: training would learn something false; ``warning``: look at it.
        line: where, expected, got, what to do.
    """

    level: Level
    line: str


def validate(
    dataset: Dataset,
    profile: RobotProfile | None = None,
    gripper: str = "",
    pictures: bool = True,
    tell: Callable[[int], None] = lambda episode: None,
) -> list[Diagnostic]:
    """Every finding, episode by episode.

    Args:
        profile: of the robot, for joint order and limits; None: neither is checked.
        gripper: units of grippers where the dataset does not say.
        pictures: decode every picture and look for frozen cameras.
    """
    findings = list(_columns(dataset))
    if any(finding.level == "error" for finding in findings):
        return findings
    bounds = None
    if profile is not None:
        findings += _order(dataset, profile)
        bounds = _bounds(profile, dataset_units(dataset, profile, gripper))
    for entry in dataset.episodes:
        findings += _episode(dataset, entry, bounds)
        if pictures:
            findings += _pictures(dataset, entry)
        tell(entry.index)
    return findings


def dataset_units(dataset: Dataset, profile: RobotProfile, gripper: str) -> Units:
    """Units that a dataset was written in: as it says itself, else as told.

    Raises:
        ContractError: neither says it.
    """
    if dataset.ours and not gripper:
        ends = dataset.ours.get("gripper")
        if ends is None:
            return units_for(profile, None, "driver")
        names = {(1.0, 0.0): "1_open", (0.0, 1.0): "0_open"}
        known = names.get((float(ends["open"]), float(ends["closed"])))
        if known:
            return units_for(profile, None, known)
        from adamoe_ros.contract.manifest import GripperConvention
        from adamoe_ros.data.units import units_with_gripper

        return units_with_gripper(profile, GripperConvention(**ends))
    return units_for(profile, None, gripper)


def _error(where: str, expected: str, got: object, do: str) -> Diagnostic:
    return Diagnostic("error", problem(where, expected, got, do))


def _warning(where: str, expected: str, got: object, do: str) -> Diagnostic:
    return Diagnostic("warning", problem(where, expected, got, do))


# --- whole dataset ------------------------------------------------------------------------------


def _columns(dataset: Dataset) -> Iterator[Diagnostic]:
    for key in (STATE, ACTION):
        if key not in dataset.features:
            yield _error("features", key, ", ".join(dataset.features), "it is needed for training")
            continue
        names, shape = dataset.names(key), dataset.features[key]["shape"]
        if names and len(names) != shape[0]:
            yield _error(f"features: {key}", f"{shape[0]} names", len(names), "correct info.json")
    if not dataset.cameras:
        yield _error("features", "at least one camera", "none", "record one")
    if not dataset.episodes:
        yield _error("episodes", "at least one", "none", "convert some bags")
    total = sum(entry.length for entry in dataset.episodes)
    for name, found in (("total_frames", total), ("total_episodes", len(dataset.episodes))):
        if int(dataset.info.get(name, -1)) != found:
            said = dataset.info.get(name)
            yield _error(f"info.json: {name}", str(found), said, "make the dataset again")


def _order(dataset: Dataset, profile: RobotProfile) -> Iterator[Diagnostic]:
    from adamoe_ros.contract.joint_map import profile_roles

    roles = list(profile_roles(profile))
    known = {
        "roles": roles,
        "driver's names": [name for _, arm in profile.ordered_arms for name in arm.names],
        "ids": list(profile.joint_ids),
    }
    for key in (STATE, ACTION):
        names = dataset.names(key)
        if not names:
            yield _warning(f"features: {key}", "names of the joints", "none", "check the order")
        elif names not in known.values():
            mixed = sorted(names) in [sorted(item) for item in known.values()]
            what = "another order" if mixed else "other joints"
            yield _error(
                f"features: {key}",
                f"the order of profile {profile.name}: {', '.join(roles)}",
                f"{what}: {', '.join(names)}",
                "reorder the columns",
            )


def _bounds(profile: RobotProfile, units: Units) -> tuple[Rows, Rows]:
    """(2, J) lowest and highest values of state and of action, dataset's units, with some room."""
    limits = joint_limits(profile)
    ends = np.array([limit.position for _, arm in profile.ordered_arms for limit in arm.limits]).T
    state = np.sort(units.state.apply(ends), axis=0)
    action = np.sort(units.command.apply(np.stack([limits.low, limits.high])), axis=0)
    room = np.array([[-_BEYOND], [_BEYOND]])
    return state + room * np.ptp(state, axis=0), action + room * np.ptp(action, axis=0)


# --- one episode --------------------------------------------------------------------------------


def _episode(
    dataset: Dataset, entry: EpisodeEntry, bounds: tuple[Rows, Rows] | None
) -> Iterator[Diagnostic]:
    where = f"episode {entry.index}"
    try:
        state, action = (dataset.column(entry, key) for key in (STATE, ACTION))
        places = dataset.column(entry, "frame_index")
        times = dataset.column(entry, "timestamp")
        sentences = dataset.sentences(entry)
    except (ContractError, KeyError) as error:
        yield Diagnostic("error", f"{where}: {error}")
        return
    if not np.array_equal(places, np.arange(entry.length)):
        yield _error(where, f"frames 0 ... {entry.length - 1}", "another count", "make it again")
        return
    if np.abs(times - places / dataset.fps).max(initial=0) > 0.5 / dataset.fps:
        yield _error(where, f"times {dataset.fps} Hz apart", "others", "make it again")
    if any(not sentence.strip() for sentence in sentences):
        yield _error(where, "an instruction for every frame", "an empty one", "set it")
    for key, rows, limits in ((STATE, state, 0), (ACTION, action, 1)):
        yield from _numbers(f"{where}: {key}", rows, dataset.names(key), bounds, limits)
    if np.isfinite(state).all() and np.isfinite(action).all():
        yield from _swapped(where, (state, action), dataset, bounds)
    if STAMPS in dataset.features:
        yield from _stamps(where, dataset.column(entry, STAMPS)[:, 0], dataset.fps)


def _numbers(
    where: str, rows: Rows, names: list[str], bounds: tuple[Rows, Rows] | None, which: int
) -> Iterator[Diagnostic]:
    names = names or [str(number) for number in range(rows.shape[1])]
    finite = np.isfinite(rows)
    if not finite.all():
        frame = int(np.flatnonzero(~finite.all(axis=1))[0])
        yield _error(where, "finite numbers", f"NaN or inf in frame {frame}", "drop the episode")
        return
    if bounds is not None and bounds[which].shape[1] == rows.shape[1]:
        low, high = bounds[which]
        for joint in np.flatnonzero(((rows < low) | (rows > high)).any(axis=0)):
            yield _error(
                f"{where}: {names[joint]}",
                f"{low[joint]:.3f} ... {high[joint]:.3f}, the robot's range and 5 % more",
                f"{rows[:, joint].min():.3f} ... {rows[:, joint].max():.3f}",
                "check units, sign and order of the joints",
            )
    if len(rows) > 10 and not np.ptp(rows, axis=0).any():
        yield _warning(where, "motion", "one value all the time", "drop the episode")


def _swapped(
    where: str, rows: tuple[Rows, Rows], dataset: Dataset, bounds: tuple[Rows, Rows] | None
) -> Iterator[Diagnostic]:
    """Columns of the action that follow another joint of the state than their own."""
    names = dataset.names(ACTION)
    width = rows[1].shape[1]
    known = bounds is not None and bounds[1].shape[1] == width
    ranges = np.ptp(bounds[1], axis=0) if bounds is not None and known else None
    for column, joint in followed_joints(*rows, dataset.fps, ranges):
        yield _error(
            f"{where}: action {names[column] if names else column}",
            "to move with the state of the same joint",
            f"it moves with joint {names[joint] if names else joint}",
            "check the order of the joints",
        )


def _stamps(where: str, stamps: NDArray[Any], fps: int) -> Iterator[Diagnostic]:
    spacing = np.diff(stamps) / 1e9
    if (spacing < 0).any():
        yield _error(where, "stamps that go forward", "one that goes back", "cut the episode there")
    gaps = int((spacing > 2.5 / fps).sum())
    if gaps:
        got = f"{gaps} gaps, the longest {spacing.max():.3f} s"
        yield _warning(where, f"observations {1 / fps:.3f} s apart", got, "check the recording")
    repeated = int((spacing == 0).sum())
    if repeated > 0.02 * len(stamps):
        got = f"{repeated} of {len(stamps)} frames repeat the observation before"
        yield _warning(where, "a new observation in every frame", got, "choose a smaller --fps")


def _pictures(dataset: Dataset, entry: EpisodeEntry) -> Iterator[Diagnostic]:
    state = dataset.column(entry, STATE)
    for slot, key in dataset.cameras.items():
        where = f"episode {entry.index}: {slot}"
        try:
            equal = _equal_runs(dataset, entry, key)
        except Exception as error:  # whatever the decoder says of a damaged file
            yield _error(where, "readable pictures", " ".join(str(error).split()), "make it again")
            continue
        for first, last in equal:
            seconds = (last - first) / dataset.fps
            moved = np.ptp(state[first : last + 1], axis=0).max()
            if seconds >= _FROZEN_S and moved > _MOVED:
                got = f"the same for {seconds:.1f} s from frame {first} on, while joints moved"
                yield _error(where, "pictures that change", got, "drop it: the camera was frozen")


def _equal_runs(dataset: Dataset, entry: EpisodeEntry, key: str) -> list[tuple[int, int]]:
    """(first, last) frame of every run of pictures that do not differ visibly."""
    runs: list[tuple[int, int]] = []
    before: NDArray[np.int16] | None = None
    first = 0
    number = -1
    for number, picture in enumerate(dataset.pictures(entry, key)):
        small = picture[::4, ::4].astype(np.int16)
        if before is not None and np.abs(small - before).mean() > 0.02:
            if number - 1 > first:
                runs.append((first, number - 1))
            first = number
        before = small
    if number > first:
        runs.append((first, number))
    return runs
