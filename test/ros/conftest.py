# SPDX-License-Identifier: Apache-2.0
"""ROS tests talk to themselves only: a domain of their own, on this machine."""

from __future__ import annotations

import signal

from control_rig import isolate

isolate()
# A shell that starts the tests in the background has them ignore Ctrl-C, and so would every process
# that they start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
