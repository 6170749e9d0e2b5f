# SPDX-License-Identifier: Apache-2.0
"""Bring a checkpoint from another format into ours (--from), ours into another (--to), or both.

What the source does not say is given as options; what nobody says is null in the manifest, and such
a checkpoint runs only with 'adamoe infer --raw', never on a robot. Nothing is written unless every
tensor is accounted for.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adamoe_ros.policy.checkpoint_formats.importing import ImportSettings
    from adamoe_ros.policy.checkpoint_formats.metadata import Entry

_FROM = ("openpi-jax", "adamoe-jax", "openpi-torch", "lerobot", "transformers")
_TO = ("lerobot", "openpi-torch", "transformers")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``adamoe convert``."""
    parser.add_argument("source", type=Path, help="checkpoint folder, or .npz of a JAX format")
    parser.add_argument("out", type=Path, help="folder to make")
    parser.add_argument("--from", dest="source_format", choices=_FROM, help="format of the source")
    parser.add_argument("--to", dest="target_format", choices=_TO, help="format to write")
    parser.add_argument(
        "--dtype",
        choices=("keep", "float32", "bfloat16", "float16"),
        default="keep",
        help="of the weights (default: as they are stored)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the folder OUT")
    _add_metadata(parser.add_argument_group("metadata, where the source does not say it"))


def _add_metadata(group: Any) -> None:
    add = group.add_argument
    add("--horizon", type=int, metavar="N", help="rows of a chunk (in no JAX tensor)")
    add("--top-k", type=int, metavar="N", help="experts per token (adamoe-jax)")
    add("--prompt-length", type=int, metavar="N", help="most prompt tokens")
    add("--flow-steps", type=int, metavar="N", help="Euler steps of sampling")
    add("--shared-weight", type=float, default=0.5, metavar="X", help="shared expert's (0.5)")
    add(
        "--router-dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="bfloat16 replays what the official code computes (default float32)",
    )
    add("--cameras", metavar="SLOT,...", help="names of the camera slots, model order")
    add("--joints", metavar="ROLE,...", help="e.g. left*6,left_gripper,right*6,right_gripper")
    add("--actions", metavar="ROLE,...", help="where they are not the joints: ee_x,...,gripper")
    add(
        "--relative-actions",
        choices=("none", "joints", "all"),
        help="which actions count from the chunk's first state (joints: all but grippers)",
    )
    add("--gripper-open", type=float, metavar="X", help="value of an open gripper")
    add("--gripper-closed", type=float, metavar="X", help="value of a closed gripper")
    add("--control-rate", type=float, metavar="HZ", help="rows of a chunk per second")
    add("--embodiment", metavar="NAME", help="as in a robot profile, e.g. vx300s_dual")
    add(
        "--adapt-to-pi",
        choices=("none", "openpi", "adamoe"),
        help="generation of ALOHA's transform into pi0's convention",
    )
    add("--state-source", choices=("measured", "last_command"), help="what the state was")
    add("--statistics", type=Path, metavar="FILE", help="norm_stats.json to use")
    add("--asset", metavar="NAME", help="which of the source's assets/NAME/norm_stats.json")
    add("--normalization", choices=("mean_std", "quantile"), help="what statistics are used for")
    add("--normalization-eps", type=float, metavar="X", help="openpi 1e-6, LeRobot 1e-8")
    add("--prompt-style", choices=("openpi", "lerobot", "plain"), help="how prompts are tokenised")
    add(
        "--prompt-state",
        choices=("none", "joints", "padded"),
        help="pi0.5: numbers of the state in the prompt; LeRobot before 0.5 padded them "
        "(padded), openpi's pi05_libero has none",
    )
    add(
        "--allow-constant",
        action="store_true",
        help="accept dimensions without spread: the epsilon alone divides them, as in openpi",
    )
    add("--tokenizer", type=Path, metavar="FILE", help="tokenizer.json or SentencePiece .model")
    add("--raw-only", action="store_true", help="mark it so even if everything is known")


