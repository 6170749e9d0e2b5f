# SPDX-License-Identifier: Apache-2.0
"""Everything that talks to ROS 2; nodes are thin, what they decide is in the layers below.

``policy/ control/ recorder/ sim/ doctor/`` hold one node or job each. Shared by them: ``lifecycle`` and
``runner`` (a node as a process), ``transports`` and ``shared_memory`` (DDS), ``topic_reader`` (a thread past
the executor), ``qos`` and ``names``, ``live_parameters`` (declared parameters on a node), ``diagnostics`` and
``diagnostics_publisher``, ``conflicts`` (a second node or publisher). ``launching`` serves launch/, ``generate``
writes config/ and the parameter tables, ``security_policy`` an SROS 2 policy.

This file imports nothing: every node would pay for it.
"""
