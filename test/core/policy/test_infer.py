# SPDX-License-Identifier: Apache-2.0
"""``adamoe infer``: the authors' samples in raw mode, and the robot's numbers otherwise."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import foreign
import numpy as np
import official
import policy_support as support
import pytest
import torch

from adamoe_ros.cli.main import main
from adamoe_ros.contract.observation import Observation
from adamoe_ros.policy.checkpoint import read_checkpoint
from adamoe_ros.policy.runtime import PolicyRuntime


def infer(checkpoint: Path, inputs: dict[str, Any], folder: Path, *options: str) -> int:
    np.savez(folder / "in.npz", **inputs)
    paths = ["--inputs", str(folder / "in.npz"), "--out", str(folder / "out.npz")]
    return main(["infer", "--checkpoint", str(checkpoint), *paths, *options])


def result(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "out.npz") as archive:
        return dict(archive)


@pytest.mark.parametrize(
    ("name", "layout"), [("official_dense", "openpi-jax"), ("official_adamoe_k1", "adamoe-jax")]
)
def test_raw_mode_gives_the_authors_samples(name: str, layout: str, tmp_path: Path) -> None:
    weights, data = foreign.official(name)
    source = foreign.write_npz(tmp_path / "w.npz", weights)
    options = ["--horizon", "6", "--prompt-length", "10", "--top-k", "1"]
    assert main(["convert", "--from", layout, str(source), str(tmp_path / "ours"), *options]) == 0
    for row in range(2):
        inputs = {
            "images": np.stack([data[f"image/{slot}"][row] for slot in official.SLOTS]),
            "image_mask": np.array([data[f"mask/{slot}"][row] for slot in official.SLOTS]),
            "token_ids": data["token_ids"][row],
            "token_mask": data["token_mask"][row],
            "state": data["state"][row],
            "noise": data["noise_sample"][row],
        }
        assert infer(tmp_path / "ours", inputs, tmp_path, "--raw") == 0
        found = result(tmp_path)
        assert set(found) == {"actions", "experts", "latency_ms"}
        np.testing.assert_allclose(found["actions"], data["sample"][row], rtol=0, atol=1e-4)
        steps = (10, 4, 6, 1) if layout == "adamoe-jax" else (0, 0, 0, 0)
        assert found["experts"].shape == steps
        assert found["latency_ms"] > 0
        assert infer(tmp_path / "ours", inputs, tmp_path, "--raw", "--device", "cpu") == 0
        for key in ("actions", "experts"):
            assert np.array_equal(result(tmp_path)[key], found[key])


@pytest.fixture
def given() -> dict[str, Any]:
    random = np.random.default_rng(0)
    return {
        "images": random.integers(0, 256, (3, 48, 64, 3), dtype=np.uint8),
        "state": random.uniform(-0.3, 0.3, 14),
        "prompt": "lift the yellow bar",
    }


def test_it_computes_what_the_robot_computes(tmp_path: Path, given: dict[str, Any]) -> None:
    folder = support.make_checkpoint(tmp_path / "checkpoint")
    runtime = PolicyRuntime(read_checkpoint(folder), "cpu")
    images = dict(zip(support.SLOTS, given["images"], strict=True))
    observation = Observation(0, images, given["state"], given["prompt"])
    expected = runtime.infer(observation, runtime.noise(7)).actions
    assert infer(folder, given, tmp_path, "--seed", "7") == 0
    assert np.array_equal(result(tmp_path)["actions"], expected)
    noise = {"noise": runtime.noise(7)[0].numpy()}
    assert infer(folder, {**given, **noise}, tmp_path) == 0
    assert np.array_equal(result(tmp_path)["actions"], expected)
    assert infer(folder, given, tmp_path, "--seed", "8") == 0
    assert not np.array_equal(result(tmp_path)["actions"], expected)


def test_absent_views_are_not_looked_at(tmp_path: Path, given: dict[str, Any]) -> None:
    folder = support.make_checkpoint(tmp_path / "checkpoint")
    masked = {**given, "image_mask": np.array([True, False, True])}
    assert infer(folder, masked, tmp_path) == 0
    first = result(tmp_path)["actions"]
    masked["images"] = given["images"].copy()
    masked["images"][1] = 0
    assert infer(folder, masked, tmp_path) == 0
    assert np.array_equal(result(tmp_path)["actions"], first)


def test_raw_state_is_the_models(tmp_path: Path, given: dict[str, Any]) -> None:
    folder = support.make_checkpoint(tmp_path / "checkpoint")
    checkpoint = read_checkpoint(folder)
    space = checkpoint.vectors()
    assert infer(folder, given, tmp_path) == 0
    physical = result(tmp_path)["actions"]
    raw = {**given, "state": space.encode_state(given["state"].astype(np.float32))}
    assert infer(folder, raw, tmp_path, "--raw") == 0
    normalized = result(tmp_path)["actions"]
    assert normalized.shape == (checkpoint.config.horizon, checkpoint.config.action_dim)
    np.testing.assert_array_equal(space.decode_actions(normalized, given["state"]), physical)


WRONG = {
    "no state": ({"state": None}, "state"),
    "padded state without --raw": ({"state": np.zeros(16)}, "is --raw right?"),
    "NaN": ({"state": np.full(14, np.nan)}, "finite"),
    "two cameras": ({"images": np.zeros((2, 8, 8, 3), np.uint8)}, "cam_high"),
    "float images": ({"images": np.zeros((3, 8, 8, 3))}, "uint8"),
    "prompt and tokens": ({"token_ids": np.arange(3)}, "both"),
    "no prompt": ({"prompt": None}, "neither"),
    "token out of range": ({"prompt": None, "token_ids": np.array([9999])}, "right tokenizer"),
    "noise of another size": ({"noise": np.zeros((2, 2))}, "horizon x action dim"),
    "unknown key": ({"image": np.zeros(3)}, "another key"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_inputs_are_one_line_and_write_nothing(
    case: str, tmp_path: Path, given: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    changes, said = WRONG[case]
    folder = support.make_checkpoint(tmp_path / "checkpoint")
    inputs = {key: value for key, value in {**given, **changes}.items() if value is not None}
    assert infer(folder, inputs, tmp_path) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and said in lines[0]
    assert not (tmp_path / "out.npz").exists()


def test_a_raw_only_checkpoint_says_so(
    tmp_path: Path, given: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = support.make_checkpoint(tmp_path / "checkpoint", raw_only=True)
    assert infer(folder, given, tmp_path) == 2
    assert "--raw" in capsys.readouterr().err
    raw = {**given, "state": np.zeros(16)}
    assert infer(folder, raw, tmp_path, "--raw") == 0


def with_header(header: bytes) -> bytes:
    """An archive of one array whose header, which is read as Python, is this."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        magic = np.lib.format.magic(1, 0) + len(header).to_bytes(2, "little")
        archive.writestr("state.npy", magic + header)
    return out.getvalue()


@pytest.mark.parametrize(
    "content", [b"PK\x03\x04 cut off", with_header(b"{'descr': ('<f4'\n"), with_header(b"{'a b'}")]
)
def test_no_npz(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    folder = support.make_checkpoint(tmp_path / "checkpoint")
    (tmp_path / "in.npz").write_bytes(content)
    arguments = ["--inputs", str(tmp_path / "in.npz"), "--out", str(tmp_path / "out.npz")]
    assert main(["infer", "--checkpoint", str(folder), *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_few_steps_are_refused(tmp_path: Path, given: dict[str, Any]) -> None:
    folder = support.make_checkpoint(tmp_path / "checkpoint")
    assert infer(folder, given, tmp_path, "--steps", "0") == 2
    assert infer(folder, given, tmp_path, "--steps", "3") == 0
    assert result(tmp_path)["experts"].shape[0] == 3
    assert torch.is_grad_enabled()
