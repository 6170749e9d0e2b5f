# SPDX-License-Identifier: Apache-2.0
"""Saved state survives failures while saving; logs drop what a killed run had written ahead."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import IO

import pytest
import torch
from state_support import saved

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.training.processes import ALONE
from adamoe_ros.training.run_state import latest_state, load_counters, save_state, write_file
from adamoe_ros.training.training_log import JsonLines, read_lines


def save(folder: Path, step: int, **tensors: torch.Tensor) -> None:
    save_state(folder, {"step": step}, tensors, ALONE)


def test_state_round_trip(tmp_path: Path) -> None:
    save(tmp_path, 2, w=torch.zeros(4))
    save(tmp_path, 3, w=torch.arange(4.0))
    assert [path.name for path in tmp_path.iterdir()] == ["state-00000003"]
    path = tmp_path / "state-00000003"
    assert load_counters(path, ALONE) == {"step": 3}
    assert torch.equal(saved(tmp_path)["w"], torch.arange(4.0))


def test_a_kill_between_two_states_leaves_the_newer_one(tmp_path: Path) -> None:
    save(tmp_path, 9, w=torch.zeros(4))
    shutil.copytree(tmp_path / "state-00000009", tmp_path / "state-00000010")
    (tmp_path / ".state.partial").mkdir()
    assert latest_state(tmp_path) == tmp_path / "state-00000010"
    save(tmp_path, 11, w=torch.zeros(4))
    assert [path.name for path in tmp_path.iterdir()] == ["state-00000011"]


def test_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(stream: IO[bytes]) -> None:
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(ContractError, match="No space left"):
        write_file(path, fail)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp"])
@pytest.mark.parametrize("content", [b"not a state", b"", None])
def test_damaged_state_is_one_line(tmp_path: Path, name: str, content: bytes | None) -> None:
    save(tmp_path, 1, w=torch.arange(1000.0))
    path = tmp_path / "state-00000001"
    (path / name).unlink()
    if content is not None:
        (path / name).write_bytes(content)
    with pytest.raises(ContractError, match=r"state-00000001: expected the state of") as caught:
        load_counters(path, ALONE)
    assert len(caught.value.problems) == 1 and "\n" not in str(caught.value)


def test_the_state_of_an_older_version_is_named(tmp_path: Path) -> None:
    torch.save({"step": 1}, tmp_path / "state.pt")
    path = latest_state(tmp_path)
    assert path is not None
    with pytest.raises(ContractError, match=r"state\.pt: expected the state of a run"):
        load_counters(path, ALONE)


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
