# SPDX-License-Identifier: Apache-2.0
"""pi0.5 from openpi (JAX, PyTorch) and LeRobot and back, told from pi0 by its tensors alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import foreign
import numpy as np
import policy_support as support
import pytest
import samples
import torch
from safetensors.torch import load_file, save_file

from adamoe_ros.cli.main import main
from adamoe_ros.contract.errors import ContractError, Problems
from adamoe_ros.model.conditioning import SamplingOptions
from adamoe_ros.model.config import ModelConfig, MoEConfig, VisionConfig, adamoe_pi05, pi05, tiny
from adamoe_ros.model.policy_model import AdaMoEPolicy
from adamoe_ros.policy.checkpoint import read_checkpoint
from adamoe_ros.policy.checkpoint_formats.exporting import _table, export_checkpoint
from adamoe_ros.policy.checkpoint_formats.foreign_checkpoint import model_config
from adamoe_ros.policy.checkpoint_formats.metadata import CheckpointMetadata
from adamoe_ros.policy.checkpoint_formats.openpi_jax import adamoe_rules, dense_rules
from adamoe_ros.policy.checkpoint_formats.openpi_torch import open_torch
from adamoe_ros.policy.checkpoint_formats.rules import assembled, wanted_shape
from adamoe_ros.policy.checkpoint_formats.sources import open_safetensors, whole
from adamoe_ros.policy.compatibility import mismatches

FACTS = [
    "--control-rate", 50, "--embodiment", "vx300s_dual", "--state-source", "measured",
    "--gripper-open", 1, "--gripper-closed", 0,
    "--joints", "left*6,left_gripper,right*6,right_gripper",
]  # fmt: skip
MEANING = {"normalization": "quantile", "prompt_style": "openpi", "prompt_state": "joints"}


def sizes(architecture: str = "pi05", moe: MoEConfig | None = None) -> ModelConfig:
    vision = VisionConfig(image_size=(28, 28), width=144, depth=2, heads=2, mlp=24)
    return replace(
        tiny(), architecture=architecture, moe=moe or MoEConfig(), vision=vision,
        action_dim=16, state_dim=16, prompt_length=200 if architecture == "pi05" else 48,
    )  # fmt: skip


@pytest.fixture(scope="module")
def model() -> AdaMoEPolicy:
    return samples.policy(sizes())


def convert(*arguments: object) -> int:
    return main(["convert", *map(str, arguments)])


def assert_weights(folder: Path, model: AdaMoEPolicy) -> None:
    found, expected = open_safetensors(folder), model.state_dict()
    assert set(found) == set(expected)
    assert all(torch.equal(found[name].read(), values) for name, values in expected.items())


def symbols(config: ModelConfig) -> dict[str, int]:
    vision, prefix, expert, moe = config.vision, config.prefix, config.expert, config.moe
    wide = expert.width + (moe.num_experts if moe.variant == "csmoe" else 0)
    return {
        "patch": vision.patch, "tokens": vision.tokens, "vision": vision.width,
        "vision_layers": vision.depth, "vision_mlp": vision.mlp, "vision_heads": vision.heads,
        "vision_head": vision.width // vision.heads, "prefix": prefix.width,
        "layers": prefix.depth, "prefix_mlp": prefix.mlp, "heads": prefix.heads,
        "kv_heads": prefix.kv_heads, "head": prefix.head_dim, "vocab": prefix.vocab,
        "expert": expert.width, "expert_mlp": expert.mlp, "state": config.state_dim,
        "action": config.action_dim, "experts": moe.num_experts, "seen": wide,
    }  # fmt: skip


def jax_leaves(model: AdaMoEPolicy) -> dict[str, np.ndarray]:
    config = model.config
    rules = dense_rules(config.architecture)
    if config.moe.variant != "dense":
        rules = adamoe_rules(config.moe.variant != "vanilla", config.architecture)
    ours, known = model.state_dict(), symbols(config)
    return {r.source: assembled(r, ours, known, torch.float32).numpy() for r in rules}


@pytest.mark.parametrize("layout", ["npz", "orbax"])
@pytest.mark.parametrize("variant", ["dense", "adamoe", "csmoe", "vanilla"])
def test_jax_leaves(layout: str, variant: str, tmp_path: Path) -> None:
    moe = MoEConfig() if variant == "dense" else MoEConfig(variant, 4, 2)
    made = samples.policy(sizes(moe=moe))
    leaves = jax_leaves(made)
    if layout == "npz":
        source = foreign.write_npz(tmp_path / "a.npz", leaves)
    else:  # a folder with another name than openpi's converter wants to see
        source = foreign.write_orbax(tmp_path / "my_pi0/params", leaves).parent
    name = "openpi-jax" if variant == "dense" else "adamoe-jax"
    options = ["--horizon", 6, "--top-k", 2]
    assert convert("--from", name, source, tmp_path / "ours", *options) == 0
    assert_weights(tmp_path / "ours", made)
    checkpoint = read_checkpoint(tmp_path / "ours")
    assert checkpoint.config == made.config
    manifest = checkpoint.manifest
    assert (manifest.architecture, manifest.normalization) == ("pi05", "quantile")
    assert manifest.normalization_eps == 1e-6
    assert manifest.raw_only and manifest.prompt_state is None
    assert "prompt_state" in manifest.provenance.notes


def test_leaves_at_full_size() -> None:
    def shapes(rules, config):
        return {rule.source: wanted_shape(rule, symbols(config)) for rule in rules}

    dense = shapes(dense_rules("pi05"), pi05())
    mixed = shapes(adamoe_rules(True, "pi05"), adamoe_pi05())
    assert (len(dense), len(mixed)) == (51, 55)
    count = {
        n: sum(torch.Size(s).numel() for s in t.values()) for n, t in enumerate((dense, mixed))
    }
    assert count == {0: 3_353_433_872, 1: 4_259_550_992}
    llm = "PaliGemma/llm"
    expected = {
        f"{llm}/layers/pre_attention_norm_1/Dense_0/kernel": (18, 1024, 3072),
        f"{llm}/layers/pre_ffw_norm_1/Dense_0/bias": (18, 3072),
        f"{llm}/layers/pre_ffw_norm/scale": (18, 2048),
        f"{llm}/final_norm_1/Dense_0/kernel": (1024, 3072),
        f"{llm}/final_norm_1/Dense_0/bias": (3072,),
        "time_mlp_in/kernel": (1024, 1024),
        "time_mlp_out/bias": (1024,),
    }
    assert {name: dense[name] for name in expected} == expected
    assert "state_proj/kernel" not in dense and f"{llm}/final_norm_1/scale" not in dense


@pytest.mark.parametrize(("layout", "entries"), [("openpi-torch", 812), ("lerobot", 813)])
def test_names_at_full_size(layout: str, entries: int) -> None:
    rules, known = _table(layout, pi05())
    shapes = {rule.source: wanted_shape(rule, known) for rule in rules}
    assert len(shapes) == entries
    start = "model." if layout == "lerobot" else ""
    expert = f"{start}paligemma_with_expert.gemma_expert.model"
    assert shapes[f"{expert}.layers.17.input_layernorm.dense.weight"] == (3072, 1024)
    assert shapes[f"{expert}.layers.0.post_attention_layernorm.dense.bias"] == (3072,)
    assert shapes[f"{expert}.norm.dense.weight"] == (3072, 1024)
    assert shapes[f"{start}time_mlp_in.weight"] == (1024, 1024)

    def unread() -> torch.Tensor:
        raise AssertionError("nothing is to be read")

    tensors = {name: whole(shape, torch.bfloat16, unread) for name, shape in shapes.items()}
    metadata, problems = CheckpointMetadata(), Problems()
    slots = ("base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb")
    metadata.set("test", horizon=50, prompt_length=200, flow_steps=10, camera_slots=slots)
    found = open_torch(Path("full"), tensors, metadata, {})
    found.check(problems)
    assert problems.lines == []
    assert model_config(found, "float32", 0.5, problems) == pi05()


def test_openpi_torch_there_and_back(model: AdaMoEPolicy, tmp_path: Path) -> None:
    ours = support.write_dense(tmp_path / "ours", model, architecture="pi05", **MEANING)
    assert convert("--to", "openpi-torch", ours, tmp_path / "theirs") == 0
    names = load_file(tmp_path / "theirs/model.safetensors")
    assert "time_mlp_in.weight" in names and "state_proj.weight" not in names
    assert convert("--from", "openpi-torch", tmp_path / "theirs", tmp_path / "back") == 0
    assert_weights(tmp_path / "back", model)
    assert read_checkpoint(tmp_path / "back").config == model.config


def test_progress_of_an_export_ends_with_the_last_byte(model: AdaMoEPolicy, tmp_path: Path) -> None:
    """LeRobot's files hold the embedding twice."""
    ours = support.write_dense(tmp_path / "ours", model, architecture="pi05", **MEANING)
    totals, parts = [], []

    def begin(total: int):
        totals.append(total)
        return parts.append

    export_checkpoint(ours, "lerobot", tmp_path / "theirs", begin=begin)
    assert totals == [sum(parts)]


