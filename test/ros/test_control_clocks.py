# SPDX-License-Identifier: Apache-2.0
"""A driver on a computer whose clock differs: whose and by how much is said, and the arms hold."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from control_rig import Rig
from lifecycle_msgs.msg import Transition
from reactions import assert_comes_to_rest

from adamoe_ros.msg import ControlStatus

TOPIC = "follower_left/joint_commands"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("clocks")) as rig:
        rig.holding()
        yield rig


@pytest.fixture
def rig(shared: Rig) -> Iterator[Rig]:
    shared.settle()
    yield shared


@pytest.mark.parametrize(("fault", "text"), [("clock_ahead", "ahead"), ("clock_behind", "behind")])
def test_a_drivers_clock_in_motion_and_before(rig: Rig, fault: str, text: str) -> None:
    probe, line = rig.probe, f"the clock of the driver of {TOPIC.replace('commands', 'states')} is "
    rig.move(15.0)
    probe.set("loopback_node", fault=fault)
    probe.wait_mode(ControlStatus.HOLD, "state_stale")
    assert_comes_to_rest(probe, probe.commands[TOPIC])

    def named() -> bool:
        found = [item for item in probe.diagnostics if item.name == "control_node: others"]
        return bool(found) and line in found[-1].message and text in found[-1].message

    probe.wait(named, "the diagnostic")
    assert probe.transition("control_node", Transition.TRANSITION_DEACTIVATE)
    assert not probe.transition("control_node", Transition.TRANSITION_ACTIVATE)
    probe.wait(lambda: f"activate: {line}" in rig.processes["control"].text, "the refusal's line")
    probe.set("loopback_node", fault="none")

    def active() -> bool:
        return probe.transition("control_node", Transition.TRANSITION_ACTIVATE)

    probe.wait(active, "the clock to be right again")
    rig.holding()
