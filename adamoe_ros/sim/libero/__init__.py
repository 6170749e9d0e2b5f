# SPDX-License-Identifier: Apache-2.0
"""LIBERO, which needs packages of versions that ours exclude, in a process and an environment of its own.

    process   makes that environment on first use, starts simulators in it and asks them
    worker    the program in the other process
    world     a task: initial states, steps, pictures, LIBERO's own judge
    expert    demonstrations through the simulator's own actions

``worker``, ``world`` and ``expert`` run in the other environment, which has numpy and LIBERO alone.
"""
