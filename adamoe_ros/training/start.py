# SPDX-License-Identifier: Apache-2.0
"""What a run starts from: fresh weights of a preset, or a checkpoint that goes on learning.

May import: contract, model, policy, torch, training.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from adamoe_ros.contract.errors import ContractError, Problems, problem
from adamoe_ros.contract.manifest import CheckpointManifest
from adamoe_ros.model.config import ModelConfig as Sizes
from adamoe_ros.model.config import preset
from adamoe_ros.model.initial import initialise
from adamoe_ros.model.policy_model import AdaMoEPolicy
from adamoe_ros.policy.checkpoint import Checkpoint, read_checkpoint
from adamoe_ros.policy.normalise import NormStats
from adamoe_ros.training.config import TrainingConfig
from adamoe_ros.training.demonstrations import DemonstrationSet
from adamoe_ros.training.export import make_manifest
from adamoe_ros.training.samples import DataLayout
from adamoe_ros.training.statistics import column_statistics
from adamoe_ros.training.vocabulary import build_tokenizer

_LEAST_STD = 0.01  # rad, m, or share of the gripper's way: a joint at rest is not blown up to noise


@dataclass(frozen=True)
class Start:
    """Network, statistics and tokenizer of a run; a checkpoint brings all three.

    Attributes:
        manifest: what the trained checkpoint's will say, provenance apart.
        tokenizer: content of the tokenizer's file.
    """

    sizes: Sizes
    network: AdaMoEPolicy
    statistics: NormStats
    tokenizer: bytes
    manifest: CheckpointManifest


def read_base(config: TrainingConfig) -> Checkpoint | None:
    """The checkpoint to go on from, if the settings name one.

    Raises:
        ContractError: it is damaged or raw-only, or sizes are to change.
    """
    folder = config.model.checkpoint
    if folder is None:
        return None
    if config.model.changes:
        got, do = sorted(config.model.changes), "leave them out: the checkpoint has its sizes"
        raise ContractError(problem("model.changes", "none with model.checkpoint", got, do))
    base = read_checkpoint(folder)
    base.vectors()  # refuses a raw-only one
    return base


def model_sizes(config: TrainingConfig, base: Checkpoint | None = None) -> Sizes:
    """Sizes of the network to train.

    Raises:
        ContractError: no such preset, sizes that do not fit, or a clean prefix of the whole chunk.
    """
    named = preset(config.model.preset).changed(config.model.changes)
    sizes = named if base is None else base.config
    if config.rtc_max_delay >= sizes.horizon:
        expected, do = f"less than the {sizes.horizon} rows of a chunk", "lower it"
        raise ContractError(problem("rtc_max_delay", expected, config.rtc_max_delay, do))
    return sizes


def make_start(
    config: TrainingConfig, base: Checkpoint | None, sizes: Sizes, data: DemonstrationSet
) -> Start:
    """Everything a run needs besides its data.

    Raises:
        ContractError: the data means something else than the checkpoint does.
    """
    if base is None:
        network = AdaMoEPolicy(sizes)
        initialise(network, torch.Generator().manual_seed(config.seed))
        statistics = data_statistics(data, wanted=sizes.aux_positions > 0)
        tokenizer = build_tokenizer(data.sentences()).to_str().encode()
        manifest = make_manifest(data.layout, data.sentences(), config.rtc_max_delay)
        return Start(sizes, network, statistics, tokenizer, manifest)
    _check_meaning(base.manifest, data.layout)
    assert base.statistics is not None and base.manifest.tokenizer is not None
    network = base.load_network("cpu", torch.float32).train().requires_grad_(True)
    tokenizer = (base.folder / base.manifest.tokenizer).read_bytes()
    sentences = (*base.manifest.instructions, *data.sentences())
    manifest = base.manifest.model_copy(
        update={
            "instructions": tuple(dict.fromkeys(sentences)),
            "rtc_max_delay": config.rtc_max_delay,
        }
    )
    return Start(sizes, network, base.statistics, tokenizer, manifest)


def data_statistics(data: DemonstrationSet, wanted: bool) -> NormStats:
    """Statistics of a data set, object positions if ``wanted`` and known."""
    objects = data.objects() if wanted else None
    return NormStats(
        state=column_statistics(data.states(), _LEAST_STD),
        actions=column_statistics(data.action_rows(), _LEAST_STD),
        objects=None if objects is None else column_statistics(objects, _LEAST_STD),
    )


def _check_meaning(manifest: CheckpointManifest, layout: DataLayout) -> None:
    """The data's numbers must be the checkpoint's: nothing is converted here."""
    data = make_manifest(layout)
    problems = Problems()
    for name in ("embodiment", "state_roles", "camera_slots", "gripper", "control_rate_hz"):
        expected, got = getattr(manifest, name), getattr(data, name)
        if expected != got:
            do = "convert the data, or train from scratch"
            problems.add(f"data: {name}", f"{expected} as the checkpoint has", got, do)
    problems.raise_if_any()
