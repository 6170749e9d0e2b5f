# SPDX-License-Identifier: Apache-2.0
"""Chunks, observations, errors and topic tables: the small facts that everything relies on."""

from __future__ import annotations

import numpy as np
import pytest

from adamoe_ros.contract.chunk import ActionChunk
from adamoe_ros.contract.errors import ContractError, Problems, problem
from adamoe_ros.contract.observation import Observation
from adamoe_ros.contract.profile_io import known_profiles, load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.contract.topics import command_topics, state_topics


def test_rows_of_a_chunk_belong_to_times() -> None:
    chunk = ActionChunk(10**9, 1, 1, ("left/a",), 0.02, np.zeros((5, 1)))
    assert chunk.rows == 5 and chunk.end_ns == 10**9 + 80_000_000
    assert chunk.row_at(10**9 + 30_000_000) == pytest.approx(1.5)
    assert chunk.row_at(10**9 - 20_000_000) == pytest.approx(-1.0)


def test_skew_is_the_largest_distance_of_any_input() -> None:
    seen = Observation(100, {}, np.zeros(1), "", {"a": 90, "b": 130}, 60)
    assert seen.skew_s == pytest.approx(40e-9)
    assert Observation(100, {}, np.zeros(1), "").skew_s == 0.0


def test_problems_are_collected_and_raised_together() -> None:
    problems = Problems()
    problems.raise_if_any()
    problems.add("here", "x", "y", "do z")
    problems.extend([problem("there", "1", 2, "count")])
    with pytest.raises(ContractError) as caught:
        problems.raise_if_any()
    assert caught.value.problems == (
        "here: expected x, got y; do z",
        "there: expected 1, got 2; count",
    )
    assert str(caught.value).count("\n") == 1


def test_an_error_without_a_problem_is_a_bug() -> None:
    with pytest.raises(ValueError, match="at least one"):
        ContractError([])


@pytest.mark.parametrize("name", known_profiles(robots_dir()))
def test_topic_tables_hold_every_joint_once_under_its_drivers_name(name: str) -> None:
    profile = load_profile(profile_path(name, robots_dir()))
    for table in (state_topics(profile), command_topics(profile)):
        columns = [column for topic in table for column in topic.columns]
        assert sorted(columns) == list(range(len(profile.joint_ids)))
    for topic in state_topics(profile):
        assert len(set(topic.names)) == len(topic.names)
        for name_, column in zip(topic.names, topic.columns, strict=True):
            assert profile.joint_ids[column].split("/", 1)[1] == name_
