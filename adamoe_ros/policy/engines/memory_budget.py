# SPDX-License-Identifier: Apache-2.0
"""Whether a network fits into a device's memory, said before anything is loaded."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.model.config import ModelConfig
from adamoe_ros.model.weights import parameter_shapes
from adamoe_ros.policy.engines.engine_settings import EngineSettings
from adamoe_ros.policy.engines.shapes import Shape

_WORKSPACE = 256 << 20  # bytes: CUDA context's libraries, cuBLAS workspaces
_MEMINFO = Path("/proc/meminfo")
_EXPERT_FFN = ("ffn.shared.", "ffn.experts.", "ffn.gate.", "ffn.up.", "ffn.down.")


def weight_bytes(config: ModelConfig, dtype: torch.dtype, int8: bool = False) -> int:
    """Of all parameters, as an engine holds them."""
    size, total = dtype.itemsize, 0
    for name, shape in parameter_shapes(config).items():
        small = int8 and name.startswith("expert.") and any(part in name for part in _EXPERT_FFN)
        total += math.prod(shape) * (1 if small else size)
    return total


def needed_bytes(
    config: ModelConfig, dtype: torch.dtype, settings: EngineSettings, shapes: list[Shape]
) -> int:
    """Most device memory that the captured engine takes: an estimate, slightly too high.

    Weights, two copies of the largest layer while it is laid out, keys and values of every shape,
    activations of the largest prefix, workspaces.
    """
    size, prefix, expert = dtype.itemsize, config.prefix, config.expert
    layer = (
        2
        * 3
        * size
        * max(prefix.width * prefix.mlp, expert.width * expert.mlp * (config.moe.num_experts + 1))
    )
    cache, activations = 0, 0
    for shape in shapes:
        tokens = shape.batch * (
            shape.prefix_tokens(config) + config.state_tokens + config.action_tokens
        )
        cache += 2 * size * prefix.depth * tokens * prefix.kv_heads * prefix.head_dim
        activations = max(activations, tokens * (3 * prefix.mlp + 8 * prefix.width) * size)
    weights = weight_bytes(config, dtype, settings.int8)
    return weights + layer + cache + activations + _WORKSPACE


def check_fits(needed: int, free: int, device: str) -> None:
    """Refuse a network that does not fit.

    Raises:
        ContractError: says the needed and the free bytes.
    """
    if needed > free:
        raise ContractError(
            problem(
                f"device {device}",
                f"{needed} free bytes ({needed / 1e9:.2f} GB) for weights, caches and workspaces",
                f"{free} ({free / 1e9:.2f} GB)",
                "free memory on the device, use bfloat16 or int8, or capture fewer shapes",
            )
        )


def free_bytes(device: torch.device) -> int | None:
    """Memory that can still be had on a device; None where that cannot be told.

    On CUDA what torch holds without using it counts as free; in host memory what files occupy.
    """
    if device.type == "cuda":
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + held
    for line in _MEMINFO.read_text(encoding="ascii").splitlines() if _MEMINFO.exists() else ():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def check_room(
    config: ModelConfig, device: torch.device, dtype: torch.dtype | None, settings: EngineSettings
) -> None:
    """Refuse a network for whose weights a device has no room, before they are read.

    Args:
        dtype: None: as stored; then the smallest, bfloat16, is asked for.

    Raises:
        ContractError: says the needed and the free bytes.
    """
    free, asked = free_bytes(device), dtype or torch.bfloat16
    if free is None:
        return
    if device.type == "cuda":
        shapes = settings.captured_shapes(config)
        # read in the network's type first, whatever the engine makes of it
        needed = needed_bytes(config, asked, replace(settings, int8=False), shapes)
    else:
        needed = weight_bytes(config, asked)
    check_fits(needed, free, str(device))
