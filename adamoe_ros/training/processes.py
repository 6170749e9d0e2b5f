# SPDX-License-Identifier: Apache-2.0
"""One or several training processes (torchrun): who is first, which samples are mine, sums over all.

Parameters are sharded by FSDP2 layer by layer; each process sees its share of the batch. States are
stored whole, so that a run goes on with any number of processes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor, distributed, nn

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.model.gemma import GemmaLayer
from adamoe_ros.model.policy_model import AdaMoEPolicy
from adamoe_ros.model.siglip import VisionBlock

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Processes:
    """This process among ``count``; alone unless torchrun started it."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this one writes and shows."""
        return self.rank == 0

    def own(self, total: int) -> slice:
        """Which of ``total`` samples of a step are this process's."""
        each = total // self.count
        return slice(self.rank * each, (self.rank + 1) * each)

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the processes, without gradient."""
        values = values.detach()
        if self.count == 1:
            return values
        values = values.clone()
        distributed.all_reduce(values)
        return values / self.count

    def wait(self) -> None:
        """Until every process is here."""
        if self.count > 1:
            distributed.barrier()

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """The first process does what follows; the others wait, then do it, too."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()


ALONE = Processes()
_PATIENCE = timedelta(hours=6)  # the others wait while the first converts bags or tries the policy


def start_processes(device: torch.device) -> tuple[Processes, torch.device]:
    """Join the group that torchrun made, if it did; also the device of this process.

    Raises:
        ContractError: more processes on this machine than it has GPUs.
    """
    count, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    if count == 1:
        return ALONE, device
    local = int(os.environ.get("LOCAL_RANK", 0))
    if device.type == "cuda":
        if local >= torch.cuda.device_count():
            expected = f"at most {torch.cuda.device_count()}, one a GPU"
            where, do = "torchrun --nproc-per-node", "start fewer, or set device=cpu"
            raise ContractError(problem(where, expected, f"process {local + 1}", do))
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, timeout=_PATIENCE)
    return Processes(rank, count), device


def stop_processes() -> None:
    """Leave the group."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def end_process(code: int) -> NoReturn:
    """End one of several processes at once, with everything written but without the interpreter's end.

    Gloo's threads outlive ``destroy_process_group``, as DTensor's caches keep the group. One that is
    late in releasing the tensors of the last operation needs the interpreter for it; if that is ending,
    the thread is unwound inside a destructor: SIGABRT, and torchrun ends the other processes, too.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def shard(root: nn.Module) -> None:
    """Spread the parameters below ``root`` over all processes, in place.

    Args:
        root: the module whose ``forward`` is the training pass.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    device = next(root.parameters()).device
    mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
    for module in root.modules():
        if isinstance(module, (GemmaLayer, VisionBlock)):
            fully_shard(module, mesh=mesh)
    for module in root.modules():
        if isinstance(module, AdaMoEPolicy):  # its last layer's keys and values are all it is for
            register_fsdp_forward_method(module.prefix.layers[-1], "attention_inputs")
    fully_shard(root, mesh=mesh)


def whole(values: Any, keep: bool = True) -> Any:
    """Sharded tensors of a nested state, gathered one by one; every process must call it.

    Args:
        keep: this process wants the content.

    Returns: the same state on the CPU, empty tensors where it is not wanted.
    """
    if isinstance(values, Tensor):
        gathered = values.full_tensor() if hasattr(values, "full_tensor") else values
        return gathered.detach().cpu() if keep else torch.empty(0)
    if isinstance(values, Mapping):
        return {name: whole(item, keep) for name, item in values.items()}
    if isinstance(values, (list, tuple)):
        return type(values)(whole(item, keep) for item in values)
    return values


def like(values: Tensor, parameter: Tensor) -> Tensor:
    """A whole tensor, sharded as ``parameter`` is; every process has the whole one."""
    if not hasattr(parameter, "device_mesh"):
        return values
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(parameter, DTensor)
    values = values.to(parameter.device)
    return distribute_tensor(
        values, parameter.device_mesh, parameter.placements, src_data_rank=None
    )


def local(values: Tensor) -> Tensor:
    """This process's part of a tensor."""
    return values.to_local() if hasattr(values, "to_local") else values
