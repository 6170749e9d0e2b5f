# SPDX-License-Identifier: Apache-2.0
"""The simulated two-arm robot (MuJoCo), its tasks and their scripted experts.

``bimanual.BimanualSim`` is what callers hold: ``scene`` builds the world, ``robot`` knows its joints,
``randomisation`` varies lights and cameras, ``render`` takes images; ``tasks/`` has one file a task.
``demonstrations`` plays the experts, whose way points are ``script``'s, by ``kinematics``. ``loopback``
is a robot without physics. Called by ``ros/sim``, ``training`` and ``evaluation``.
"""
