# SPDX-License-Identifier: Apache-2.0
"""A dense pi0 becomes AdaMoE: every expert starts as the dense feed-forward layer.

Layer by layer, so that a converter can stream.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.model.config import ModelConfig, MoEConfig
from adamoe_ros.model.layers import ROUTER_STD

_DENSE_FFN = re.compile(r"expert\.layers\.(\d+)\.ffn\.(gate|up|down)\.weight")


@dataclass(frozen=True)
class UpcycleSettings:
    """How experts and routers start.

    Attributes:
        noise_std: of normal noise added to each routed expert's weights (authors' class default
            0.01, their shipped configurations 0.0).
        router_std: of router and scale adapter, drawn independently. The authors' code draws both
            from one key, which makes them equal.
        preserve: first outputs equal the dense model's bit for bit, whatever the router does: the
            shared expert's output is scaled by 1 / shared_weight and the routed experts' down
            projections start at 0 (noise goes to gate and up only). A departure from the paper,
            where an untrained conversion already differs from pi0.
    """

    noise_std: float = 0.0
    router_std: float = ROUTER_STD
    preserve: bool = False


def upcycle_layer(
    ffn: Mapping[str, Tensor],
    moe: MoEConfig,
    settings: UpcycleSettings,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """One dense feed-forward layer as a mixture of experts.

    Args:
        ffn: ``gate`` and ``up`` (F, D), ``down`` (D, F) of the dense layer.
        moe: target; not dense.
        generator: CPU generator, advanced by this call.

    Returns:
        Tensors by their names below ``expert.layers.{i}.ffn.``, in the dtype of ``ffn``.
    """
    out: dict[str, Tensor] = {}
    width, dtype = ffn["gate"].shape[1], ffn["gate"].dtype
    for name, weight in ffn.items():
        silent = settings.preserve and name == "down"
        out[f"shared.{name}.weight"] = weight / moe.shared_weight if silent else weight.clone()
        copies = weight.unsqueeze(0).repeat(moe.num_experts, 1, 1)
        if silent:
            copies.zero_()
        elif settings.noise_std:
            for expert in copies:
                noise = torch.randn(weight.shape, generator=generator) * settings.noise_std
                expert.copy_(expert.float() + noise)
        out[f"experts.{name}"] = copies

    def drawn(columns: int) -> Tensor:
        values = torch.randn(moe.num_experts, columns, generator=generator)
        return (values * settings.router_std).to(dtype)

    out["router.weight"] = drawn(width)
    if moe.variant != "vanilla":
        seen = width + (moe.num_experts if moe.variant == "csmoe" else 0)
        out["scale_adapter.weight"] = drawn(seen)
    return out


def upcycle_from_dense(
    dense: Mapping[str, Tensor],
    config: ModelConfig,
    settings: UpcycleSettings,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """The state dict of ``AdaMoEPolicy(config)`` from that of a dense policy of the same sizes.

    Tensors outside the expert's feed-forward layers are taken over, not copied.

    Raises:
        ContractError: ``config`` has no experts, or ``dense`` has no dense feed-forward layers.
    """
    check_upcycle(config.moe, settings)
    out = {name: tensor for name, tensor in dense.items() if not _DENSE_FFN.fullmatch(name)}
    layers = range(config.prefix.depth)
    names = [
        f"expert.layers.{i}.ffn.{part}.weight" for i in layers for part in ("gate", "up", "down")
    ]
    missing = [name for name in names if name not in dense]
    if missing:
        raise ContractError(
            problem(
                "dense checkpoint", "dense feed-forward layers", f"no {missing[0]}", "give a pi0"
            )
        )
    for i in layers:
        ffn = {
            part: dense[f"expert.layers.{i}.ffn.{part}.weight"] for part in ("gate", "up", "down")
        }
        for name, tensor in upcycle_layer(ffn, config.moe, settings, generator).items():
            out[f"expert.layers.{i}.ffn.{name}"] = tensor
    return out


def check_upcycle(moe: MoEConfig, settings: UpcycleSettings) -> None:
    """Refuse settings that cannot be carried out.

    Raises:
        ContractError: the target is dense, or nothing of the shared expert would remain.
    """
    if moe.variant == "dense":
        raise ContractError(
            problem("upcycle", "adamoe, csmoe or vanilla", "dense", "name a variant with experts")
        )
    if settings.preserve and moe.shared_weight == 0:
        raise ContractError(
            problem("upcycle --preserve", "shared_weight above 0", 0, "keep the shared expert")
        )
