# SPDX-License-Identifier: Apache-2.0
"""One deterministic action chunk from the images, state, prompt and noise in a file.

To check that this machine computes what the training machine computed. --inputs is an .npz with
images (views, height, width, 3) uint8, image_mask (optional), state, prompt or token_ids, and noise
(optional, horizon x action dim); --out receives actions, experts (selected per step, layer and
token) and latency_ms. --raw: model space, without statistics or joint mapping; state and actions
are the padded model vectors.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from adamoe_ros.cli.options import add_options
from adamoe_ros.contract.parameters import same_as
from adamoe_ros.control.policy_settings import PolicySettings

_SEED = "Of the noise where the file has none."


@dataclass(frozen=True)
class _Policy(PolicySettings):
    seed: int = same_as(PolicySettings, "seed", default=0, bounds=(0, 2**31 - 1), text=_SEED)
    device: str = same_as(PolicySettings, "device", default="cpu")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``adamoe infer``."""
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, help="checkpoint folder")
    add("--inputs", type=Path, required=True, metavar="IN.npz", help="what the policy sees")
    add("--out", type=Path, required=True, metavar="OUT.npz", help="file to write")
    add("--raw", action="store_true", help="padded model vectors in and out")
    add("--steps", type=int, metavar="N", help="Euler steps (default: the checkpoint's)")
    add(
        "--dtype",
        choices=("stored", "float32", "bfloat16"),
        default="stored",
        help="of the weights (default: as stored)",
    )
    add_options(parser, _Policy, "seed device")


def run(options: argparse.Namespace) -> int:
    """Infer.

    Raises:
        ContractError: checkpoint, inputs or device do not fit; nothing is written then.
    """
    import torch

    from adamoe_ros.contract.errors import ContractError, problem
    from adamoe_ros.policy.infer_file import InferSettings, infer_file

    if options.steps is not None and options.steps < 1:
        raise ContractError(problem("--steps", "at least 1", options.steps, "correct it"))
    dtype = None if options.dtype == "stored" else getattr(torch, options.dtype)
    settings = InferSettings(options.raw, options.steps, options.seed, options.device, dtype)
    made = infer_file(options.checkpoint, options.inputs, options.out, settings)
    rows, width = made["actions"].shape
    print(f"{rows} rows of {width} actions in {made['latency_ms']:.1f} ms: {options.out}")
    return 0
