# SPDX-License-Identifier: Apache-2.0
"""LIBERO, which needs packages of versions that ours exclude, in a process and an environment of its own.

    process   makes that environment on first use, starts simulators in it and asks them
    worker    the program in the other process
    world     a task: initial states, steps, pictures, LIBERO's own judge
    expert    demonstrations through the simulator's own actions

``worker``, ``world`` and ``expert`` run in the other environment, which has numpy and LIBERO alone.
"""

BUDGETS = {"spatial": 220, "object": 280, "goal": 300, "10": 520, "90": 400}  # steps, openpi's
CAMERAS = {"image": "agentview", "wrist_image": "robot0_eye_in_hand"}  # openpi's name -> LIBERO's
RATE_HZ = 20
