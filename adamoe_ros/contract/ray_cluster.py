# SPDX-License-Identifier: Apache-2.0
"""Units of work on a Ray cluster: the same code on every node is checked, not assumed.

Ray's own retries are off: ``workers`` counts and names what is lost. Arguments and results go
through Ray's store; files are read and written by path, in a folder that every node must see.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import socket
import sys
import uuid
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.extras import how_to_install

if TYPE_CHECKING:
    from adamoe_ros.contract.workers import UnitWork

# one GL implementation on all nodes: others draw other pictures
_KEPT = ("MUJOCO_GL", "PYOPENGL_PLATFORM", "LD_LIBRARY_PATH", "OMP_WAIT_POLICY")


class RayCluster:
    """A connection to a cluster for one ``UnitWork``.

    Args:
        address: as ``ray.init`` takes it: ``host:6379`` or ``auto`` of the cluster that this machine
            is a node of.
        gpus: of each unit.

    Raises:
        ContractError: Ray is not installed, or there is no such cluster.
    """

    def __init__(self, work: UnitWork, address: str, gpus: float) -> None:
        ray = self._ray = _connected(address)
        errors = ray.exceptions
        self.lost: tuple[type[BaseException], ...] = (
            errors.WorkerCrashedError, errors.NodeDiedError, errors.LocalRayletDiedError,
            errors.ObjectLostError, errors.OutOfMemoryError,
        )  # fmt: skip
        self._units = work.units
        self._witness = None if work.folder is None else _witness(work.folder)
        start = (work.begin, work.begin_with)
        common = (uuid.uuid4().hex, code_digest(), self._witness, start, work.function)
        self._common = ray.put(common)
        task = ray.remote(_unit)
        self._task = task.options(
            num_cpus=1, num_gpus=gpus, max_retries=0, scheduling_strategy="SPREAD"
        )
        nodes = sum(node["Alive"] for node in ray.nodes())
        cores = ray.cluster_resources().get("CPU", 0)
        print(f"ray: {nodes} nodes, {cores:g} cores; {work.data}", file=sys.stderr)

    def submit(self, number: int) -> Future[Any]:
        """Begin a unit."""
        ended: Future[Any] = Future()

        def settle(done: Future[Any]) -> None:
            error = done.exception()
            if error is None:
                value, error = done.result()
            if error is None:
                ended.set_result(value)
            else:
                ended.set_exception(error)

        reference = self._task.remote(self._common, self._units[number])
        reference.future().add_done_callback(settle)
        return ended

    def close(self) -> None:
        """Leave the cluster; what has not ended is dropped there."""
        if self._witness is not None:
            self._witness.unlink(missing_ok=True)
        self._ray.shutdown()


def _connected(address: str) -> Any:
    """The module ``ray``, connected."""
    where = f"--ray {address}"
    try:
        import ray
    except ImportError as error:
        do = f"{how_to_install(['ray'])}, on every node"
        raise ContractError(problem(where, "Ray", "none installed", do)) from error
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    try:
        common: dict[str, Any] = {
            "log_to_driver": False,
            "logging_level": "ERROR",
        }  # raylets log pages
        ray.init(address, runtime_env={"env_vars": kept}, **common)
    except Exception as error:  # Ray raises many kinds for a cluster that is not there or not alike
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        do = "start one with 'ray start --head' (doc/scale.md), with this Python and this Ray"
        raise ContractError(problem(where, "a Ray cluster", line, do)) from error
    return ray


def _witness(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".seen-{uuid.uuid4().hex}"
    path.touch()
    return path


@cache
def code_digest() -> str:
    """Of every module of the package that is installed here."""
    package, total = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        total.update(str(path.relative_to(package)).encode() + path.read_bytes())
    return total.hexdigest()


_begun = ""  # which work this process has begun


def _unit(common: tuple[Any, ...], arguments: tuple[Any, ...]) -> tuple[Any, Exception | None]:
    """On a node: a unit's result, or the error that it raised (Ray would wrap it)."""
    global _begun
    mark, digest, witness, (begin, begin_with), function = common
    try:
        if _begun != mark:
            check_node(digest, witness)
            if begin is not None:
                begin(*begin_with)
            _begun = mark
        return function(*arguments), None
    except Exception as error:
        return None, _portable(error)


def _portable(error: Exception) -> Exception:
    """The error itself where it can travel."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def check_node(digest: str, witness: Path | None) -> None:
    """Raises ``ContractError`` on a node with other code, or without the folder of the work."""
    node = socket.gethostname()
    if code_digest() != digest:
        do = "install the same commit on every node"
        raise ContractError(problem(f"ray node {node}", "this adamoe_ros", "another one", do))
    if witness is not None and not witness.exists():
        do = "mount it there under the same path (NFS)"
        where, expected = f"ray node {node}", f"the folder {witness.parent} of this machine"
        raise ContractError(problem(where, expected, "none, or another one", do))