def run(options: argparse.Namespace) -> int:
    """Convert.

    Raises:
        ContractError: everything that does not fit; nothing is written then.
    """
    import tempfile

    from adamoe_ros.contract.errors import ContractError, problem

    if not options.source_format and not options.target_format:
        do = "name the format of the source, or the one to write"
        raise ContractError(problem("adamoe convert", "--from or --to", "neither", do))
    if not options.target_format:
        _import(options, options.out, options.overwrite)
    elif not options.source_format:
        _export(options, options.source)
    else:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".adamoe-", dir=options.out.parent) as between:
            ours = Path(between) / options.source.name
            _import(options, ours, overwrite=False)
            _export(options, ours)
    print(f"written: {options.out}")
    return 0


def _import(options: argparse.Namespace, out: Path, overwrite: bool) -> None:
    from dataclasses import replace

    from adamoe_ros.cli.progress import Megabytes
    from adamoe_ros.policy.checkpoint_formats.importing import import_checkpoint
    from adamoe_ros.policy.checkpoint_formats.registry import IMPORTS

    settings = replace(_settings(options), overwrite=overwrite)
    foreign = IMPORTS[options.source_format](options.source, options.asset)
    with Megabytes("converting") as bar:
        made = import_checkpoint(foreign, options.source_format, out, settings, bar.begin)
    for line in (*foreign.notes, *made.metadata.lines()):
        print(f"  {line}")
    if made.manifest.raw_only:
        print(
            f"raw-only ({made.manifest.raw_only_reason}): runs with 'adamoe infer --raw', never on a robot"
        )


def _export(options: argparse.Namespace, source: Path) -> None:
    from adamoe_ros.cli.progress import Megabytes
    from adamoe_ros.policy.checkpoint_formats.exporting import export_checkpoint

    with Megabytes("converting") as bar:
        export_checkpoint(
            source,
            options.target_format,
            options.out,
            _dtype(options.dtype),
            options.overwrite,
            bar.begin,
        )


def _settings(options: argparse.Namespace) -> ImportSettings:
    from adamoe_ros.policy.checkpoint_formats.importing import ImportSettings

    return ImportSettings(
        metadata=_metadata(options),
        statistics=options.statistics,
        dtype=_dtype(options.dtype),
        router_dtype=options.router_dtype,
        shared_weight=options.shared_weight,
        raw_only=options.raw_only,
        allow_constant=options.allow_constant,
    )


def _metadata(options: argparse.Namespace) -> dict[str, Entry]:
    """What the options say."""
    from adamoe_ros.contract.errors import Problems
    from adamoe_ros.policy.checkpoint_formats.metadata import CheckpointMetadata, expand_joints

    problems, metadata = Problems(), CheckpointMetadata()
    ends = (options.gripper_open, options.gripper_closed)
    if (ends[0] is None) != (ends[1] is None) or (ends[0] is not None and ends[0] == ends[1]):
        do = "give both"
        problems.add("--gripper-open, --gripper-closed", "two different values", ends, do)
    positive = ("horizon", "top_k", "prompt_length", "flow_steps", "control_rate")
    for name in positive:
        value = getattr(options, name)
        if value is not None and not value > 0:
            problems.add(f"--{name.replace('_', '-')}", "more than 0", value, "correct it")
    problems.raise_if_any()
    cameras = options.cameras
    given: dict[str, Any] = {
        "horizon": options.horizon,
        "top_k": options.top_k,
        "prompt_length": options.prompt_length,
        "flow_steps": options.flow_steps,
        "camera_slots": tuple(cameras.split(",")) if cameras else None,
        "joints": expand_joints(options.joints) if options.joints else None,
        "actions": expand_joints(options.actions) if options.actions else None,
        "relative": options.relative_actions,
        "gripper": ends if ends[0] is not None else None,
        "control_rate_hz": options.control_rate,
        "embodiment": options.embodiment,
        "adapt_to_pi": options.adapt_to_pi,
        "state_source": options.state_source,
        "normalization": options.normalization,
        "normalization_eps": options.normalization_eps,
        "prompt_style": options.prompt_style,
        "prompt_state": options.prompt_state,
        "tokenizer": options.tokenizer,
    }
    for name, value in given.items():
        metadata.set("option", **{name: value})
    return metadata.known


def _dtype(name: str) -> Any:
    import torch

    return None if name == "keep" else getattr(torch, name)
