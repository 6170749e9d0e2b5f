# SPDX-License-Identifier: Apache-2.0
"""doc/training.md: its YAML is valid, and its settings and files exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

from adamoe_ros.training.training_config import NetworkConfig, load_config

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "doc" / "training.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
INLINE = re.findall(r"`((?:model|evaluation|gradient|rtc)[\w.]*: [^`]+)`", TEXT)


@pytest.mark.parametrize("block", BLOCKS)
def test_blocks_are_settings(block: str, tmp_path: Path) -> None:
    path = tmp_path / "block.yaml"
    path.write_text(block, encoding="utf-8")
    load_config(path)


def test_single_settings_are_valid() -> None:
    assert len(INLINE) >= 5
    for text in INLINE:
        key, _, value = text.partition(": ")
        load_config(None, [f"{key}={value}"])
    for key, value in re.findall(r"--set (?!key)([\w.]+)=(\S+?)[`\s]", TEXT):
        load_config(None, [f"{key}={yaml.safe_load(value)}"])


def test_named_robots_exist() -> None:
    for name in re.findall(r"robot: (\w+)", TEXT):
        assert (ROOT / "config" / "robots" / f"{name}.yaml").is_file(), name


def test_every_way_to_inherit_is_explained() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)
    assert set(rows) == set(get_args(NetworkConfig.model_fields["inherit"].annotation))
