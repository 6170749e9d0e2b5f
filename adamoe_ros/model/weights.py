# SPDX-License-Identifier: Apache-2.0
"""A network from named tensors, wherever they come from, with every tensor accounted for.

The network is laid out without memory and takes the tensors over one by one, so that loading needs
the space of the weights once.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from adamoe_ros.contract.errors import ContractError, Problems
from adamoe_ros.model.config import ModelConfig
from adamoe_ros.model.policy_model import AdaMoEPolicy


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter, without allocating any."""
    with torch.device("meta"):
        model = AdaMoEPolicy(config)
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def load_policy(
    config: ModelConfig,
    tensors: Mapping[str, Tensor],
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    where: str = "weights",
) -> AdaMoEPolicy:
    """Build the policy that these tensors belong to, in eval mode and without gradients.

    A tensor that has the wanted device and dtype is used as it is, not copied: a lazy mapping over
    a memory-mapped file then costs the file's size and no more.

    Args:
        config: sizes.
        tensors: parameters by name; each is read once, in the mapping's order.
        device: where the weights go.
        dtype: of floating-point weights; None: as given.
        where: said in front of each problem, e.g. the file's name.

    Raises:
        ContractError: unexpected, missing, misshaped or non-finite tensors, all named.
    """
    wanted, given = parameter_shapes(config), set(tensors)
    problems = Problems()
    for name in sorted(given - wanted.keys()):
        problems.add(f"{where}: {name}", "no such tensor", "one", "does config.json belong to it?")
    for name in sorted(wanted.keys() - given):
        problems.add(f"{where}: {name}", "a tensor", "none", "the file is not complete")
    with torch.device("meta"):
        model = AdaMoEPolicy(config)
    for name in (name for name in tensors if name in wanted):
        tensor = tensors[name]
        if tuple(tensor.shape) != wanted[name]:
            got = tuple(tensor.shape)
            problems.add(
                f"{where}: {name}", str(wanted[name]), got, "does config.json belong to it?"
            )
        elif not is_finite(tensor):
            problems.add(f"{where}: {name}", "finite numbers", "NaN or inf", "take a sound file")
        elif not problems.lines:
            _assign(model, name, tensor.to(device, dtype))
    if problems.lines:
        raise ContractError(problems.lines)
    return model.eval()


def is_finite(tensor: Tensor) -> bool:
    """Whether every value is a finite number; one pass, no copy."""
    if not tensor.numel():
        return True
    low, high = torch.aminmax(tensor)
    return bool(torch.isfinite(low) & torch.isfinite(high))


def _assign(model: nn.Module, name: str, tensor: Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    parameter = nn.Parameter(tensor, requires_grad=False)
    model.get_submodule(path).register_parameter(leaf, parameter)
