# SPDX-License-Identifier: Apache-2.0
"""The saved state of a run: weights, EMA and optimiser, whole, whatever the number of processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.files import replace_file
from adamoe_ros.training.processes import like, whole


def write_file(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """``replace_file`` for a file of the run.

    Raises:
        ContractError: the disk is full or not writable; the old file is untouched.
    """
    try:
        replace_file(path, write)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        raise disk_full(path, error) from error


def disk_full(path: Path, error: Exception) -> ContractError:
    """The error of a file that cannot be written."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    do = "free the disk; then continue the run with --resume"
    return ContractError(problem(str(path), "room to save it", line, do))


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Store a run's tensors and counters."""
    write_file(path, lambda stream: torch.save(state, stream))


def load_state(path: Path) -> dict[str, Any]:
    """Read what ``save_state`` wrote.

    Raises:
        ContractError: missing or not readable.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ContractError(
            problem(str(path), "the state of a run", "no file", "start without --resume")
        ) from error
    except Exception as error:  # torch raises many kinds for a damaged file
        line = str(error).splitlines()[0]
        raise ContractError(
            problem(str(path), "the state of a run", line, "delete it and start anew")
        ) from error
    return dict(state)


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
