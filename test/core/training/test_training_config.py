# SPDX-License-Identifier: Apache-2.0
"""Settings: defaults, overrides, round trip, every wrong key named at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.training.training_config import dump_config, load_config


def test_overrides_reach_nested_keys() -> None:
    config = load_config(None, ["optimiser.router.peak_lr=1e-3", "steps=12", "data.folder=demos"])
    assert config.optimiser.router.peak_lr == 1e-3
    assert config.optimiser.base.peak_lr == 2.5e-5
    assert (config.steps, config.data.folder) == (12, Path("demos"))


def test_printed_configuration_reads_back(tmp_path: Path) -> None:
    config = load_config(None, ["loss.balance.form=switch", "model.changes={width: 64}"])
    path = tmp_path / "printed.yaml"
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(path) == config


def test_all_findings_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("steps: -1\nstepz: 3\noptimiser: {base: {peak_lr: fast}}\n", encoding="utf-8")
    with pytest.raises(ContractError) as caught:
        load_config(path)
    text = str(caught.value)
    assert len(caught.value.problems) == 3
    for key in ("steps", "stepz", "optimiser.base.peak_lr"):
        assert f"bad.yaml: {key}:" in text


@pytest.mark.parametrize("override", ["steps", "=3", "steps.more=3"])
def test_malformed_override(override: str) -> None:
    with pytest.raises(ContractError, match="--set"):
        load_config(None, ["steps=3", override])


def test_missing_file_says_where() -> None:
    with pytest.raises(ContractError, match=r"nowhere\.yaml"):
        load_config(Path("nowhere.yaml"))
