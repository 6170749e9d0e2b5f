# SPDX-License-Identifier: Apache-2.0
"""control_node and a loopback robot as real processes: hold, follow, stop, shadow, speed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from control_rig import Rig

from adamoe_ros.msg import ControlStatus


def test_first(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig:
        rig.holding()
        print(rig.probe.status)
        rig.move(2.0)
        print(rig.probe.status)
        sent = rig.probe.hold("cancelled")
        rig.probe.wait_mode(ControlStatus.HOLD, "cancelled")