@pytest.mark.parametrize("relative", ["none", "joints"])
def test_lerobot_there_and_back(relative: str, model: AdaMoEPolicy, tmp_path: Path) -> None:
    joints = tuple(
        joint.model_copy(update={"representation": "relative"})
        if relative == "joints" and joint.kind != "gripper"
        else joint
        for joint in support.manifest().joints
    )
    ours = support.write_dense(
        tmp_path / "ours", model, architecture="pi05", joints=joints, **MEANING
    )
    theirs = tmp_path / "theirs"
    assert convert("--to", "lerobot", ours, theirs) == 0
    settings = json.loads((theirs / "config.json").read_text())
    assert (settings["type"], settings["tokenizer_max_length"]) == ("pi05", 200)
    assert settings["normalization_mapping"]["STATE"] == "QUANTILES"
    steps = json.loads((theirs / "policy_preprocessor.json").read_text())["steps"]
    assert [step["registry_name"] for step in steps] == [
        "rename_observations_processor", "to_batch_processor", "relative_actions_processor",
        "normalizer_processor", "pi05_prepare_state_tokenizer_processor_step",
        "tokenizer_processor", "device_processor",
    ]  # fmt: skip
    assert steps[3]["state_file"] == "policy_preprocessor_step_3_normalizer_processor.safetensors"
    known = [*FACTS, "--prompt-state", "joints"]
    assert convert("--from", "lerobot", theirs, tmp_path / "back", *known) == 0
    assert_weights(tmp_path / "back", model)
    before, after = read_checkpoint(ours), read_checkpoint(tmp_path / "back")
    assert after.config == before.config
    same = {"provenance", "normalization_eps"}
    assert after.manifest.model_dump(exclude=same) == before.manifest.model_dump(exclude=same)
    state = np.random.default_rng(0).normal(size=14)
    first, second = before.vectors().prompt_state(state), after.vectors().prompt_state(state)
    np.testing.assert_allclose(first, second, rtol=0, atol=2e-6)


