# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a dataset: numbers, times, pictures, joint order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.control.limits import joint_limits
from adamoe_ros.data import dataset_checks
from adamoe_ros.data.dataset_checks import Finding, Rows, found
from adamoe_ros.data.joint_order import followed_joints
from adamoe_ros.data.lerobot.dataset_reader import Dataset, EpisodeEntry
from adamoe_ros.data.lerobot.dataset_schema import ACTION, OURS, STAMPS, STATE
from adamoe_ros.data.motion_checks import motion_findings
from adamoe_ros.data.units import Units, units_for

Bounds = tuple[Rows, Rows]
_BEYOND = 0.05  # of a joint's range that a value may lie outside
_FROZEN_S = 0.5  # of equal pictures while joints move
_LEROBOTS_TOLERANCE_S = 5e-4  # more than its own, by which it refuses: times are rounded
_MOVED = 0.02  # rad or m; less is standing still
_NO_SENTENCES = re.compile(
    r"(my |your |test |default )?(task|tasks|test|todo|tbd|default|unknown|unnamed|placeholder)"
    r"|none|null|nan|n/?a|task description",
    re.IGNORECASE,
)
_SKEW_S = 0.1  # of a picture's stamp from its observation's


def validate(
    dataset: Dataset,
    profile: RobotProfile | None = None,
    gripper: str = "",
    pictures: bool = True,
    report: Callable[[int], None] = lambda episode: None,
) -> list[Finding]:
    """Every finding, episode by episode.

    Args:
        profile: of the robot, for joint order and limits; None: neither is checked.
        gripper: units of grippers where the dataset does not say.
        pictures: decode every picture and look for frozen cameras.
    """
    findings = list(dataset_checks.column_findings(dataset))
    if any(finding.level == "error" and "features" in finding.line for finding in findings):
        return findings
    findings += dataset_checks.unlisted_rows(dataset)
    findings += dataset_checks.video_order(dataset)
    with suppress(ContractError):  # a data file that cannot be read: its episodes say so
        findings += dataset_checks.unstored_features(dataset)
    findings += dataset_checks.portability(dataset)
    bounds = None
    if profile is not None:
        findings += _order(dataset, profile)
        bounds = _bounds(profile, dataset_units(dataset, profile, gripper))
    try:
        stored = dataset_checks.stored_statistics(dataset)
        by_episode = dataset_checks.episode_statistics(dataset)
    except ContractError as error:
        findings += [Finding("error", line) for line in error.problems]
        stored, by_episode = {}, {}
    if not by_episode or stored:
        findings += dataset_checks.missing_statistics(dataset, stored)
    totals, unread = dataset_checks.ColumnTotals(), 0
    for entry in dataset.episodes:
        try:
            findings += _episode(dataset, entry, bounds, totals, by_episode.get(entry.index, {}))
            if pictures and entry.length:
                findings += _pictures(dataset, entry)
        except ContractError as error:
            findings += [Finding("error", line) for line in error.problems]
            unread += 1
        report(entry.index)
    if not unread:
        findings += totals.stale(stored, "meta/stats.json")
        findings += totals.odd(dataset.names(ACTION))
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
        try:
            known = names.get((float(ends["open"]), float(ends["closed"])))
        except (TypeError, KeyError, ValueError) as error:
            expected, do = "open and closed as numbers", "correct it, or give --gripper"
            where = f"{dataset.folder / OURS}: gripper"
            raise ContractError(problem(where, expected, repr(ends), do)) from error
        if known:
            return units_for(profile, None, known)
        from adamoe_ros.contract.manifest import GripperConvention
        from adamoe_ros.data.units import units_with_gripper

        return units_with_gripper(profile, GripperConvention(**ends))
    return units_for(profile, None, gripper)


# --- the robot ----------------------------------------------------------------------------------


