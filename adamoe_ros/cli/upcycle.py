# SPDX-License-Identifier: Apache-2.0
"""Turn a dense checkpoint into AdaMoE: every routed expert starts as the dense feed-forward layer.

As in the paper's code the untrained result is not the dense policy: its feed-forward layers start at
about three quarters of the dense output. --preserve makes the first output equal the dense one's bit
for bit, which is a departure from the paper. Router and scale adapter are drawn independently; the
published code draws both from one key, so that they start equal.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``adamoe upcycle``."""
    add = parser.add_argument
    add("checkpoint", type=Path, help="folder of a dense checkpoint")
    add("out", type=Path, help="folder to make")
    add("--experts", type=int, default=4, metavar="E", help="routed experts per layer (default 4)")
    add("--top-k", type=int, default=1, metavar="K", help="experts per token (default 1)")
    add(
        "--variant",
        choices=("adamoe", "csmoe", "vanilla"),
        default="adamoe",
        help="how experts are weighed (default adamoe)",
    )
    add(
        "--noise",
        type=float,
        default=0.0,
        metavar="STD",
        help="normal noise on each routed expert (default 0, the authors' configurations)",
    )
    add(
        "--router-std",
        type=float,
        default=0.006,
        metavar="STD",
        help="of router and scale adapter (default 0.006)",
    )
    add("--preserve", action="store_true", help="the first output equals the dense policy's")
    add("--seed", type=int, default=0, help="of everything that is drawn (default 0)")
    add("--overwrite", action="store_true", help="replace the folder OUT")


def run(options: argparse.Namespace) -> int:
    """Convert.

    Raises:
        ContractError: everything that does not fit; nothing is written then.
    """
    from adamoe_ros.cli.progress import Megabytes
    from adamoe_ros.contract.errors import Problems
    from adamoe_ros.model.config import MoEConfig
    from adamoe_ros.model.dense_to_moe import UpcycleSettings
    from adamoe_ros.policy.upcycling import upcycle_checkpoint

    problems = Problems()
    for name in ("noise", "router_std"):
        value = getattr(options, name)
        if not 0 <= value < 1e3:
            problems.add(f"--{name.replace('_', '-')}", "0 or more", value, "correct it")
    if not 1 <= options.top_k <= options.experts:
        got = f"{options.top_k} of {options.experts}"
        problems.add("--top-k", "1 to --experts", got, "correct one")
    problems.raise_if_any()
    moe = MoEConfig(options.variant, options.experts, options.top_k)
    settings = UpcycleSettings(options.noise, options.router_std, options.preserve)
    with Megabytes("upcycling") as bar:
        count = upcycle_checkpoint(
            options.checkpoint,
            options.out,
            moe,
            settings,
            options.seed,
            options.overwrite,
            bar.begin,
        )
    print(f"parameters: {count.total:,} total, {count.active:,} active per token")
    print(f"memory: {count.stored_bytes / 1e9:.2f} GB of weights as stored")
    print(f"written: {options.out}")
    return 0
