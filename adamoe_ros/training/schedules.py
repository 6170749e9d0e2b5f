# SPDX-License-Identifier: Apache-2.0
"""What changes with the step: learning rates, loss coefficients, the average's decay.

Plain functions of the step, so that a resumed run needs no scheduler state.
"""

from __future__ import annotations

import math

from adamoe_ros.training.config import BalanceConfig, GroupConfig


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
