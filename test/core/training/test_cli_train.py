# SPDX-License-Identifier: Apache-2.0
"""``adamoe train`` as a person calls it: from nothing to a checkpoint that was tried."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from training_sizes import SMALL_CHANGES

from adamoe_ros.cli.main import main
from adamoe_ros.policy.checkpoint import read_checkpoint
from adamoe_ros.training.training_log import read_lines

SHIPPED = Path(__file__).parents[3] / "config" / "training" / "lift_bar.yaml"


def test_from_nothing_to_a_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Demonstrations are made, the policy is trained and rolled out in the simulator."""
    changes = {"aux_positions": 2, "num_views": 3, "state_dim": 14, "action_dim": 14}
    changes |= {"vision.image_size": [24, 48], "horizon": 30, "prompt_length": 16}
    settings = {
        "name": "short",
        "steps": 2,
        "batch_size": 4,
        "threads": 1,
        "model": {"changes": {**SMALL_CHANGES, **changes}},
        "data": {"folder": "data", "generate": [{"episodes": 1, "every": 80}]},
        "evaluation": {"every_steps": 2, "episodes": 1, "execute_rows": 30},
    }
    monkeypatch.chdir(tmp_path)
    Path("short.yaml").write_text(yaml.safe_dump(settings))
    assert main(["train", "--config", "short.yaml", "--set", "log_every=1"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "checkpoint: out/training/short/checkpoint\n"
    assert "roll-outs: 0/1 succeed" in captured.err
    assert read_checkpoint(Path("out/training/short/checkpoint")).manifest.instructions
    rows = read_lines(Path("out/training/short/log.jsonl"))
    assert [row["step"] for row in rows] == [1, 2, 2]
    assert rows[-1]["evaluation"] == {"success": 0.0, "episodes": 1.0}
    # a finished run has nothing left to do, and takes its settings from its own folder
    assert main(["train", "--resume", "--out", "out/training/short"]) == 0


def test_printed_settings_are_the_shipped_ones(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--config", str(SHIPPED), "--set", "steps=7", "--print-config"]
    assert main(["train", *arguments]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    shipped = yaml.safe_load(SHIPPED.read_text())
    assert printed["steps"] == 7
    assert printed["model"]["changes"] == shipped["model"]["changes"]
    made = [document["data"]["generate"][0]["noise"] for document in (printed, shipped)]
    assert made[0] == made[1]


def test_wrong_settings_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--set", "stepps=7", "--set", "batch_size=0"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(line.startswith("adamoe train: ") for line in lines)