def test_lerobots_state_width_is_asked_for(
    model: AdaMoEPolicy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = support.write_dense(tmp_path / "ours", model, architecture="pi05", **MEANING)
    assert convert("--to", "lerobot", ours, tmp_path / "theirs") == 0
    capsys.readouterr()
    assert convert("--from", "lerobot", tmp_path / "theirs", tmp_path / "back", *FACTS) == 0
    said = capsys.readouterr().out
    assert "prompt_state: unknown  (--prompt-state none|joints|padded tells it)" in said
    assert "raw-only" in said
    manifest = read_checkpoint(tmp_path / "back").manifest
    assert manifest.raw_only and manifest.prompt_state is None
    paths = ["--inputs", str(tmp_path / "in.npz"), "--out", str(tmp_path / "out.npz")]
    np.savez(
        tmp_path / "in.npz", images=np.zeros((3, 28, 28, 3), np.uint8), state=np.zeros(14),
        prompt="lift the bar",
    )  # fmt: skip
    assert main(["infer", "--checkpoint", str(tmp_path / "back"), *paths]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "a raw-only checkpoint (unknown: prompt_state)" in line
    assert "(unknown: prompt_state)" in mismatches(None, manifest)[0]


@pytest.mark.parametrize("word", ["none", "padded"])
def test_prompts_that_lerobot_does_not_make_are_refused(
    word: str, model: AdaMoEPolicy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    meaning = {**MEANING, "prompt_state": word}
    ours = support.write_dense(tmp_path / "ours", model, architecture="pi05", **meaning)
    assert convert("--to", "lerobot", ours, tmp_path / "theirs") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "prompt_state: expected joints" in line and f"got {word}" in line


def written(tmp_path: Path, architecture: str) -> Path:
    """LeRobot's folder of one of the two."""
    network = samples.policy(sizes(architecture))
    meaning = MEANING if architecture == "pi05" else {"prompt_style": "lerobot"}
    ours = support.write_dense(
        tmp_path / f"ours_{architecture}", network, architecture=architecture, **meaning
    )
    theirs = tmp_path / architecture
    assert convert("--to", "lerobot", ours, theirs) == 0
    return theirs


@pytest.mark.parametrize(("is_", "called"), [("pi0", "pi05"), ("pi05", "pi0")])
def test_settings_of_the_other_are_refused(
    is_: str, called: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = written(tmp_path, is_)
    path = theirs / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "type": called}))
    capsys.readouterr()
    assert convert("--from", "lerobot", theirs, tmp_path / "back", *FACTS) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"type: expected '{is_}', which its tensors are, got '{called}'" in line


@pytest.mark.parametrize(("is_", "called"), [("pi0", "pi05"), ("pi05", "pi0")])
def test_a_folder_of_ours_called_the_other_is_refused(
    is_: str, called: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network, folder = samples.policy(sizes(is_)), tmp_path / "ours"
    support.write_dense(folder, network, architecture=is_, **MEANING if is_ == "pi05" else {})
    for name in ("config.json", "manifest.json"):
        settings = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**settings, "architecture": called}))
    for words in (["upcycle", folder, tmp_path / "o"], ["convert", "--to", "lerobot", folder, "o"]):
        assert main([*map(str, words)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"architecture: expected {is_}, which the tensors are, got {called}" in line


def test_pi0_has_no_state_in_its_prompt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = written(tmp_path, "pi0")
    capsys.readouterr()
    known = [*FACTS, "--prompt-state", "joints"]
    assert convert("--from", "lerobot", theirs, tmp_path / "back", *known) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "prompt_state: expected none" in line and "got joints" in line
    path = tmp_path / "ours_pi0/manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "prompt_state": "padded"}))
    with pytest.raises(ContractError, match=r"prompt_state: expected none.* got padded"):
        read_checkpoint(tmp_path / "ours_pi0")


@pytest.mark.parametrize("width", ["wide", [16], 14.5, True])
def test_a_state_width_that_is_no_whole_number(
    width: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = written(tmp_path, "pi05")
    path = theirs / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "max_state_dim": width}))
    capsys.readouterr()
    known = [*FACTS, "--prompt-state", "padded"]
    assert convert("--from", "lerobot", theirs, tmp_path / "back", *known) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "state_dim: expected a whole number" in line and repr(width) in line


