# SPDX-License-Identifier: Apache-2.0
"""Do the data mean what the checkpoint means: joints, cameras, rate, and the range of the numbers.

Nothing is converted here: what differs is named.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import Problems
from adamoe_ros.contract.manifest import CheckpointManifest
from adamoe_ros.policy.vectors import VectorSpace
from adamoe_ros.training.demonstrations import DemonstrationSet
from adamoe_ros.training.export import make_manifest
from adamoe_ros.training.samples import DataLayout

_FAR, _WIDE = 10.0, 20.0  # median and spread, in standard deviations, beyond any task of a robot


def check_meaning(manifest: CheckpointManifest, layout: DataLayout) -> None:
    """The data's layout must be the checkpoint's.

    Raises:
        ContractError: everything that differs.
    """
    data = make_manifest(layout)
    problems = Problems()
    for name in ("embodiment", "camera_slots", "gripper", "control_rate_hz", "state_source"):
        expected, got = getattr(manifest, name), getattr(data, name)
        if expected != got and (name, expected) != ("state_source", None):
            do = "convert the data with --checkpoint, or set model.inherit=weights"
            problems.add(f"data: {name}", f"{expected} as the checkpoint has", got, do)
    expected, got = manifest.state_roles, data.state_roles
    if expected != got:
        mixed = "in another order: " if sorted(expected) == sorted(got) else ""
        do = "convert the data with --checkpoint, or set model.inherit=weights"
        problems.add("data: joints", ", ".join(expected), f"{mixed}{', '.join(got)}", do)
    problems.raise_if_any()


def check_statistics(
    vectors: VectorSpace, manifest: CheckpointManifest, data: DemonstrationSet
) -> None:
    """Normalised by the checkpoint's statistics, the data must look like data.

    Radians against degrees, or the statistics of another robot, put whole joints far outside.

    Raises:
        ContractError: every joint that they do not fit.
    """
    problems = Problems()
    joints = len(manifest.joints)
    states = vectors.encode_state(data.states())[:, :joints]
    rows = [vectors.encode_actions(chunks, state) for chunks, state in data.chunks()]
    actions = np.concatenate([row.reshape(-1, row.shape[-1]) for row in rows])[:, :joints]
    for name, values in (("state", states), ("actions", actions)):
        for role, far, wide in zip(manifest.state_roles, *_reach(values), strict=True):
            if far > _FAR or wide > _WIDE:
                got = f"a median {far:.0f} and a spread of {wide:.0f} standard deviations"
                do = "are they another robot's? set model.inherit=meaning for the data's own"
                where = f"statistics of the checkpoint: {name}: {role}"
                problems.add(where, "those of these data", got, do)
    problems.raise_if_any()


def _reach(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(D,) median distance from 0 and standard deviation of every column."""
    return np.abs(np.median(values, axis=0)), values.std(axis=0)
