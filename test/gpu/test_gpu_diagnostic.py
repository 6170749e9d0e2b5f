# SPDX-License-Identifier: Apache-2.0
"""What diagnostics say of a real GPU."""

from __future__ import annotations

from adamoe_ros.ros.policy import gpu


def test_figures_of_a_real_gpu() -> None:
    diagnostic = gpu.device_diagnostic("cuda:0 (x)")
    assert float(str(diagnostic.values["memory total (MiB)"])) > 0
    degrees = diagnostic.values.get("temperature (C)")
    assert degrees is None or 0 < float(str(degrees)) < 120
