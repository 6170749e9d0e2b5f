# SPDX-License-Identifier: Apache-2.0
"""LeRobot's own pi0.5 opens what we write and we open what it writes: same prompt, chunk and loss."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import policy_support as support
import pytest
import samples
import torch

from adamoe_ros.cli.main import main
from adamoe_ros.model.config import ExpertConfig, ModelConfig, MoEConfig, PrefixConfig, VisionConfig
from adamoe_ros.model.config import tiny as tiny_config
from adamoe_ros.policy.checkpoint import read_checkpoint

HERE = Path(__file__).resolve().parent
PYTHON = HERE.parents[1] / ".venv-lerobot" / "bin" / "python"
WORDS = (*support.WORDS, *support.STATE_WORDS)
FACTS = [
    "--control-rate", "50", "--embodiment", "vx300s_dual", "--state-source", "measured",
    "--gripper-open", "1", "--gripper-closed", "0", "--prompt-state", "joints",
    "--joints", "left*6,left_gripper,right*6,right_gripper",
]  # fmt: skip
CONFIG = replace(
    tiny_config(), architecture="pi05", moe=MoEConfig(),
    vision=VisionConfig(image_size=(28, 28), width=144, depth=2, heads=2, mlp=24),
    prefix=PrefixConfig(width=64, depth=3, mlp=48, heads=8, head_dim=16, vocab=300),
    expert=ExpertConfig(width=32, mlp=48), action_dim=16, state_dim=16, prompt_length=200,
)  # fmt: skip
Arrays = dict[str, Any]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Sizes, tokenizer and one observation with its noise and training target as files."""
    (tmp_path / "sizes.json").write_text(json.dumps(lerobots_sizes(CONFIG)))
    (tmp_path / "tokenizer.json").write_bytes(support.tokenizer_bytes(WORDS))
    generator = np.random.default_rng(3)
    np.savez(
        tmp_path / "seen.npz",
        images=generator.integers(0, 256, (3, 28, 28, 3), dtype=np.uint8),
        image_mask=np.array([True, True, False]),
        state=generator.normal(size=14) * 0.6,
        prompt=" lift_the yellow bar\n",
        noise=generator.normal(size=(6, 16)).astype(np.float32),
        target=generator.normal(size=(6, 16)).astype(np.float32),
        time=np.array([0.37], np.float32),
    )
    return tmp_path


def lerobots_sizes(config: ModelConfig) -> Arrays:
    def stack(width: int, mlp: int) -> dict[str, int]:
        prefix = config.prefix
        heads = {"num_heads": prefix.heads, "num_kv_heads": prefix.kv_heads}
        return {
            "width": width, "mlp_dim": mlp, "depth": prefix.depth, "head_dim": prefix.head_dim,
            **heads,
        }  # fmt: skip

    vision = config.vision
    return {
        "prefix": stack(config.prefix.width, config.prefix.mlp),
        "expert": stack(config.expert.width, config.expert.mlp),
        "vision": {
            "hidden_size": vision.width, "num_hidden_layers": vision.depth,
            "num_attention_heads": vision.heads, "intermediate_size": vision.mlp,
            "projection_dim": config.prefix.width,
        },
        "vocab": config.prefix.vocab,
    }  # fmt: skip


def judge(word: str, *paths: Path) -> None:
    command = [str(PYTHON), str(HERE / "lerobot_policy_judge.py"), word, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def theirs(folder: Path, place: Path) -> Arrays:
    """What LeRobot makes of its folder."""
    tools = (place / "sizes.json", place / "tokenizer.json")
    judge("open", folder, *tools, place / "seen.npz", place / "theirs.npz")
    with np.load(place / "theirs.npz") as found:
        return dict(found)


def exported(place: Path, relative: bool) -> tuple[Path, Path]:
    """A random policy of ours, and the same as LeRobot's folder."""
    joints = tuple(
        joint.model_copy(update={"representation": "relative"})
        if relative and joint.kind != "gripper"
        else joint
        for joint in support.manifest().joints
    )
    ours = support.write_dense(
        place / "ours", samples.policy(CONFIG), WORDS, architecture="pi05", joints=joints,
        normalization="quantile", prompt_style="openpi", prompt_state="joints",
    )  # fmt: skip
    folder = place / "exported"
    assert main(["convert", "--to", "lerobot", str(ours), str(folder)]) == 0
    path = folder / "config.json"
    named = {"paligemma_variant": "gemma_2b", "action_expert_variant": "gemma_300m"}
    settings = json.loads(path.read_text())
    assert [settings[name] for name in named] == ["dummy", "dummy"]  # it knows two sizes only
    path.write_text(json.dumps({**settings, **named}))
    return ours, folder


def infer(place: Path, checkpoint: Path, **inputs: Any) -> Any:
    """Actions of ``adamoe infer``, raw where the state is padded."""
    np.savez(place / "in.npz", **inputs)
    words = ["infer", "--checkpoint", checkpoint, "--inputs", place / "in.npz"]
    raw = ["--raw"] if len(inputs["state"]) > 14 else []
    assert main([*map(str, words), *raw, "--out", str(place / "out.npz")]) == 0
    with np.load(place / "out.npz") as found:
        return found["actions"]


def compare(place: Path, checkpoint: Path, other: Arrays) -> dict[str, float]:
    """Our numbers against LeRobot's; the largest differences."""
    read = read_checkpoint(checkpoint)
    with np.load(place / "seen.npz") as archive:
        seen = dict(archive)
    state = read.vectors().prompt_state(seen["state"].astype(np.float32))
    ids, mask = read.prompts()(str(seen["prompt"]), state)
    assert ids.tolist() == other["token_ids"].tolist()
    assert mask.tolist() == other["token_mask"].tolist() and mask.sum() > 20

    def farthest(a: Any, b: Any) -> float:
        return float(np.abs(np.asarray(a) - np.asarray(b)).max())

    common = {name: seen[name] for name in ("images", "image_mask", "noise")}
    words = {"token_ids": ids, "token_mask": mask}
    raw = infer(place, checkpoint, **common, **words, state=np.zeros(16))
    assert np.abs(raw).max() > 0.5
    actions = infer(place, checkpoint, **common, prompt=seen["prompt"], state=seen["state"])
    found = {
        "normalized chunk": farthest(raw[:, :14], other["normalized"]),
        "actions": farthest(actions, other["actions"]),
        "loss": farthest(loss(checkpoint, seen, ids, mask), other["loss"]),
    }
    assert found["normalized chunk"] < 1e-4 and found["actions"] < 2e-4, found
    assert found["loss"] < 5e-5, found
    return found


@torch.no_grad()
def loss(checkpoint: Path, seen: Arrays, ids: Any, mask: Any) -> Any:
    """Of one training step with the target."""
    model = read_checkpoint(checkpoint).load_network("cpu")
    images = torch.from_numpy(seen["images"])[None].permute(0, 1, 4, 2, 3).float() / 255 * 2 - 1
    made = model.loss(
        images, torch.from_numpy(seen["image_mask"])[None], torch.from_numpy(ids)[None],
        torch.from_numpy(mask)[None], torch.zeros(1, 16), torch.from_numpy(seen["target"])[None],
        torch.from_numpy(seen["noise"])[None], torch.from_numpy(seen["time"]),
    )  # fmt: skip
    return made.flow.numpy()


@pytest.mark.parametrize("actions", ["absolute", "relative"])
def test_its_policy_opens_what_we_write(actions: str, place: Path, report: dict[str, Any]) -> None:
    ours, folder = exported(place, actions == "relative")
    found = compare(place, ours, theirs(folder, place))
    report[f"pi0.5 of ours, {actions} actions"] = found


def test_we_open_the_policy_that_it_writes(place: Path, report: dict[str, Any]) -> None:
    _, template = exported(place, False)
    folder, back = place / "saved", place / "back"
    judge("save", template, folder, place / "sizes.json", place / "tokenizer.json")
    command = ["convert", "--from", "lerobot", str(folder), str(back), *FACTS]
    assert main([*command, "--tokenizer", str(place / "tokenizer.json")]) == 0
    report["pi0.5 of LeRobot's"] = compare(place, back, theirs(folder, place))
