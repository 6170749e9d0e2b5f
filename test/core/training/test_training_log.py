# SPDX-License-Identifier: Apache-2.0
"""TensorBoard's own reader finds what the JSON lines say; a resumed run leaves no second truth."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from adamoe_ros.training.trainer import Trainer
from adamoe_ros.training.training_config import load_config
from adamoe_ros.training.training_log import TrainingLog, read_lines


def scalars(folder: Path, name: str) -> dict[int, float]:
    """Step -> value of one curve."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {event.step: event.value for event in events.Scalars(name)}


def test_event_files_have_what_the_lines_have(
    make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    settings = ["steps=3", "batch_size=4", "log_every=1", "evaluation.every_steps=3"]
    trainer = make_trainer(load_config(None, settings), tmp_path)
    trainer.evaluate = lambda: {"success": 0.25}
    trainer.run()
    rows = {row["step"]: row for row in read_lines(tmp_path / "log.jsonl") if "loss" in row}
    assert scalars(tmp_path, "loss/flow") == pytest.approx(
        {step: row["flow"] for step, row in rows.items()}, rel=1e-6
    )
    for name in ("learning_rate/router", "speed/samples_per_s", "speed/data_share"):
        assert list(scalars(tmp_path, name)) == [1, 2, 3]
    assert scalars(tmp_path, "evaluation/success") == {3: 0.25}


def test_a_resumed_run_replaces_what_was_beyond(tmp_path: Path) -> None:
    for first, value in ((0, 1.0), (2, 5.0)):
        log = TrainingLog(tmp_path, first, 4, 1, events=True)
        for step in range(first + 1, 5):
            log.losses(step, {"loss": value}, {})
        log.close()
        time.sleep(1.0 - time.time() % 1.0)  # TensorBoard orders files by the second they began in
    assert scalars(tmp_path, "loss/loss") == {1: 1.0, 2: 1.0, 3: 5.0, 4: 5.0}
    lines = read_lines(tmp_path / "log.jsonl")
    assert [(r["step"], r["loss"]) for r in lines] == [(1, 1.0), (2, 1.0), (3, 5.0), (4, 5.0)]


def test_without_the_package_a_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    log = TrainingLog(tmp_path, 0, 1, 1, events=True)
    log.losses(1, {"loss": 1.0}, {})
    log.close()
    assert "pip install tensorboard" in capsys.readouterr().err
    assert not (tmp_path / "tensorboard").exists()
