# SPDX-License-Identifier: Apache-2.0
"""``adamoe doctor``: is this checkpoint, this profile, this machine and this robot fit to run?

``report`` collects what ``environment`` finds about Python and packages, ``system`` about this machine, ``files`` and ``model_checks`` about profile
and checkpoint, and ``live`` (rclpy) about the running system: ``node_checks`` that there is one of each
node, ``stream_checks`` judges one topic's arrivals, ``joint_checks`` one joint-state message, ``views``
writes images as the model sees them. ``link_checks`` asks a policy server. Called by ``cli.doctor``.
"""
