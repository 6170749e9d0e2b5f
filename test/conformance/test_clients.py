# SPDX-License-Identifier: Apache-2.0
"""Real clients of other projects against ``adamoe serve``: the rows are those of ``adamoe infer``.

Their environments are made by ``tools/client_environments.py`` (``make conformance-clients``).
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adamoe_ros.policy.infer_file import InferSettings, infer_file

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CHECKPOINT = ROOT / "checkpoints" / "demo"
INTERFACES = ("aloha", "vla_eval_robotwin", "xpolicylab")
START = 120.0  # s for the server: it loads torch and measures batches
TOLERANCE = 1e-5  # rad; the server's engine is the packed one, that of adamoe infer the eager one


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the shipped checkpoint in a process of its own."""
    log = tmp_path_factory.mktemp("server") / "log"
    words = ["serve", "--checkpoint", CHECKPOINT, "--port", "0", "--device", "cpu", "--plain"]
    command = [sys.executable, "-m", "adamoe_ros.cli.main", *words, "--interface", *INTERFACES]
    with log.open("w") as stream:
        server = subprocess.Popen(list(map(str, command)), stdout=stream, stderr=stream, cwd=ROOT)
    try:
        until = time.monotonic() + START
        while not (found := re.search(r"on (ws://\S+)", log.read_text())):
            assert server.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        yield found[1]
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A file of inputs, and the rows that ``adamoe infer`` makes of it."""
    folder, rng = tmp_path_factory.mktemp("inputs"), np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "images": rng.integers(0, 256, (3, 240, 320, 3), dtype=np.uint8),
        "state": rng.normal(size=14) * 0.1,
        "prompt": "lift the bar with both arms",
        "noise": rng.normal(size=(50, 32)).astype(np.float32),
    }
    arrays["noise"] = arrays["noise"][:, : _action_dim()]
    np.savez(folder / "in.npz", **arrays)
    made = infer_file(CHECKPOINT, folder / "in.npz", folder / "out.npz", InferSettings())
    return folder / "in.npz", made["actions"]


def _action_dim() -> int:
    from adamoe_ros.policy.checkpoint import read_checkpoint

    return read_checkpoint(CHECKPOINT).config.action_dim


@pytest.mark.parametrize("name", ["openpi", "vla-eval", "xpolicylab"])
def test_rows_and_errors(
    name: str,
    url: str,
    inputs: tuple[Path, np.ndarray],
    tmp_path: Path,
    client_report: dict[str, Any],
) -> None:
    python, out = ROOT / ".venv-clients" / name / "bin" / "python", tmp_path / "out.npz"
    command = [python, HERE / "client_judge.py", name, url, inputs[0], out]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=200, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(out) as found:
        rows, error, version = found["actions"], str(found["error"]), str(found["version"])
    difference = float(np.abs(rows - inputs[1][: len(rows)]).max())
    assert rows.shape[1] == 14 and difference < TOLERANCE
    assert "expected" in error
    client_report[name] = {
        "version": version,
        "rows": len(rows),
        "largest difference to adamoe infer (rad)": difference,
        "refused observation": error.splitlines()[-1],
    }
