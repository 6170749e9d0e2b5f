# SPDX-License-Identifier: Apache-2.0
"""A conversion needs the memory of its largest tensor group, whatever the size of the model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import foreign
import numpy as np
import torch

from adamoe_ros.policy.checkpoint_formats.openpi_jax import adamoe_rules
from adamoe_ros.policy.checkpoint_formats.openpi_torch import EXPERT_HEAD, LM_HEAD, torch_rules
from adamoe_ros.policy.checkpoint_formats.orbax_source import _Store, open_orbax
from adamoe_ros.policy.checkpoint_formats.rules import Rule, expanded, wanted_shape
from adamoe_ros.policy.checkpoint_formats.sources import open_safetensors
from adamoe_ros.policy.tensor_file import TensorSpec, write_tensors

SCRIPT = Path(__file__).with_name("convert_memory.py")
SIZES = {
    "patch": 14, "tokens": 4, "vision": 72, "vision_layers": 1, "vision_heads": 1,
    "vision_head": 72, "vision_mlp": 64, "prefix": 256, "layers": 8, "heads": 8, "head": 32,
    "kv_heads": 1, "queries": 256, "keys": 32, "prefix_mlp": 4096, "expert": 128,
    "expert_mlp": 1536, "vocab": 30000, "state": 32, "action": 32, "experts": 8, "seen": 128,
}  # fmt: skip
SMALL = SIZES | {"layers": 1, "prefix_mlp": 64, "expert_mlp": 64, "vocab": 64}
BLOCK = np.random.default_rng(0).standard_normal(1 << 20).astype(np.float32)


def shape_of(rule: Rule, sizes: dict[str, int]) -> tuple[int, ...]:
    return tuple(size or 0 for size in wanted_shape(rule, sizes))


def write_orbax(folder: Path, sizes: dict[str, int]) -> Path:
    rules = adamoe_rules(adapter=True)
    arrays = {r.source: np.resize(BLOCK, shape_of(r, sizes)) for r in rules}
    foreign.write_orbax(folder / "params", arrays)
    return folder


def write_openpi(folder: Path, sizes: dict[str, int]) -> Path:
    rules = [*expanded(torch_rules(LM_HEAD), sizes), Rule(EXPERT_HEAD, ("vocab", "expert"), ())]
    specs = {r.source: TensorSpec(shape_of(r, sizes), torch.float32) for r in rules}
    folder.mkdir()
    values = ((n, torch.from_numpy(np.resize(BLOCK, s.shape))) for n, s in specs.items())
    write_tensors(folder / "model.safetensors", specs, values)
    return folder


def growth(folder: Path, small: Path, large: Path, *options: str) -> int:
    """Bytes."""
    places = (small, folder / "small_out", large, folder / "out")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, places), *options],
        env={**os.environ, "MALLOC_ARENA_MAX": "2"},
        capture_output=True, text=True, timeout=240, check=True,
    )  # fmt: skip
    return int(done.stdout.splitlines()[-1])


def test_stacked_layers_of_an_orbax_folder(tmp_path: Path) -> None:
    large = write_orbax(tmp_path / "large", SIZES)
    small = write_orbax(tmp_path / "small", SMALL)
    sizes = [tensor.nbytes for tensor in open_orbax(large / "params").values()]
    assert sum(sizes) > 2.5 * max(sizes)
    options = ["--from", "adamoe-jax", "--horizon", "6", "--top-k", "1", "--dtype", "bfloat16"]
    assert growth(tmp_path, small, large, *options) < 1.3 * max(sizes)
    assert _Store(large / "params").in_pieces


def test_tensors_of_a_safetensors_file(tmp_path: Path) -> None:
    deep = SIZES | {"layers": 14}
    large, small = write_openpi(tmp_path / "large", deep), write_openpi(tmp_path / "small", SMALL)
    sizes = [tensor.nbytes for tensor in open_safetensors(large).values()]
    assert sum(sizes) > 7 * max(sizes)
    options = ["--from", "openpi-torch", "--horizon", "6"]
    assert growth(tmp_path, small, large, *options) < 1.3 * max(sizes) + (32 << 20)
