# SPDX-License-Identifier: Apache-2.0
"""What diagnostics say of the policy's device; with a GPU, its real figures."""

from __future__ import annotations

import pytest

from adamoe_ros.ros.diagnostics import Level
from adamoe_ros.ros.policy import gpu

GIB = 2**30


def test_a_cpu_reports_the_process() -> None:
    diagnostic = gpu.device_diagnostic("cpu")
    assert diagnostic.level == Level.OK
    assert 10 < float(str(diagnostic.values["peak host memory (MiB)"])) < 2**20


@pytest.mark.parametrize(
    ("free", "degrees", "level", "says"),
    [
        (40 * GIB, 60.0, Level.OK, "cuda:0"),
        (40 * GIB, None, Level.OK, "cuda:0"),
        (40 * GIB, 91.0, Level.WARN, "fans"),
        (1 * GIB, 60.0, Level.WARN, "end what else uses it"),
    ],
)
def test_levels(free: int, degrees: float | None, level: Level, says: str) -> None:
    diagnostic = gpu.judge("cuda:0", free, 80 * GIB, 20 * GIB, degrees)
    assert diagnostic.level == level
    assert says in diagnostic.message
    assert ("temperature (C)" in diagnostic.values) == (degrees is not None)
    assert diagnostic.values["memory of this node (MiB)"] == 20 * 1024


def test_the_temperature_of_a_gpu_that_is_not_there_is_unknown() -> None:
    assert gpu.temperature("GPU-none") is None
