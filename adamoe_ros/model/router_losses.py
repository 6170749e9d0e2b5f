# SPDX-License-Identifier: Apache-2.0
"""What the routers of one pass did, by name and layer, and the auxiliary losses made of it.

Shapes: M layers, E experts, N tokens, k chosen per token.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from adamoe_ros.model.moe import Routing


@dataclass(frozen=True)
class MoEStatistics:
    """Per layer; losses carry gradients (through probabilities and logits only).

    Attributes:
        selection_counts: (M, E) int64 assignments over tokens and the k slots.
        mean_probability: (M, E) mean router probability P.
        mean_scale: (M, E) mean weight where selected, 0 for an expert without tokens.
        load_balancing: (M,) authors' form, (1 / E) sum of f P with f = counts / N (sums to k);
            balanced: k / E^2. Their training adds its mean over layers times 0.01, later 0.005.
        load_balancing_switch: (M,) Switch Transformer's form, E sum of f P; balanced: k.
        z_loss: (M,) mean of logsumexp(z)^2 without a coefficient (the authors log 1e-4 of it).
        activation_square_sum: (M,) sum of f^2.
    """

    selection_counts: Tensor
    mean_probability: Tensor
    mean_scale: Tensor
    load_balancing: Tensor
    load_balancing_switch: Tensor
    z_loss: Tensor
    activation_square_sum: Tensor


def moe_statistics(trace: list[Routing]) -> MoEStatistics | None:
    """Summarise one ``Routing`` per layer; None without any (dense model)."""
    if not trace:
        return None
    experts, tokens = trace[0].logits.shape[1], trace[0].logits.shape[0]
    counts, scale_sums = [], []
    for routing in trace:
        chosen = routing.selected.flatten()
        zeros = routing.scales.new_zeros(experts)
        counts.append(zeros.index_add(0, chosen, torch.ones_like(chosen, dtype=zeros.dtype)))
        scale_sums.append(zeros.index_add(0, chosen, routing.scales.detach().flatten()))
    count = torch.stack(counts).float()
    probability = torch.stack([r.probabilities.float().mean(0) for r in trace])
    fraction = count / tokens
    overlap = (fraction * probability).sum(-1)
    z = torch.stack([r.logits.float().logsumexp(-1).square().mean() for r in trace])
    return MoEStatistics(
        selection_counts=count.long(),
        mean_probability=probability,
        mean_scale=torch.stack(scale_sums).float() / count.clamp(min=1),
        load_balancing=overlap / experts,
        load_balancing_switch=overlap * experts,
        z_loss=z,
        activation_square_sum=fraction.square().sum(-1),
    )
