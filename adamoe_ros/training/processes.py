# SPDX-License-Identifier: Apache-2.0
"""One or several training processes (torchrun): who is first, which samples are mine, sums over all.

Parameters are sharded by FSDP2 layer by layer; each process sees its share of the batch.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
import uuid
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
    host_rank: int = 0  # among those of this machine

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
    def in_turn(self) -> Iterator[None]:
        """The first process does what follows, then the first of every other machine, then the rest.

        So what is missing is made once, or once a machine where they do not share the folder.
        """
        turn = 0 if self.first else 1 if self.host_rank == 0 else 2
        for _ in range(turn):
            self.wait()
        yield
        for _ in range(2 - turn):
            self.wait()

    def agree(self, seen: bool, what: str) -> bool:
        """The same answer from every process.

        Raises:
            ContractError: some see ``what`` and some do not.
        """
        answers = [seen] * self.count
        if self.count > 1:
            distributed.all_gather_object(answers, seen)
        if len({*answers}) > 1:
            expected, do = "one folder for all machines", "put --out on a shared file system (NFS)"
            raise ContractError(problem(what, expected, "one that only some of them see", do))
        return seen


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
        store = _store_of_round(rank, count)
        place: dict[str, Any] = {}
        if store is not None:
            place = {"store": store, "rank": rank, "world_size": count}
        distributed.init_process_group(backend, timeout=_PATIENCE, **place)
    return Processes(rank, count, local), device


def _store_of_round(rank: int, count: int) -> distributed.Store | None:
    """A store that only the processes of this (re)start share; None: torch's own way.

    Torch tells rounds apart by each agent's own count of restarts. An agent whose processes were
    restarted because another's had failed does not count that, so the two wait for each other for ever.
    Here everyone leaves a mark of its own, the first one lists them, and all of one list go on.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != str(True):
        return None
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store, mine = distributed.TCPStore(address, port, is_master=False), uuid.uuid4().hex
    store.set(f"adamoe/mark/{rank}", mine)
    told = ""
    while True:  # torchrun ends this process when another one fails
        if rank == 0:
            marks = [store.get(f"adamoe/mark/{other}").decode() for other in range(count)]
            store.set("adamoe/marks", ",".join(marks))
        listed = store.get("adamoe/marks").decode()
        if mine in listed.split(",")[rank : rank + 1] and listed.count(",") == count - 1:
            here = hashlib.sha256(listed.encode()).hexdigest()
            if store.add(f"adamoe/{here}", int(told != here)) == count:
                return distributed.PrefixStore(here, store)
            told = here
        time.sleep(0.05)


def lost_another(error: RuntimeError) -> bool:
    """Whether an error says that another process of the group has gone."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error).lower()


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


def local(values: Tensor) -> Tensor:
    """This process's part of a tensor."""
    return values.to_local() if hasattr(values, "to_local") else values
