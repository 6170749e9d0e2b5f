# SPDX-License-Identifier: Apache-2.0
"""Data that do not fit, and a full disk: one clear line, exit code 2, the run's state untouched."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dataset_support import ROLES, as_others_make_it, change_rows, train_command, write_dataset

from adamoe_ros.training.run_state import latest_state

NAN = float("nan")
STATE = "observation.state"
MEANING = {"embodiment": "vx300s_dual", "roles": ROLES}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good one."""
    return write_dataset(tmp_path_factory.mktemp("good") / "set")


@pytest.fixture(scope="module")
def run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on it that has been saved."""
    out = tmp_path_factory.mktemp("run") / "run"
    assert train_command(out, **{"data.dataset": str(dataset)}) == 0
    return out


def change_info(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "meta" / "info.json"
    info = json.loads(path.read_text(encoding="utf-8"))
    change(info)
    path.write_text(json.dumps(info), encoding="utf-8")


def no_camera(folder: Path) -> dict[str, Any]:
    change_info(folder, lambda info: info["features"].pop("observation.images.cam_left_wrist"))
    return {}


def nan_action(folder: Path) -> dict[str, Any]:
    def change(columns: dict[str, list[Any]]) -> None:
        columns["action"][7][3] = NAN

    change_rows(folder, change)
    return {}


def other_order(folder: Path) -> dict[str, Any]:
    """Right arm first, as the dataset says itself."""
    path = folder / "meta" / "adamoe.json"
    ours = json.loads(path.read_text(encoding="utf-8"))
    mixed = ROLES[7:] + ROLES[:7]
    path.write_text(json.dumps({**ours, "roles": mixed}), encoding="utf-8")

    def rename(info: dict[str, Any]) -> None:
        for key in ("action", STATE):
            info["features"][key]["names"] = mixed

    change_info(folder, rename)
    return {}


def degrees(folder: Path) -> dict[str, Any]:
    """Joint 1 of the left arm as another robot's driver has it."""

    def change(columns: dict[str, list[Any]]) -> None:
        for key in ("action", STATE):
            for row in columns[key]:
                row[1] = row[1] * 57.3 + 90.0

    change_rows(folder, change)
    return {}


def other_version(folder: Path) -> dict[str, Any]:
    change_info(folder, lambda info: info.update(codebase_version="v1.6"))
    return {}


def no_meaning(folder: Path) -> dict[str, Any]:
    as_others_make_it(folder)
    return {}


def too_few_columns(folder: Path) -> dict[str, Any]:
    as_others_make_it(folder)
    return {"data.meaning": {**MEANING, "roles": ROLES[:7]}}


def no_file(folder: Path) -> dict[str, Any]:
    next((folder / "data").rglob("*.parquet")).unlink()
    return {}


def broken_picture(folder: Path) -> dict[str, Any]:
    def change(columns: dict[str, list[Any]]) -> None:
        columns["observation.images.cam_high"][5]["bytes"] = b"no picture"

    change_rows(folder, change)
    return {}


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (no_camera, "camera of cam_left_wrist: expected 'cam_left_wrist', got cam_high"),
        (nan_action, "actions: expected finite numbers, got NaN or inf in row 7"),
        (other_order, "data: joints: expected left_0, left_1"),
        (degrees, "statistics of the checkpoint: state: left_1: expected those of these data"),
        (other_version, "expected v3.0 or v2.1, got v1.6"),
        (no_meaning, "expected joint roles and gripper ends"),
        (too_few_columns, "expected 7 columns, one a joint role, got 14 columns"),
        (no_file, "no such file"),
        (broken_picture, "row 5: expected an RGB picture, got 10 bytes"),
    ],
)
def test_bad_data_is_named(
    damage: Callable[[Path], dict[str, Any]],
    expected: str,
    dataset: Path,
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = shutil.copytree(dataset, tmp_path / "set")
    settings = {"data.dataset": str(folder), "model.checkpoint": str(run / "checkpoint")}
    settings |= damage(folder)
    out = shutil.copytree(run, tmp_path / "run")
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    capsys.readouterr()
    assert train_command(out, "--resume", **settings, steps=4) == 2
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("adamoe train: ")]
    assert any(expected in line for line in lines), lines
    assert len(lines) <= 2  # state and action columns may be wrong at once
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


@contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[int], None]]:
    """A file system of 64 MB in memory; yields what leaves so many bytes of it free."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=64m", "none", str(folder)]
    subprocess.run(["mount", *options], check=True, capture_output=True)
    ballast = folder / "ballast"

    def leave(free: int) -> None:
        ballast.unlink(missing_ok=True)
        stat = os.statvfs(folder)
        missing = stat.f_bavail * stat.f_bsize - free
        if missing > 0:
            ballast.write_bytes(bytes(missing))

    try:
        yield leave
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)


@contextmanager
def file_limit(folder: Path) -> Iterator[Callable[[int], None]]:
    """Where nothing may be mounted: no file may grow beyond a size, which is an OSError, too."""
    folder.mkdir()
    old = resource.getrlimit(resource.RLIMIT_FSIZE)

    def leave(free: int) -> None:
        limit = free if free < 1 << 30 else old[0]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))

    try:
        yield leave
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


@pytest.mark.parametrize("disk", [small_disk, file_limit])
def test_a_full_disk_leaves_the_state(
    disk: Any,
    dataset: Path,
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The run stops with a line; with room again it goes on."""
    if disk is small_disk and os.geteuid() != 0:
        pytest.skip("mounting needs root")
    data = {"data.dataset": str(dataset)}
    with disk(tmp_path / "disk") as leave:
        out = shutil.copytree(run, tmp_path / "disk" / "run")
        state = latest_state(out)
        assert state is not None
        before = {path.name: path.read_bytes() for path in state.iterdir()}
        leave(sum(map(len, before.values())) // 2)
        capsys.readouterr()
        assert train_command(out, "--resume", **data, **{"data.cache": str(tmp_path)}, steps=4) == 2
        lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("adamoe train:")]
        assert len(lines) == 1
        assert "state-00000004: expected room to save it" in lines[0] and "--resume" in lines[0]
        assert {path.name: path.read_bytes() for path in state.iterdir()} == before
        assert not list(out.glob(".*"))  # nothing half-written is left
        leave(1 << 40)
        assert train_command(out, "--resume", **data, **{"data.cache": str(tmp_path)}, steps=4) == 0
        assert [path.name for path in out.glob("state*")] == ["state-00000004"]
