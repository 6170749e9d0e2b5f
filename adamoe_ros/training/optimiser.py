# SPDX-License-Identifier: Apache-2.0
"""AdamW over three parameter groups that are told apart by module: base, experts, router.

Source: the AdaMoE authors' groups (reference/pi0-adamoe.md §2.5); the shared expert is base, the
scale adapter trains with the router.
"""

from __future__ import annotations

import torch
from torch import nn

from adamoe_ros.model.moe import MoEFeedForward
from adamoe_ros.training.config import OptimiserConfig
from adamoe_ros.training.schedules import learning_rate

GROUPS = ("base", "experts", "router")


def parameter_groups(network: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Every trainable parameter in exactly one of ``GROUPS``, in the network's order.

    Raises:
        ValueError: a parameter is shared between groups.
    """
    owner: dict[int, str] = {}
    for layer in network.modules():
        if not isinstance(layer, MoEFeedForward):
            continue
        routing = [layer.router] + [m for n, m in layer.named_children() if n == "scale_adapter"]
        for name, modules in (("experts", [layer.experts]), ("router", routing)):
            for parameter in (p for module in modules for p in module.parameters()):
                if owner.setdefault(id(parameter), name) != name:
                    raise ValueError(f"a parameter is both {owner[id(parameter)]} and {name}")
    groups: dict[str, list[nn.Parameter]] = {name: [] for name in GROUPS}
    for parameter in network.parameters():
        if parameter.requires_grad:
            groups[owner.get(id(parameter), "base")].append(parameter)
    return groups


def make_optimiser(network: nn.Module, config: OptimiserConfig) -> torch.optim.AdamW:
    """AdamW whose groups carry their name; empty groups (a dense network's) are left out."""
    groups = [
        {
            "params": parameters,
            "name": name,
            "weight_decay": getattr(config, name).weight_decay,
            "lr": getattr(config, name).peak_lr,
        }
        for name, parameters in parameter_groups(network).items()
        if parameters
    ]
    return torch.optim.AdamW(groups, betas=config.betas, eps=config.eps, foreach=True)


def set_learning_rates(
    optimiser: torch.optim.Optimizer, config: OptimiserConfig, step: int, steps: int
) -> None:
    """Give each group its rate of this step."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(getattr(config, group["name"]), step, steps)
