# SPDX-License-Identifier: Apache-2.0
"""Demonstrations that begin in the middle of another wish, and the words they are told in."""

from __future__ import annotations

import numpy as np

from adamoe_ros.sim.bimanual import BimanualSim
from adamoe_ros.sim.demonstrations import phrasing, play, prepare, rejoined
from adamoe_ros.sim.robot import HOME


def test_targets_lead_from_where_the_arms_are_into_the_plan():
    plan = np.tile(np.linspace(0.0, 1.0, 120)[:, None], (1, 14))
    now = np.full(14, 0.4)
    rows = rejoined(plan, now, ticks=80)
    np.testing.assert_allclose(rows[0], now)
    np.testing.assert_array_equal(rows[80:], plan[80:])
    assert np.abs(np.diff(rows, axis=0)).max() < 0.02
    np.testing.assert_array_equal(rejoined(plan, plan[0]), plan)


def test_the_expert_succeeds_after_another_wish():
    sim = BimanualSim("pick_cube")
    done = 0
    for seed in range(300_000, 300_006):
        showing = prepare(sim, seed, 10, changed=True)
        assert np.abs(showing.actions[0] - HOME).max() > 0.02  # on the way already
        for _ in play(sim, showing):
            pass
        done += sim.success()
    assert done >= 5


def test_every_phrasing_of_the_training_is_said_and_no_other():
    sim = BimanualSim("pick_cube", "pick up the red cube with the left arm")
    sim.reset(0)
    said = {phrasing(sim, seed) for seed in range(60)}
    assert said == set(sim.phrasings())
    assert not said & set(sim.phrasings(unseen=True))
