# SPDX-License-Identifier: Apache-2.0
"""The mixture kernels in Triton's interpreter against the eager layer; numbers, not speed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.policy.engines import triton_moe


@pytest.fixture(scope="module")
def results():
    pytest.importorskip("triton", reason="no wheel of triton for this platform")
    script = Path(__file__).with_name("triton_cases.py")
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": f"{root}:{os.environ.get('PYTHONPATH', '')}".rstrip(":")},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_float32_is_exact(results):
    assert len(results) == 15
    assert max(case["float32"] for case in results) < 1e-6


def test_half_precision_and_eight_bits_are_near(results):
    assert all(case["float16"] < 0.005 for case in results if "float16" in case)
    assert all(1e-5 < case["int8"] < 0.03 for case in results if "int8" in case)


def test_skewed_cases_are_skewed(results):
    used = {tuple(case["case"]): case.get("used") for case in results}
    assert used["k=1", 50, 50.0] == 1  # all on one
    assert used["k=1", 50, -50.0] < 4  # one without


@pytest.mark.parametrize("count", [1, 15, 16, 17, 50, 150])
@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_the_grid_holds_every_routing(count, top_k):
    """The worst routing fills all experts with one row over a block each."""
    most, edge = triton_moe.block_counts(count, top_k, 4)[0], triton_moe.BLOCK_M
    choices = count * top_k
    worst = 0
    for first in range(choices + 1):
        for second in range(0, choices - first + 1, max(1, choices // 12)):
            rest = choices - first - second
            split = (first, second, rest // 2, rest - rest // 2)
            worst = max(worst, sum(-(-part // edge) for part in split))
    assert worst <= most <= worst + 4


def test_without_triton_the_form_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(ContractError, match="expected triton, got no package triton"):
        triton_moe.check_triton()
