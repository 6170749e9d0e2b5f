# SPDX-License-Identifier: Apache-2.0
"""PyTorch checkpoints of transformers, openpi and LeRobot: there, back, and at full size."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import policy_support as support
import pytest
import samples
import torch
from safetensors.torch import load_file, save_file
from transformers import PI0Config, PI0ForConditionalGeneration

from adamoe_ros.cli.main import main
from adamoe_ros.contract.errors import Problems
from adamoe_ros.model.conditioning import SamplingOptions
from adamoe_ros.model.config import ModelConfig, MoEConfig, VisionConfig, pi0, tiny
from adamoe_ros.model.policy_model import AdaMoEPolicy
from adamoe_ros.policy.checkpoint import read_checkpoint
from adamoe_ros.policy.checkpoint_formats import openpi_torch
from adamoe_ros.policy.checkpoint_formats.foreign_checkpoint import model_config
from adamoe_ros.policy.checkpoint_formats.metadata import CheckpointMetadata
from adamoe_ros.policy.checkpoint_formats.openpi_torch import EMBED, EXPERT_HEAD, LM_HEAD
from adamoe_ros.policy.checkpoint_formats.sources import open_safetensors, whole

SLOTS = ("base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb")
CAMERAS = ["--cameras", ",".join(SLOTS)]


def dense() -> ModelConfig:
    """SigLIP's width per head and one key head, which openpi's files cannot say."""
    vision = VisionConfig(image_size=(28, 28), width=144, depth=2, heads=2, mlp=24)
    return replace(tiny(), moe=MoEConfig(), vision=vision, prompt_length=48)


@pytest.fixture(scope="module")
def model() -> AdaMoEPolicy:
    return samples.policy(dense())


def convert(*arguments: object) -> int:
    return main(["convert", *map(str, arguments)])


def assert_weights(folder: Path, model: AdaMoEPolicy) -> None:
    found = open_safetensors(folder)
    expected = model.state_dict()
    assert set(found) == set(expected)
    assert all(torch.equal(found[name].read(), values) for name, values in expected.items())


FORMS = {
    "names for other code": {},
    "its own names": {"save_original_format": False},
    "shards": {"max_shard_size": "50KB"},
}


@pytest.mark.parametrize("form", FORMS)
def test_what_transformers_writes_is_read(form: str, tmp_path: Path, model: AdaMoEPolicy) -> None:
    oracle.build(model).save_pretrained(tmp_path / "theirs", **FORMS[form])
    assert (len(list((tmp_path / "theirs").glob("*.safetensors"))) > 1) == (form == "shards")
    assert convert("--from", "transformers", tmp_path / "theirs", tmp_path / "ours", *CAMERAS) == 0
    assert_weights(tmp_path / "ours", model)
    assert read_checkpoint(tmp_path / "ours").config == model.config


@torch.no_grad()
def test_transformers_reads_what_we_write(tmp_path: Path, model: AdaMoEPolicy) -> None:
    ours = support.write_dense(tmp_path / "ours", model)
    assert convert("--to", "transformers", ours, tmp_path / "theirs") == 0
    found, report = PI0ForConditionalGeneration.from_pretrained(
        tmp_path / "theirs", output_loading_info=True, attn_implementation="eager"
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    theirs = dict(found.named_parameters())
    for name, values in theirs.items():
        our = oracle.our_name(name, model.config)
        if our is not None:
            assert torch.equal(values, model.state_dict()[our].reshape(values.shape)), name
    inputs = samples.inputs(model.config, [[1, 0, 1]], [4])
    noise = samples.chunk(model.config, 1)
    expected = found.eval().sample_actions(**oracle.arguments(model, inputs), noise=noise)
    actual = model.sample(**inputs, noise=noise, options=SamplingOptions(10)).actions
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)
    assert convert("--from", "transformers", tmp_path / "theirs", tmp_path / "b", *CAMERAS) == 0
    assert_weights(tmp_path / "b", model)


@pytest.mark.parametrize("embedding", ["tied to the LM head", "under its own name", "both"])
def test_openpi_and_both_places_of_the_embedding(
    embedding: str, tmp_path: Path, model: AdaMoEPolicy
) -> None:
    ours = support.write_dense(tmp_path / "ours", model)
    theirs = tmp_path / "theirs"
    assert convert("--to", "openpi-torch", ours, theirs) == 0
    tensors = load_file(theirs / "model.safetensors")
    assert LM_HEAD in tensors and EXPERT_HEAD in tensors and EMBED not in tensors
    if embedding != "tied to the LM head":
        tensors[EMBED] = tensors.pop(LM_HEAD)
    if embedding == "both":  # LeRobot's may differ: only the embedding counts
        tensors[LM_HEAD] = torch.zeros_like(tensors[EMBED])
    save_file(tensors, theirs / "model.safetensors")
    assert convert("--from", "openpi-torch", theirs, tmp_path / "back") == 0
    assert_weights(tmp_path / "back", model)
    checkpoint = read_checkpoint(tmp_path / "back")
    assert checkpoint.config == model.config
    assert checkpoint.manifest.camera_slots == SLOTS
    assert (checkpoint.manifest.prompt_style, checkpoint.manifest.adapt_to_pi) == ("openpi", None)


FACTS = [
    "--control-rate", 50, "--embodiment", "vx300s_dual", "--state-source", "measured",
    "--gripper-open", 1, "--gripper-closed", 0,
    "--joints", "left*6,left_gripper,right*6,right_gripper",
]  # fmt: skip


@pytest.mark.parametrize("eps", [1e-8, 1e-6])
@pytest.mark.parametrize("method", ["mean_std", "quantile"])
@pytest.mark.parametrize("relative", ["none", "joints", "all"])
def test_lerobot_there_and_back(
    relative: str, method: str, eps: float, tmp_path: Path, wide: AdaMoEPolicy
) -> None:
    kinds = {"none": "absolute", "all": "relative"}
    joints = tuple(
        joint.model_copy(
            update={
                "representation": kinds.get(relative)
                or ("absolute" if joint.kind == "gripper" else "relative")
            }
        )
        for joint in support.manifest().joints
    )
    ours = support.write_dense(
        tmp_path / "ours", wide,
        joints=joints, normalization=method, normalization_eps=eps, prompt_style="lerobot",
    )  # fmt: skip
    assert convert("--to", "lerobot", ours, tmp_path / "theirs") == 0
    names = load_file(tmp_path / "theirs/model.safetensors").keys()
    assert all(name.startswith("model.") for name in names)
    assert {f"model.{EMBED}", f"model.{LM_HEAD}", f"model.{EXPERT_HEAD}"} <= names
    assert convert("--from", "lerobot", tmp_path / "theirs", tmp_path / "back", *FACTS) == 0
    assert_weights(tmp_path / "back", wide)
    before, after = read_checkpoint(ours), read_checkpoint(tmp_path / "back")
    assert after.config == before.config
    same = {"provenance", "normalization_eps"}
    assert after.manifest.model_dump(exclude=same) == before.manifest.model_dump(exclude=same)
    random = np.random.default_rng(0)
    state, actions = random.normal(size=14), random.normal(size=(6, 14))
    spaces = before.vectors(), after.vectors()
    states = [space.encode_state(state) for space in spaces]
    chunks = [space.encode_actions(actions, state) for space in spaces]
    back = [space.decode_actions(chunks[0], state) for space in spaces]
    for first, second in (states, chunks, back):
        np.testing.assert_allclose(first, second, rtol=0, atol=2e-6)


@pytest.fixture(scope="module")
def wide() -> AdaMoEPolicy:
    return samples.policy(replace(dense(), action_dim=16, state_dim=16))


def test_lerobot_without_processors_is_raw_only(tmp_path: Path, wide: AdaMoEPolicy) -> None:
    ours = support.write_dense(tmp_path / "ours", wide, raw_only=True)
    assert convert("--to", "lerobot", ours, tmp_path / "theirs") == 0
    assert not list((tmp_path / "theirs").glob("policy_*"))
    assert convert("--from", "lerobot", tmp_path / "theirs", tmp_path / "back", *FACTS) == 0
    manifest = read_checkpoint(tmp_path / "back").manifest
    assert manifest.raw_only
    assert manifest.adapt_to_pi is None and manifest.normalization is None
    assert "relative" in manifest.provenance.notes


def test_lerobot_0_4_layout_of_pi0_base(tmp_path: Path, wide: AdaMoEPolicy) -> None:
    """No prefix, the embedding under the LM head only, an empty camera, an old step number."""
    ours = support.write_dense(tmp_path / "ours", wide, prompt_style="lerobot")
    theirs = tmp_path / "theirs"
    assert convert("--to", "lerobot", ours, theirs) == 0
    tensors = load_file(theirs / "model.safetensors")
    del tensors[f"model.{EMBED}"]
    tensors = {name.removeprefix("model."): values for name, values in tensors.items()}
    for end in ("in", "out"):
        for leaf in ("weight", "bias"):
            tensors[f"time_mlp_{end}.{leaf}"] = tensors.pop(f"action_time_mlp_{end}.{leaf}")
    save_file(tensors, theirs / "model.safetensors")
    settings = json.loads((theirs / "config.json").read_text())
    features = settings["input_features"]
    features["observation.images.empty_camera_0"] = {"type": "VISUAL", "shape": [3, 28, 28]}
    settings |= {"a_key_of_another_version": 1, "empty_cameras": 1}
    (theirs / "config.json").write_text(json.dumps(settings))
    pipeline = json.loads((theirs / "policy_preprocessor.json").read_text())
    steps = [s for s in pipeline["steps"] if s["registry_name"] != "relative_actions_processor"]
    moved = theirs / "policy_preprocessor_step_5_normalizer_processor.safetensors"
    (theirs / steps[-1]["state_file"]).rename(moved)
    steps[-1]["state_file"] = moved.name
    (theirs / "policy_preprocessor.json").write_text(json.dumps({**pipeline, "steps": steps}))
    assert convert("--from", "lerobot", theirs, tmp_path / "back", *FACTS) == 0
    assert_weights(tmp_path / "back", wide)
    checkpoint = read_checkpoint(tmp_path / "back")
    assert checkpoint.manifest.camera_slots == support.SLOTS
    assert not any(joint.representation == "relative" for joint in checkpoint.manifest.joints)


def test_a_step_of_unknown_effect_is_refused(
    tmp_path: Path, wide: AdaMoEPolicy, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = support.write_dense(tmp_path / "ours", wide, prompt_style="lerobot")
    theirs = tmp_path / "theirs"
    assert convert("--to", "lerobot", ours, theirs) == 0
    path = theirs / "policy_preprocessor.json"
    tree: dict[str, Any] = json.loads(path.read_text())
    tree["steps"].insert(3, {"registry_name": "mirror_the_arms", "config": {}})
    path.write_text(json.dumps(tree))
    assert convert("--from", "lerobot", theirs, tmp_path / "back", *FACTS) == 2
    assert "mirror_the_arms" in capsys.readouterr().err
    assert not (tmp_path / "back").exists()


def test_what_lerobot_cannot_express_is_refused(
    tmp_path: Path, wide: AdaMoEPolicy, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = support.write_dense(tmp_path / "ours", wide, adapt_to_pi="openpi", prompt_style="plain")
    assert convert("--to", "lerobot", ours, tmp_path / "theirs") == 2
    error = capsys.readouterr().err
    assert "adapt_to_pi" in error and "prompt_style" in error
    assert not (tmp_path / "theirs").exists()


def test_settings_that_we_cannot_compute_are_refused(
    tmp_path: Path, model: AdaMoEPolicy, capsys: pytest.CaptureFixture[str]
) -> None:
    oracle.build(model).save_pretrained(tmp_path / "theirs")
    path = tmp_path / "theirs/config.json"
    settings = json.loads(path.read_text()) | {"max_period": 8.0}
    settings["dit_config"]["rope_parameters"]["rope_theta"] = 1e6
    path.write_text(json.dumps(settings))
    capsys.readouterr()
    assert convert("--from", "transformers", tmp_path / "theirs", tmp_path / "o", *CAMERAS) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "max_period" in lines[0] and "dit_config.rope_parameters.rope_theta" in lines[1]


@pytest.mark.parametrize("layout", ["lerobot", "openpi-torch", "transformers"])
def test_a_mixture_has_no_place_elsewhere(
    layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = support.make_checkpoint(tmp_path / "ours", prompt_style="lerobot")
    assert convert("--to", layout, ours, tmp_path / "theirs") == 2
    assert "dense" in capsys.readouterr().err
    assert not (tmp_path / "theirs").exists()


def test_from_one_to_another(tmp_path: Path, model: AdaMoEPolicy) -> None:
    ours = support.write_dense(tmp_path / "ours", model)
    assert convert("--to", "openpi-torch", ours, tmp_path / "a") == 0
    arguments = ["--from", "openpi-torch", "--to", "transformers"]
    assert convert(*arguments, tmp_path / "a", tmp_path / "b") == 0
    assert convert("--from", "transformers", tmp_path / "b", tmp_path / "c", *CAMERAS) == 0
    assert_weights(tmp_path / "c", model)
    assert {path.name for path in tmp_path.iterdir()} == {"ours", "a", "b", "c"}


def opened(shapes: dict[str, tuple[int, ...]], metadata: CheckpointMetadata) -> Any:
    def unread() -> torch.Tensor:
        raise AssertionError("read")

    tensors = {name: whole(shape, torch.bfloat16, unread) for name, shape in shapes.items()}
    return openpi_torch.open_torch(Path("full"), tensors, metadata, {})


def full_size_names() -> dict[str, tuple[int, ...]]:
    """Of transformers' own pi0, without allocating it."""
    with torch.device("meta"):
        network = PI0ForConditionalGeneration(PI0Config())
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