@pytest.mark.parametrize("key", ["use_visual_memory", "use_proprioceptive_memory"])
def test_memory_is_refused(key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = written(tmp_path, "pi05")
    path = theirs / "config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, key: False, "memory_length": 4}))
    known = [*FACTS, "--prompt-state", "joints"]
    assert convert("--from", "lerobot", theirs, tmp_path / "off", *known) == 0
    path.write_text(json.dumps({**settings, key: True}))
    capsys.readouterr()
    assert convert("--from", "lerobot", theirs, tmp_path / "on", *known) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{key}: expected False, got True" in line


@pytest.mark.parametrize("layout", ["openpi-jax", "openpi-torch"])
def test_mixed_tensors_are_refused(
    layout: str, model: AdaMoEPolicy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = samples.policy(sizes("pi0"))
    if layout == "openpi-jax":
        leaves = jax_leaves(model)
        leaves["state_proj/kernel"] = jax_leaves(other)["state_proj/kernel"]
        source = foreign.write_npz(tmp_path / "mixed.npz", leaves)
    else:
        ours = support.write_dense(tmp_path / "ours", model, architecture="pi05", **MEANING)
        source = tmp_path / "mixed"
        assert convert("--to", "openpi-torch", ours, source) == 0
        tensors = load_file(source / "model.safetensors")
        tensors["action_time_mlp_in.weight"] = torch.zeros(24, 48)
        save_file(tensors, source / "model.safetensors")
    capsys.readouterr()
    assert convert("--from", layout, source, tmp_path / "o", "--horizon", 6) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "expected tensors of pi0 or of pi0.5, got both" in line


def test_transformers_has_no_pi05(
    model: AdaMoEPolicy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = support.write_dense(tmp_path / "ours", model, architecture="pi05", **MEANING)
    assert convert("--to", "transformers", ours, tmp_path / "theirs") == 2
    assert "transformers has no pi0.5" in capsys.readouterr().err


def test_a_constant_joint_is_a_decision(
    model: AdaMoEPolicy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stats = json.loads(support.statistics().to_json())
    stats["norm_stats"]["state"]["q99"][3] = stats["norm_stats"]["state"]["q01"][3]
    (tmp_path / "stats.json").write_text(json.dumps(stats))
    source = foreign.write_npz(tmp_path / "a.npz", jax_leaves(model))
    known = [*FACTS, "--horizon", 6, "--statistics", tmp_path / "stats.json"]
    assert convert("--from", "openpi-jax", source, tmp_path / "ours", *known) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "state: q99 - q01" in line and "at [3]" in line and "--allow-constant" in line
    assert not (tmp_path / "ours").exists()
    known.append("--allow-constant")
    assert convert("--from", "openpi-jax", source, tmp_path / "ours", *known) == 0
    assert read_checkpoint(tmp_path / "ours").manifest.allow_constant


def test_infer_gives_the_networks_samples(model: AdaMoEPolicy, tmp_path: Path) -> None:
    source = foreign.write_npz(tmp_path / "a.npz", jax_leaves(model))
    assert convert("--from", "openpi-jax", source, tmp_path / "ours", "--horizon", 6) == 0
    generator = np.random.default_rng(0)
    given = {
        "images": generator.integers(0, 256, (3, 28, 28, 3), dtype=np.uint8),
        "state": np.zeros(16),
        "token_ids": np.arange(1, 150) % 60 + 1,
        "noise": generator.normal(size=(6, 16)).astype(np.float32),
    }
    np.savez(tmp_path / "in.npz", **given)
    paths = ["--inputs", str(tmp_path / "in.npz"), "--out", str(tmp_path / "out.npz")]
    assert main(["infer", "--raw", "--checkpoint", str(tmp_path / "ours"), *paths]) == 0
    images = torch.from_numpy(given["images"])[None].permute(0, 1, 4, 2, 3).float() / 255 * 2 - 1
    ids = torch.zeros(1, 200, dtype=torch.long)
    ids[0, :149] = torch.from_numpy(given["token_ids"])
    sample = model.sample(
        images, torch.ones(1, 3).bool(), ids, torch.arange(200)[None] < 149,
        torch.full((1, 16), 9.0), torch.from_numpy(given["noise"])[None], SamplingOptions(10),
    )  # fmt: skip
    with np.load(tmp_path / "out.npz") as found:
        np.testing.assert_allclose(found["actions"], sample.actions[0], rtol=0, atol=2e-5)
