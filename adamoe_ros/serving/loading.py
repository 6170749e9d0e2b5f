# SPDX-License-Identifier: Apache-2.0
"""A policy in five lines of Python, from a checkpoint folder or from a server.

from adamoe_ros import load_policy

policy = load_policy("checkpoints/demo")  # or "ws://host:8000"
chunk = policy.infer({"cam_high": image}, state, "lift the bar")
chunk.rows, chunk.names, chunk.units, chunk.dt_s
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adamoe_ros.contract.errors import ContractError, Problems, problem
from adamoe_ros.contract.observation import Observation
from adamoe_ros.control.policy_settings import PolicySettings
from adamoe_ros.control.scheduling import free_plan
from adamoe_ros.policy.actor_base import BaseActor
from adamoe_ros.serving.interfaces import sentence
from adamoe_ros.serving.pictures import numbers, slot_pictures

_ANSWER_S = 30.0  # no robot waits
_UNITS = {"revolute": "rad", "prismatic": "m", "position": "m", "rotation": "rad"}
_INCREMENT = "-1 ... 1 of the controller's largest step"


@dataclass(frozen=True)
class ActionRows:
    """A chunk in the checkpoint's own units.

    Attributes:
        rows: (H, D) float64 set points, ``dt_s`` apart; the first is for the observation's moment.
        names: of the columns, e.g. ``left_0 ... left_gripper``.
        units: of the columns: rad, m, or the ends of the gripper's convention.
        dt_s: s between rows.
    """

    rows: NDArray[np.float64]
    names: tuple[str, ...]
    units: tuple[str, ...]
    dt_s: float


class Policy:
    """A loaded policy, without a robot; close it, or use it in a ``with`` block.

    Attributes:
        actor: it stands on this.
        names, units: of the state, in its order.
        action_names, action_units: of the rows.
        cameras: slots that ``infer`` takes pictures for.
        instructions: sentences that it was trained on; empty: unknown.
    """

    def __init__(self, actor: BaseActor) -> None:
        manifest = actor.manifest
        self.actor, self.names = actor, manifest.state_roles
        gripper = manifest.gripper
        ends = "" if gripper is None else f"{gripper.closed:g} (closed) ... {gripper.open:g} (open)"
        self.units = tuple(_UNITS.get(entry.kind, ends) for entry in manifest.joints)
        self.action_names = tuple(entry.role for entry in manifest.action_entries)
        self.action_units = tuple(
            _INCREMENT if entry.representation == "increment" else _UNITS.get(entry.kind, ends)
            for entry in manifest.action_entries
        )
        self.cameras, self.instructions = actor.camera_slots, manifest.instructions
        self._session, self._count = actor.session(), 0

    def infer(
        self, images: Mapping[str, NDArray[np.uint8]], state: ArrayLike, prompt: str
    ) -> ActionRows:
        """One chunk.

        Args:
            images: camera slot -> (H, W, 3) uint8 RGB of any size; a slot without one is absent.
            state: (D,) measured joints, in the order of ``names`` and the units of ``units``.
            prompt: the sentence.

        Raises:
            ContractError: everything that does not fit.
            PolicyUnavailable: the server does not answer; it may later.
        """
        problems = Problems()
        unknown = [slot for slot in images if slot not in self.cameras]
        if unknown or not images:
            got = ", ".join(unknown) or "none"
            problems.add("images", f"some of {', '.join(self.cameras)}", got, "name the slots")
        shown = slot_pictures(images, problems)
        do = f"give {', '.join(self.names)}"
        vector = problems.collect(lambda: numbers(state, (len(self.names),), "state", do))
        words = problems.collect(lambda: sentence(prompt, "prompt"))
        problems.raise_if_any()
        assert vector is not None and words is not None
        observation = Observation(self._count, shown, vector, words)
        self._count += 1
        plan = free_plan(observation.stamp_ns, self.actor.horizon)
        inference = self._session.infer(observation, plan)
        self._session.restart()
        names, units = self.action_names, self.action_units
        return ActionRows(inference.positions, names, units, self.actor.dt_s)

    def close(self) -> None:
        """End the connection to a server; may be called twice."""
        self.actor.close()

    def __enter__(self) -> Policy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def load_policy(
    where: str | os.PathLike[str],
    *,
    device: str = "auto",
    seed: int = -1,
    token_file: str | os.PathLike[str] | None = None,
    authority: str | os.PathLike[str] | None = None,
) -> Policy:
    """A policy that is ready to infer.

    Args:
        where: checkpoint folder, or ``ws://host:port``, ``wss://host:port`` of ``adamoe serve``.
        device: of a folder's: cpu, cuda, cuda:N; auto: CUDA where there is a device.
        seed: of the noise; -1: a new one every time.
        token_file, authority: of a server, see ``LinkSettings``.

    Raises:
        ContractError: no such folder or server, or it holds no policy that can act.
    """
    settings = PolicySettings(device=device, seed=seed)
    if "://" in str(where):
        from adamoe_ros.serving.link import LinkSettings
        from adamoe_ros.serving.remote_actor import RemoteActor

        token, signer = (None if file is None else Path(file) for file in (token_file, authority))
        link = LinkSettings(str(where), token, signer, answer_s=_ANSWER_S)
        return Policy(RemoteActor(None, link, settings))
    if token_file is not None or authority is not None:
        do = "leave them away, or give an address"
        raise ContractError(problem("token_file, authority", "a ws:// address", str(where), do))
    from adamoe_ros.policy.actor import PolicyActor  # torch, which a server's client does without
    from adamoe_ros.policy.checkpoint import read_checkpoint

    return Policy(PolicyActor(None, read_checkpoint(Path(where)), settings))
