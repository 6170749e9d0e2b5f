# SPDX-License-Identifier: Apache-2.0
"""/diagnostics of control_node from the core's real status: levels, and what to do next."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from adamoe_ros.contract.chunk import ActionChunk
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.control.core import ControlCore
from adamoe_ros.control.settings import Cause
from adamoe_ros.ros.control.control_diagnostics import ADVICE, Timing, advice, diagnostics
from adamoe_ros.ros.diagnostics import Diagnostic, Level

PROFILE = load_profile(profile_path("aloha_sim", robots_dir()))
HOME = np.array([value for _, arm in PROFILE.ordered_arms for value in arm.home])
START, PERIOD = 10**12, 20_000_000  # ns
QUIET = {"shadow": False, "missed_ticks": 0, "rate": 50.0, "jitter_p99": 0.0005}


def holding_core() -> ControlCore:
    core = ControlCore(PROFILE)
    core.on_state(START, HOME)
    core.activate(START, HOME)
    core.tick(START)
    return core


def found(core: ControlCore, now_ns: int, **own: object) -> dict[str, Diagnostic]:
    fields = dataclasses.asdict(core.status(now_ns))
    status = SimpleNamespace(**fields, **{**QUIET, **own})
    return {item.name: item for item in diagnostics(status, Timing(0.02, 0.001))}


def test_waiting_for_a_goal_is_fine() -> None:
    items = found(holding_core(), START)
    assert {item.level for item in items.values()} == {Level.OK}
    assert "not_started" in items["motion"].message


def test_shadow_is_said() -> None:
    assert "nothing moves" in found(holding_core(), START, shadow=True)["motion"].message


def test_an_emergency_stop_is_an_error_with_the_next_step() -> None:
    core = holding_core()
    core.on_estop()
    core.tick(START + PERIOD)
    item = found(core, START + PERIOD)["motion"]
    assert item.level == Level.ERROR
    assert "reset" in item.message


def test_stale_joint_states_are_an_error_of_the_inputs() -> None:
    core = holding_core()
    core.on_run(1)
    core.tick(START + 10 * 10**9)
    items = found(core, START + 10 * 10**9)
    assert items["inputs"].level == Level.ERROR
    assert items["motion"].level == Level.WARN
    assert "driver" in items["inputs"].message


def test_refused_chunks_are_counted() -> None:
    core = holding_core()
    core.on_run(1)
    rows = np.full((5, len(HOME)), np.nan)
    core.on_chunk(ActionChunk(START, 1, 1, PROFILE.joint_ids, 0.02, rows), START)
    item = found(core, START)["chunks"]
    assert item.level == Level.WARN
    assert item.values["rejected"] == 1


def test_workspace_interventions_are_counted() -> None:
    core = ControlCore(PROFILE, inside=lambda pose: bool(pose[0] <= HOME[0] + 0.01))
    core.on_state(START, HOME)
    core.activate(START, HOME)
    core.on_run(1)
    rows = np.tile(core.gate.position, (5, 1))
    rows[:, 0] += 0.05
    core.on_chunk(ActionChunk(START, 1, 1, PROFILE.joint_ids, 0.02, rows), START)
    now = START
    for _ in range(5):
        now += PERIOD
        core.on_state(now, HOME)
        core.tick(now)
    item = found(core, now)["gate"]
    assert item.values["workspace clips"] == core.status(now).workspace_clips > 0
    assert "workspace" in item.message


@pytest.mark.parametrize("own", [{"missed_ticks": 5}, {"jitter_p99": 0.015}])
def test_uneven_ticks_are_a_warning(own: dict[str, float]) -> None:
    item = found(holding_core(), START, **own)["timing"]
    assert item.level == Level.WARN
    assert "realtime_priority" in item.message


def test_advice_is_for_causes_that_exist() -> None:
    causes = {value for name, value in vars(Cause).items() if name.isupper()}
    assert set(ADVICE) <= causes
    assert advice("cancelled") == ""
