# SPDX-License-Identifier: Apache-2.0
"""One optimiser step: AdamW over three parameter groups, their schedules, the weights' EMA.

Groups are told apart by module: base, experts, router. Schedules are plain functions of the step, so
that a resumed run needs no scheduler state.
Source: the AdaMoE authors' groups (reference/pi0-adamoe.md §2.5); the shared expert is base, the
scale adapter trains with the router."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from adamoe_ros.model.moe import MoEFeedForward
from adamoe_ros.training.processes import local
from adamoe_ros.training.training_config import BalanceConfig, GroupConfig, OptimiserConfig


def learning_rate(group: GroupConfig, step: int, steps: int) -> float:
    """Warm-up from peak / (warm-up + 1), then a cosine that reaches final_lr at ``steps``.

    Source: openpi's schedule (optax ``warmup_cosine_decay_schedule``, warm-up included in steps).
    """
    warmup = min(group.warmup_steps, max(steps - 1, 0))
    if step < warmup:
        start = group.peak_lr / (warmup + 1)
        return start + (group.peak_lr - start) * step / warmup
    share = min(1.0, (step - warmup) / max(1, steps - warmup))
    return group.final_lr + (group.peak_lr - group.final_lr) * 0.5 * (1 + math.cos(math.pi * share))


def stage(step: int, steps: int, perception: int) -> tuple[int, int]:
    """(step, steps) of the stage that a step belongs to: perception first, then the flow.

    Each stage has a schedule of its own: what was learnt slowly at its end is not shaken again at
    once, and the flow begins with its warm-up.
    """
    if step < perception:
        return step, perception
    return step - perception, steps - perception


def balance_coefficient(balance: BalanceConfig, step: int) -> float:
    """Coefficient of the load-balancing loss; steps count from 0."""
    return balance.start if step <= balance.switch_after else balance.end


def ema_decay(decay: float, step: int) -> float:
    """Decay of the weight average, small at first so that the initial weights are forgotten."""
    return min(decay, (1 + step) / (10 + step))


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


class WeightAverage:
    """Keeps a second copy of a module whose parameters follow the first ones slowly.

    Attributes:
        module: the averaged copy, in eval mode, without gradients.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, module: nn.Module, decay: float) -> None:
        """average = decay * average + (1 - decay) * parameters; buffers are copied."""
        mine = [local(parameter) for parameter in self.module.parameters()]
        theirs = [local(parameter) for parameter in module.parameters()]
        torch._foreach_lerp_(mine, theirs, 1 - decay)
        for own, other in zip(self.module.buffers(), module.buffers(), strict=True):
            own.copy_(other)
