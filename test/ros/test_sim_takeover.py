# SPDX-License-Identifier: Apache-2.0
"""The simulator's scripted human takes the arms over, leads them and lets them go; real nodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from control_rig import Probe, Process, node_command
from human import PROFILE

from adamoe_ros.contract.profile_io import load_profile
from adamoe_ros.msg import ControlStatus
from adamoe_ros.sim.bimanual import BimanualSim

pytestmark = pytest.mark.side_by_side

LONG = 120.0  # s: two nodes and a simulator on a machine with other work
SEED, MOVED = 5, 0.3  # rad that the expert moves some joint by on its way


def test_the_scripted_human_leads_the_arms_to_the_object(tmp_path: Path) -> None:
    robot = tmp_path / "led.yaml"
    robot.write_text(PROFILE)
    probe = Probe(load_profile(robot), True)
    sim = {"robot": robot, "seed": SEED, "camera_rate": 1.0, "real_time_factor": 0.5}
    control = {"robot": robot, "use_sim_time": True, "autostart": True}
    commands = {
        "sim": node_command("adamoe_ros.ros.sim.sim_node", "SimNode", sim),
        "control": node_command("adamoe_ros.ros.control.control_node", "ControlNode", control),
    }
    processes = [Process(words, tmp_path / f"{name}.log") for name, words in commands.items()]
    expert = BimanualSim()
    expert.reset(SEED)
    path = expert.plan()
    try:
        probe.wait_mode(ControlStatus.HOLD, timeout=LONG)
        home = np.array(probe.status.commanded)
        assert probe.status.deadman_age < 0, "it is silent until it is wanted"
        assert not probe.set("sim_node", human=True)
        human = ControlStatus.SOURCE_HUMAN
        probe.wait(lambda: probe.status.source == human, "the human to lead", LONG)
        probe.wait(
            lambda: np.abs(np.array(probe.status.measured) - home).max() > MOVED, "motion", LONG
        )
        off_path = np.abs(path - np.array(probe.status.measured)).max(axis=1)
        assert off_path.min() < 0.1, "the arms are on the expert's way"
        assert not probe.set("sim_node", human=False)
        probe.wait(lambda: not probe.status.takeover, "the release")
    finally:
        for process in processes:
            process.stop()
        probe.close()
