# SPDX-License-Identifier: Apache-2.0
"""What diagnostics say of the policy's device; with a GPU, its real figures."""

from __future__ import annotations

import pytest

from adamoe_ros.ros import gpu
from adamoe_ros.ros.finding import Level

GIB = 2**30


def test_a_cpu_reports_the_process() -> None:
    finding = gpu.device_finding("cpu")
    assert finding.level == Level.OK
    assert 10 < float(str(finding.values["peak host memory (MiB)"])) < 2**20


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
    finding = gpu.judge("cuda:0", free, 80 * GIB, 20 * GIB, degrees)
    assert finding.level == level
    assert says in finding.message
    assert ("temperature (C)" in finding.values) == (degrees is not None)
    assert finding.values["memory of this node (MiB)"] == 20 * 1024


def test_a_real_gpu() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        assert gpu.temperature("GPU-none") is None
        return
    finding = gpu.device_finding("cuda:0 (x)")
    assert float(str(finding.values["memory total (MiB)"])) > 0
    degrees = finding.values.get("temperature (C)")
    assert degrees is None or 0 < float(str(degrees)) < 120