def _order(dataset: Dataset, profile: RobotProfile) -> Iterator[Finding]:
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
            yield found(
                "warning", f"features: {key}", "names of the joints", "none", "check the order"
            )
        elif names not in known.values():
            mixed = sorted(names) in [sorted(item) for item in known.values()]
            what = "another order" if mixed else "other joints"
            yield found(
                "error",
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
    dataset: Dataset,
    entry: EpisodeEntry,
    bounds: Bounds | None,
    totals: dataset_checks.ColumnTotals,
    stored: dict[str, dict[str, object]],
) -> Iterator[Finding]:
    """What is wrong with an episode's rows.

    Raises:
        ContractError: they cannot be read, or contradict the list of episodes or the videos.
    """
    where = f"episode {entry.index}"
    if not entry.length:
        yield found("warning", where, "rows", "none", "leave it out")
        return
    dataset.check(entry)
    yield from _sentences(dataset, entry, where)
    state, action = (dataset.column(entry, key).astype(np.float64) for key in (STATE, ACTION))
    for key, rows, limits in ((STATE, state, 0), (ACTION, action, 1)):
        yield from _numbers(f"{where}: {key}", rows, dataset.names(key), bounds, limits)
        statistics = stored.get(key, {})
        yield from dataset_checks.stale_statistics(f"{where}: statistics: {key}", statistics, rows)
    yield from totals.add(entry.index, state, action)
    same = state.shape == action.shape  # else actions are no set points of the state
    if same and np.isfinite(state).all() and np.isfinite(action).all():
        yield from _swapped(where, (state, action), dataset, bounds)
        yield from motion_findings(where, state, action, dataset.names(ACTION), dataset.fps)
    if STAMPS in dataset.features:
        yield from _stamps(where, dataset.stamps(entry), dataset.fps)


def _sentences(dataset: Dataset, entry: EpisodeEntry, where: str) -> Iterator[Finding]:
    sentences = dataset.sentences(entry)
    if any(not sentence.strip() for sentence in sentences):
        yield found("error", where, "an instruction for every frame", "an empty one", "set it")
    said = set(sentences)
    for sentence in sorted(said):
        if _NO_SENTENCES.fullmatch(sentence.strip().strip(".")):
            got, do = repr(sentence), "say what the robot does"
            yield found("warning", where, "an instruction", got, do)
    if entry.tasks and set(entry.tasks) != said:
        expected = f"in the list of episodes, what its rows say: {', '.join(sorted(said))}"
        got, do = ", ".join(entry.tasks), "correct the list; training uses what the rows say"
        yield found("warning", f"{where}: tasks", expected, got, do)


def _numbers(
    where: str, rows: Rows, names: list[str], bounds: Bounds | None, which: int
) -> Iterator[Finding]:
    names = names or [str(number) for number in range(rows.shape[1])]
    finite = np.isfinite(rows)
    if not finite.all():
        frame = int(np.flatnonzero(~finite.all(axis=1))[0])
        yield found(
            "error", where, "finite numbers", f"NaN or inf in frame {frame}", "drop the episode"
        )
        return
    if bounds is not None and bounds[which].shape[1] == rows.shape[1]:
        low, high = bounds[which]
        for joint in np.flatnonzero(((rows < low) | (rows > high)).any(axis=0)):
            yield found(
                "error",
                f"{where}: {names[joint]}",
                f"{low[joint]:.3f} ... {high[joint]:.3f}, the robot's range and 5 % more",
                f"{rows[:, joint].min():.3f} ... {rows[:, joint].max():.3f}",
                "check units, sign and order of the joints",
            )
    if len(rows) > 10 and not np.ptp(rows, axis=0).any():
        yield found("warning", where, "motion", "one value all the time", "drop the episode")


def _swapped(
    where: str, rows: tuple[Rows, Rows], dataset: Dataset, bounds: Bounds | None
) -> Iterator[Finding]:
    """Columns of the action that follow another joint of the state than their own."""
    names = dataset.names(ACTION)
    width = rows[1].shape[1]
    known = bounds is not None and bounds[1].shape[1] == width
    ranges = np.ptp(bounds[1], axis=0) if bounds is not None and known else None
    for column, joint in followed_joints(*rows, dataset.fps, ranges):
        yield found(
            "error",
            f"{where}: action {names[column] if names else column}",
            "to move with the state of the same joint",
            f"it moves with joint {names[joint] if names else joint}",
            "check the order of the joints",
        )


