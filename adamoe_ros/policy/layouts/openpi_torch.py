# SPDX-License-Identifier: Apache-2.0
"""openpi's PyTorch checkpoints: ``model.safetensors``, ``config.json``, ``assets``."""

from __future__ import annotations

from pathlib import Path

from adamoe_ros.policy.layouts.facts import Facts
from adamoe_ros.policy.layouts.opened import Opened
from adamoe_ros.policy.layouts.safetensors_source import open_safetensors
from adamoe_ros.policy.layouts.side_files import (
    read_json,
    tell_assets,
    tell_openpi,
    tell_tokenizer,
)
from adamoe_ros.policy.layouts.torch_names import open_torch


def open_source(source: Path, asset: str | None) -> Opened:
    """Open a dense pi0.

    Raises:
        ContractError: missing or damaged files.
    """
    folder = source.parent if source.is_file() else source
    facts = Facts()
    tell_openpi(facts)
    facts.tell("config.json", horizon=read_json(folder / "config.json").get("action_horizon"))
    tell_assets(facts, folder, asset)
    tell_tokenizer(facts, folder)
    return open_torch(source, open_safetensors(source), facts, {})