@pytest.mark.parametrize("form", ["777", "777 with prefix", "778", "776", "transformers"])
def test_names_at_full_size(form: str) -> None:
    """777 in openpi's files and pi0_base; 778 in LeRobot's; 776 where no unused head is stored."""
    theirs = full_size_names()
    assert len(theirs) == 777
    spelled = openpi_torch.canonical_names(theirs)
    names = {spelled[name]: shape for name, shape in theirs.items()}
    names[EXPERT_HEAD] = names.pop("paligemma_with_expert.gemma_expert.model.embed_tokens.weight")
    tied = {LM_HEAD if name == EMBED else name: shape for name, shape in names.items()}
    shapes = {
        "777": tied,
        "777 with prefix": {f"model.{name}": shape for name, shape in tied.items()},
        "778": {f"model.{n}": shape for n, shape in (tied | {EMBED: tied[LM_HEAD]}).items()},
        "776": {name: shape for name, shape in names.items() if name != EXPERT_HEAD},
        "transformers": theirs,
    }[form]
    assert len(shapes) == int(form.split()[0] if form != "transformers" else 777)
    metadata, problems = CheckpointMetadata(), Problems()
    metadata.set("test", horizon=50, prompt_length=48, flow_steps=10, camera_slots=SLOTS)
    found = opened(shapes, metadata)
    found.check(problems)
    assert problems.lines == []
    assert model_config(found, "float32", 0.5, problems) == pi0()
    used = sum(torch.Size(tensor.shape).numel() for _, tensor in found.used())
    assert used == 3_238_048_528
