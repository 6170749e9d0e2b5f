# SPDX-License-Identifier: Apache-2.0
"""A few hundred messages of any content to everything that the nodes listen to; 'make fuzz' sends more."""

from __future__ import annotations

import time
from pathlib import Path

from message_fuzz import MessageFuzz, fuzz


def test_any_message_to_every_topic_and_service(tmp_path: Path) -> None:
    with MessageFuzz(tmp_path) as rig:
        names = {name for _, name, _ in rig.targets}
        for expected in ("/action_chunk", "/emergency_stop", "/lone/execute/_action/send_goal"):
            assert expected in names
        for expected in ("/control_recording", "/world/reset_task", "/lone/instruction"):
            assert expected in names
        assert fuzz(rig, 300, 0, time.monotonic() + 120.0, lambda done: None) > 0
        assert len(rig.sent) > len(names) / 2
