# SPDX-License-Identifier: Apache-2.0
"""Saved state survives failures while saving; logs drop what a killed run had written ahead."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import pytest
import torch

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.training.run_state import (
    load_state,
    save_state,
    write_file,
)
from adamoe_ros.training.training_log import JsonLines, read_lines


def test_state_round_trip(tmp_path: Path) -> None:
    save_state(tmp_path / "state.pt", {"step": 3, "weights": {"w": torch.arange(4.0)}})
    state = load_state(tmp_path / "state.pt")
    assert state["step"] == 3
    assert torch.equal(state["weights"]["w"], torch.arange(4.0))


def test_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    save_state(path, {"step": 1})

    def fail(stream: IO[bytes]) -> None:
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(ContractError, match="No space left"):
        write_file(path, fail)
    assert load_state(path)["step"] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.pt"]


def test_damaged_state_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    path.write_bytes(b"not a state")
    with pytest.raises(ContractError) as caught:
        load_state(path)
    assert len(caught.value.problems) == 1


def test_log_continues_where_the_state_is(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = JsonLines(path)
    for step in range(5):
        log.write({"step": step})
    log.close()
    with path.open("a") as stream:
        stream.write('{"step": 5, "lo')  # killed here
    again = JsonLines(path, keep_below=3)
    again.write({"step": 3})
    again.close()
    assert [row["step"] for row in read_lines(path)] == [0, 1, 2, 3]
