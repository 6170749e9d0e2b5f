# SPDX-License-Identifier: Apache-2.0
"""What is done to a network before it trains: freezing, LoRA, gradient checkpointing."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.model.gemma import AdaRMSNorm, GemmaLayer
from adamoe_ros.model.moe import Experts, MoEFeedForward
from adamoe_ros.model.policy_model import AdaMoEPolicy
from adamoe_ros.model.siglip import VisionBlock
from adamoe_ros.training.training_config import LoraConfig, NetworkConfig

_BETWEEN = ".parametrizations."  # what torch puts into the names of changed weights
_PROJECTIONS = ("state_proj", "action_", "time_mlp_")  # pi0's and pi0.5's, by their starts


def parts(network: AdaMoEPolicy) -> dict[str, list[nn.Module]]:
    """Name -> modules. ``experts`` and ``router`` (with the scale adapter) belong to ``expert``."""
    layers = [m for m in network.modules() if isinstance(m, MoEFeedForward)]
    routing = ("router", "scale_adapter")
    found: dict[str, list[nn.Module]] = {
        "vision": [network.vision],
        "embed": [m for name, m in network.named_children() if name in ("embed", "reader")],
        "prefix": [network.prefix],
        "expert": [network.expert],
        "projections": [m for name, m in network.named_children() if name.startswith(_PROJECTIONS)],
        "objects": [module for name, module in network.named_children() if name == "aux"],
        "experts": [layer.experts for layer in layers],
        "router": [m for layer in layers for n, m in layer.named_children() if n in routing],
    }
    return {name: modules for name, modules in found.items() if modules}


def _named(network: AdaMoEPolicy, names: Sequence[str], where: str) -> list[nn.Module]:
    known = parts(network)
    wrong = [name for name in names if name not in known]
    if wrong:
        do = "choose among these"
        raise ContractError(problem(where, f"parts: {', '.join(known)}", ", ".join(wrong), do))
    return [module for name in names for module in known[name]]


def prepare_parts(network: AdaMoEPolicy, wanted: NetworkConfig, seed: int) -> None:
    """Freeze parts and put in low-rank changes, in place.

    Args:
        seed: of the changes' first factors.

    Raises:
        ContractError: parts that the network does not have, or nothing is left to train.
    """
    if wanted.lora is not None:
        add_lora(network, wanted.lora, torch.Generator().manual_seed(seed))
    for module in _named(network, wanted.freeze, "model.freeze"):
        module.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        got, do = f"model.freeze={list(wanted.freeze)}", "freeze less"
        raise ContractError(problem("model", "something to train", got, do))


class LowRank(nn.Module):
    """weight + scale * B A, for a matrix (O, I) or a stack of them (E, O, I).

    ``torch.nn.utils.parametrize`` puts it between a module and its parameter, so that every way of
    reading the weight sees the change. B starts at 0: the first output is the unchanged network's.
    """

    def __init__(self, weight: Tensor, config: LoraConfig, generator: torch.Generator) -> None:
        super().__init__()
        *stack, rows, columns = weight.shape
        self.scale = config.alpha / config.rank
        first = torch.randn(*stack, config.rank, columns, generator=generator)
        self.a = nn.Parameter((first / math.sqrt(columns)).to(weight))
        self.b = nn.Parameter(weight.new_zeros(*stack, rows, config.rank))

    def forward(self, weight: Tensor) -> Tensor:
        """The changed weight; in its own precision, whatever the forward pass has."""
        with torch.autocast(weight.device.type, enabled=False):
            return weight + self.scale * (self.b @ self.a)


def add_lora(network: AdaMoEPolicy, config: LoraConfig, generator: torch.Generator) -> None:
    """Freeze the target parts, but their routers, and give each matrix a low-rank change.

    Router and scale adapter have fewer numbers than their factors would have, and go on as they are;
    what modulates pi0.5's norms stays frozen, as in openpi.

    Raises:
        ContractError: parts that the network does not have.
    """
    targets = _named(network, config.targets, "model.lora.targets")
    free = {id(p) for m in parts(network).get("router", []) for p in m.parameters()}
    for module in targets:
        for parameter in module.parameters():
            parameter.requires_grad_(id(parameter) in free)
    for module in targets:
        for owner, name in list(_matrices(module, free)):
            weight = getattr(owner, name)
            change = LowRank(weight, config, generator)
            parametrize.register_parametrization(owner, name, change)


def _matrices(part: nn.Module, free: set[int]) -> Iterator[tuple[nn.Module, str]]:
    modulations = {id(m.modulation) for m in part.modules() if isinstance(m, AdaRMSNorm)}
    for module in part.modules():
        if parametrize.is_parametrized(module) or id(module) in modulations:
            continue
        if isinstance(module, nn.Linear) and id(module.weight) not in free:
            yield module, "weight"
        elif isinstance(module, Experts):
            yield from ((module, name) for name in ("gate", "up", "down"))


@torch.no_grad()
def plain_state(tensors: Mapping[str, Tensor], lora: LoraConfig | None) -> dict[str, Tensor]:
    """A whole state dict without low-rank changes: they are added to the weights."""
    plain = {name: t for name, t in tensors.items() if _BETWEEN not in name}
    for name, weight in tensors.items():
        if _BETWEEN in name and name.endswith(".original"):
            assert lora is not None
            stem = name.removesuffix(".original")
            change = tensors[f"{stem}.0.b"] @ tensors[f"{stem}.0.a"]
            plain[stem.replace(_BETWEEN, ".")] = weight + lora.alpha / lora.rank * change
    return plain


def checkpoint_layers(network: nn.Module) -> None:
    """Wrap every transformer layer's ``forward`` in place; names of parameters stay."""
    for module in network.modules():
        if isinstance(module, (GemmaLayer, VisionBlock)):
            again = functools.partial(checkpoint, module.forward, use_reentrant=False)
            module.forward = again  # type: ignore[method-assign]
