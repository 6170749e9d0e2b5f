# SPDX-License-Identifier: Apache-2.0
"""Real clients of other projects against ``adamoe serve``: the rows are those of ``adamoe infer``, and openpi's own
example programs run through.

Their environments are made by ``tools/client_environments.py`` (``make conformance-clients``).
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from adamoe_ros.cli.ros_env import read_setup
from adamoe_ros.policy.infer_file import InferSettings, infer_file

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CHECKPOINT = ROOT / "checkpoints" / "demo"
EXAMPLES = ROOT / ".venv-clients" / "openpi-source" / "examples"
INTERFACES = ("aloha", "vla_eval_robotwin", "xpolicylab")
START = 600.0  # s for the server, which loads torch and measures batches, and for a client, on a busy machine
pytestmark = pytest.mark.timeout(1500)
TOLERANCE = 1e-5  # rad; the server's engine is the packed one, that of adamoe infer the eager one


@contextmanager
def serving(checkpoint: Path, log: Path, *interfaces: str) -> Iterator[str]:
    """The address of a server in a process of its own."""
    words = ["serve", "--checkpoint", checkpoint, "--port", "0", "--device", "cpu", "--plain"]
    words += ["--prompt", "pick up the red cube with the right arm", "--interface", *interfaces]
    command = [sys.executable, "-m", "adamoe_ros.cli.main", *map(str, words)]
    with log.open("w") as stream:
        server = subprocess.Popen(command, stdout=stream, stderr=stream, cwd=ROOT)
    try:
        until = time.monotonic() + START
        while not (found := re.search(r"on (ws://\S+)", log.read_text())):
            assert server.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        yield found[1]
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(START) == 0


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of the shipped checkpoint."""
    with serving(CHECKPOINT, tmp_path_factory.mktemp("server") / "log", *INTERFACES) as found:
        yield found


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
        list(map(str, command)), capture_output=True, text=True, timeout=START, env=environment
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


def answered(url: str) -> int:
    """Chunks that openpi's clients have got so far."""
    page = urllib.request.urlopen(url.replace("ws://", "http://") + "/metrics").read().decode()
    found = re.search(r'requests_total{outcome="ok",protocol="openpi"} (\S+)', page)
    return int(float(found[1])) if found else 0


def run_example(name: str, url: str, folder: Path, *words: str) -> str:
    """One of openpi's examples, as its readme starts it; what it printed."""
    python, host_port = ROOT / ".venv-clients/openpi/bin/python", url.removeprefix("ws://")
    host, port = host_port.split(":")
    words = ("--host", host, "--port", port, *words)
    if name == "aloha_sim":  # whose options are one argument of its main
        words = tuple(re.sub("^--", "--args.", word) for word in words)
    command = [python, EXAMPLES / name / "main.py", *words]
    own = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    setup = read_setup(Path(sys.prefix))  # how this machine renders
    environment = {**setup.get("variables", {}), **setup.get("lists", {}), **own}
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        timeout=START,
        env=environment,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def test_openpis_aloha_sim_example(url: str, tmp_path: Path, client_report: dict[str, Any]) -> None:
    """gym-aloha's simulator, a runtime at 50 Hz and a chunk for every ten actions."""
    before = answered(url)
    run_example("aloha_sim", url, tmp_path, "--out-dir", "videos")
    chunks = answered(url) - before
    assert chunks == 30  # of ten actions, in an episode of 300
    video = tmp_path / "videos" / "out_0.mp4"
    assert video.stat().st_size > 10_000
    client_report["openpi examples/aloha_sim"] = {
        "chunks": chunks,
        "video_bytes": video.stat().st_size,
    }


@pytest.mark.parametrize("environment", ["aloha", "libero", "droid"])
def test_openpis_simple_client(
    environment: str, url: str, tmp_path: Path, client_report: dict[str, Any]
) -> None:
    """Random observations of each robot; times as the client measures them."""
    words = ["--env", environment.upper(), "--num-steps", "5", "--timing-file", "times.parquet"]
    with ExitStack() as stack:
        if environment != "aloha":
            folder = _checkpoint_of_one_arm(tmp_path / "checkpoint")
            url = stack.enter_context(serving(folder, tmp_path / "log", environment))
        told = run_example("simple_client", url, tmp_path, *words)
    assert "client_infer_ms" in told and "policy_infer_ms" in told
    times = pq.read_table(tmp_path / "times.parquet").to_pydict()
    assert len(times["client_infer_ms"]) == len(times["server_infer_ms"]) == 5
    client_report[f"openpi examples/simple_client, {environment}"] = {"chunks": 5}


def _checkpoint_of_one_arm(folder: Path) -> Path:
    """Eight joints, openpi's names of the cameras, random weights."""
    from policy_support import SLOTS, make_checkpoint, manifest

    joints = manifest().joints[:8]
    slots = ("base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb")
    assert len(slots) == len(SLOTS)
    return make_checkpoint(folder, joints=joints, camera_slots=slots, embodiment="franka")
