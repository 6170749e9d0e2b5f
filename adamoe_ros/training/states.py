# SPDX-License-Identifier: Apache-2.0
"""Weights, averaged weights and optimiser as one state that knows nothing of processes.

Stored by any number of processes, it continues with any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from adamoe_ros.training.processes import like, whole

_MOMENTS = ("exp_avg", "exp_avg_sq")


def whole_state(
    network: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer, keep: bool
) -> dict[str, Any]:
    """Everything a run needs to go on; every process must call it.

    Args:
        keep: this process wants the content.
    """
    return {
        "network": whole(network.state_dict(), keep),
        "average": whole(average.state_dict(), keep),
        "optimiser": whole(optimiser.state_dict(), keep),
    }


def restore(
    state: Mapping[str, Any],
    network: nn.Module,
    average: nn.Module,
    optimiser: torch.optim.Optimizer,
) -> None:
    """Put a whole state back, sharded as the modules are.

    Raises:
        RuntimeError, ValueError, KeyError: it is of another network.
    """
    _load(network, state["network"])
    _load(average, state["average"])
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    kept = {
        number: {
            name: like(value, parameters[number]) if name in _MOMENTS else value
            for name, value in moments.items()
        }
        for number, moments in state["optimiser"]["state"].items()
        if number < len(parameters)
    }
    optimiser.load_state_dict({**state["optimiser"], "state": kept})


def _load(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    own = module.state_dict()
    known = {n: like(t, own[n]) if n in own else t for n, t in tensors.items()}
    module.load_state_dict(known)