def _stamps(where: str, columns: NDArray[np.int64], fps: float) -> Iterator[Finding]:
    stamps = columns[:, 0]
    spacing = np.diff(stamps) / 1e9
    skew = np.abs(columns[:, 2:] - stamps[:, None]).max(initial=0) / 1e9
    if skew > _SKEW_S:
        got = f"one {skew:.3f} s off"
        yield found("warning", where, "pictures of the observation's time", got, "check the clocks")
    if (spacing < 0).any():
        yield found(
            "error", where, "stamps that go forward", "one that goes back", "cut the episode there"
        )
    gaps = int((spacing > 2.5 / fps).sum())
    if gaps:
        got = f"{gaps} gaps, the longest {spacing.max():.3f} s"
        yield found(
            "warning", where, f"observations {1 / fps:.3f} s apart", got, "check the recording"
        )
    repeated = int((spacing == 0).sum())
    if repeated > 0.02 * len(stamps):
        got = f"{repeated} of {len(stamps)} frames repeat the observation before"
        yield found(
            "warning", where, "a new observation in every frame", got, "choose a smaller --fps"
        )


def _pictures(dataset: Dataset, entry: EpisodeEntry) -> Iterator[Finding]:
    state = dataset.column(entry, STATE)
    for slot, key in dataset.cameras.items():
        where = f"episode {entry.index}: {slot}"
        yield from _video(dataset, entry, key, where)
        try:
            equal, size = _equal_runs(dataset, entry, key)
        except Exception as error:  # whatever the decoder says of a damaged file
            yield found(
                "error", where, "readable pictures", " ".join(str(error).split()), "make it again"
            )
            continue
        declared = dataset.features[key].shape
        if declared and sorted(declared) != sorted(size):
            expected, do = f"pictures of {declared}, as info.json says", "correct info.json"
            yield found("warning", where, expected, size, do)
        for first, last in equal:
            seconds = (last - first) / dataset.fps
            moved = np.ptp(state[first : last + 1], axis=0).max()
            if seconds >= _FROZEN_S and moved > _MOVED:
                got = f"the same for {seconds:.1f} s from frame {first} on, while joints moved"
                yield found(
                    "error", where, "pictures that change", got, "drop it: the camera was frozen"
                )


def _video(dataset: Dataset, entry: EpisodeEntry, key: str, where: str) -> Iterator[Finding]:
    """Frames that are a row's, but not quite at its time."""
    if key not in entry.videos:
        return
    period, off = dataset.frame_fit(entry, key)
    slow = dataset_checks.slow_video(where, period, dataset.fps)
    if slow is not None:
        yield slow
    elif off > _LEROBOTS_TOLERANCE_S:
        got, do = (
            f"one {1e3 * off:.1f} ms off",
            "LeRobot refuses more than 0.1 ms: correct from_timestamp",
        )
        yield found("warning", where, "frames at the times of the rows", got, do)


def _equal_runs(
    dataset: Dataset, entry: EpisodeEntry, key: str
) -> tuple[list[tuple[int, int]], tuple[int, ...]]:
    """(first, last) frame of every run of pictures that do not differ visibly; the last one's shape."""
    runs: list[tuple[int, int]] = []
    before: NDArray[np.int16] | None = None
    first, number, size = 0, -1, ()
    for number, picture in enumerate(dataset.pictures(entry, key)):
        small, size = picture[::4, ::4].astype(np.int16), picture.shape
        if before is not None and np.abs(small - before).mean() > 0.02:
            if number - 1 > first:
                runs.append((first, number - 1))
            first = number
        before = small
    if number > first:
        runs.append((first, number))
    return runs, size
