# SPDX-License-Identifier: Apache-2.0
"""ROS tests talk to themselves only: a domain of their own, on this machine."""

from __future__ import annotations

from control_rig import isolate

isolate()
