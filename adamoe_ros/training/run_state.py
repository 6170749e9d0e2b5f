# SPDX-License-Identifier: Apache-2.0
"""The saved state of a run: ``state-<step>/``, to which each process writes the shards that it holds.

Any number of processes goes on from it (torch.distributed.checkpoint cuts the tensors anew). The
folder gets its name when it is whole; an older one goes after that.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.files import replace_file
from adamoe_ros.training.processes import Processes

_STATE = "state[-.]*"  # an older version had state.pt, which is refused by its name
Counters = Mapping[str, int]


def write_file(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """``replace_file`` for a file of the run.

    Raises:
        ContractError: the disk is full or not writable; the old file is untouched.
    """
    try:
        replace_file(path, write)
    except OSError as error:
        raise disk_full(path, error) from error


def disk_full(path: Path, error: BaseException) -> ContractError:
    """The error of a file that cannot be written."""
    do = "free the disk; then continue the run with --resume"
    return ContractError(problem(str(path), "room to save it", _line(error), do))


def latest_state(folder: Path) -> Path | None:
    """The whole state of the most steps; None: there is none."""
    return max(folder.glob(_STATE), default=None)


def save_state(
    folder: Path, counters: Counters, tensors: Mapping[str, Tensor], processes: Processes
) -> None:
    """Store a state; every process must call it. A kill at any moment leaves the old or the new one.

    Args:
        counters: ``step`` among them.

    Raises:
        ContractError: the disk is full or not writable; the old state is untouched.
    """
    from torch.distributed.checkpoint import save
    from torch.distributed.checkpoint.api import CheckpointException

    beside, target = folder / ".state.partial", folder / f"state-{counters['step']:08d}"
    numbers = {f"counters/{name}": torch.tensor(value) for name, value in counters.items()}
    if processes.first:
        shutil.rmtree(beside, ignore_errors=True)
    processes.wait()
    try:
        with _quiet():
            save({**numbers, **tensors}, checkpoint_id=beside, no_dist=processes.count == 1)
        if processes.first:
            _put_in_place(beside, target)
    except (CheckpointException, OSError) as error:
        raise disk_full(target, error) from error
    finally:
        if processes.first:
            shutil.rmtree(beside, ignore_errors=True)


def _put_in_place(beside: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)  # of the same step: this run began anew
    os.replace(beside, target)
    for old in target.parent.glob(_STATE):
        if old != target:
            shutil.rmtree(old)


def load_counters(path: Path, processes: Processes) -> dict[str, int]:
    """Of a state.

    Raises:
        ContractError: it cannot be read.
    """
    names = [name for name in _stored(path) if name.startswith("counters/")]
    found = {name: torch.zeros((), dtype=torch.int64) for name in names}
    load_tensors(path, found, processes)
    return {name.removeprefix("counters/"): int(value) for name, value in found.items()}


def load_tensors(path: Path, into: Mapping[str, Tensor], processes: Processes) -> None:
    """Fill tensors in place, sharded as they are; every process must call it.

    Raises:
        ContractError: the state cannot be read.
    """
    from torch.distributed.checkpoint import load
    from torch.distributed.checkpoint.api import CheckpointException

    try:
        with _quiet():
            load(dict(into), checkpoint_id=path, no_dist=processes.count == 1)
    except CheckpointException as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: BaseException) -> ContractError:
    do = "delete it and start anew"
    return ContractError(problem(str(path), "the state of a run", _line(error), do))


def _stored(path: Path) -> dict[str, Any]:
    """Name -> what is stored under it."""
    from torch.distributed.checkpoint import FileSystemReader

    try:
        return dict(FileSystemReader(path).read_metadata().state_dict_metadata)
    except Exception as error:  # unpickling raises many kinds for a damaged file
        raise _damaged(path, error) from error


def state_tensors(
    network: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Weights, averaged weights and moments by name; they share their memory with the run's."""
    found = {f"network/{name}": tensor for name, tensor in network.state_dict().items()}
    found |= {f"average/{name}": tensor for name, tensor in average.state_dict().items()}
    for name, parameter in network.named_parameters():
        for kind, moment in optimiser.state.get(parameter, {}).items():
            found[f"moments/{name}/{kind}"] = moment
    return found


def restore(
    path: Path,
    network: nn.Module,
    average: nn.Module,
    optimiser: torch.optim.Optimizer,
    processes: Processes,
) -> None:
    """Put a state back; every process must call it.

    Raises:
        ContractError: it is of another network, or cannot be read.
    """
    stored = {n: tuple(m.size) for n, m in _stored(path).items() if not n.startswith("counters/")}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad and f"moments/{name}/step" in stored:
            moments = {kind: torch.zeros_like(parameter) for kind in ("exp_avg", "exp_avg_sq")}
            optimiser.state[parameter] = {"step": torch.tensor(0.0), **moments}
    wanted = state_tensors(network, average, optimiser)
    shapes = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    different = sorted(n for n in {*stored, *shapes} if stored.get(n) != shapes.get(n))
    if different:
        name = different[0]
        expected = f"the state of this network, {name} {shapes.get(name, 'absent')}"
        got, do = stored.get(name, "absent"), "use the run's own settings"
        raise ContractError(problem(str(path), expected, got, do))
    load_tensors(path, wanted, processes)


def _line(error: BaseException) -> str:
    """The first line of what went wrong, in whichever process."""
    for failure, _ in getattr(error, "failures", {}).values():
        error = failure
    return (str(error).splitlines() or [type(error).__name__])[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's warning that one process is one process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield
