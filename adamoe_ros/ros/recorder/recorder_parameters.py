# SPDX-License-Identifier: Apache-2.0
"""Parameters of recorder_node."""

from __future__ import annotations

from dataclasses import dataclass

from adamoe_ros.contract.parameters import ManagedParameters, Parameters, param, same_as


@dataclass(frozen=True)
class RecorderParameters(Parameters):
    """Parameters of recorder_node, declared here and nowhere else."""

    robot: str = same_as(ManagedParameters, "robot")
    checkpoint: str = param("", "Checkpoint folder whose hash is noted; empty: none.")
    folder: str = param("recordings", "Folder that gets one bag per episode.")
    extra_topics: tuple[str, ...] = param(
        (), "Topics beside those of the profile and of this package."
    )
    min_free: float = param(
        2.0,
        "Space that stays free on the disk; a recording ends in order before.",
        unit="GiB",
        bounds=(0.01, 10000.0),
    )
    queue: float = param(
        256.0,
        "Messages that may wait for the disk; more are dropped and counted.",
        unit="MiB",
        bounds=(1.0, 65536.0),
    )
    compress: bool = param(False, "Compress with zstd while recording.")
    parameter_nodes: tuple[str, ...] = param(
        ("policy_node", "control_node"), "Nodes whose parameters are noted with each episode."
    )
