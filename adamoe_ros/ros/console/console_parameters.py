# SPDX-License-Identifier: Apache-2.0
"""Parameters of console_node."""

from __future__ import annotations

from dataclasses import dataclass

from adamoe_ros.contract.parameters import ManagedParameters, Parameters, param, same_as


@dataclass(frozen=True)
class ConsoleParameters(Parameters):
    """Parameters of console_node, declared here and nowhere else."""

    robot: str = same_as(ManagedParameters, "robot")
    robots: tuple[str, ...] = param(
        (),
        "Namespaces of several robots, each with '=profile' behind it where it is another one than "
        "'robot'; none: the node's own namespace.",
    )
    checkpoint: str = param(
        "",
        "Checkpoint folder of the policy: pictures as the model sees them, trained sentences; "
        "empty: without them.",
    )
    tasks: tuple[str, ...] = param((), "Tasks of the simulator that the page offers.")
    host: str = param("127.0.0.1", "Address to listen on.")
    port: int = param(8088, "Port; 0: a free one.", bounds=(0, 65535))
    token_file: str = param("", "File with the token of operators; empty: none is asked for.")
    view_token_file: str = param("", "File with the token of those who may look and stop only.")
    certificate: str = param("", "TLS certificate (PEM chain).")
    key: str = param("", "Its key.")
    insecure: bool = param(False, "Let anybody operate who can reach the address.")
    picture_rate: float = param(
        12.0, "Pictures of each camera on the page, at most.", unit="Hz", bounds=(0.5, 60.0)
    )
    foxglove_port: int = param(
        0, "Port of a Foxglove server with the same data; 0: none.", bounds=(0, 65535)
    )
