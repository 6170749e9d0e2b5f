# SPDX-License-Identifier: Apache-2.0
"""Set-up's steps, its answers to a machine that lacks something, and what it mends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import bootstrap
import machine
import pytest
import ros_wheels
from ros_source import RosSource
from steps import Steps, digest

ROOT = Path(__file__).resolve().parents[3]


def steps(folder: Path) -> Steps:
    """A set-up of two steps."""
    return Steps(folder / "stamps", folder / "log", total=2)


def test_a_step_runs_only_when_its_inputs_changed(tmp_path: Path) -> None:
    runs: list[str] = []
    for key in ("a", "a", "b"):
        steps(tmp_path).step("build", "building", key, lambda key=key: runs.append(key))
    assert runs == ["a", "b"]


def test_a_failed_step_runs_again(tmp_path: Path) -> None:
    def broken() -> None:
        raise SystemExit(2)

    steps(tmp_path).step("build", "building", "a", lambda: None)
    with pytest.raises(SystemExit):
        steps(tmp_path).step("build", "building", "b", broken)
    runs: list[str] = []
    steps(tmp_path).step("build", "building", "a", lambda: runs.append("again"))
    assert runs == ["again"]


def test_a_failed_command_shows_its_end_and_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = (
        "print('first'); print('OSError: [Errno 28] No space left on device'); raise SystemExit(1)"
    )
    with pytest.raises(SystemExit) as caught:
        steps(tmp_path).run(
            [sys.executable, "-c", code], "pip failed", diagnose=machine.diagnose_pip
        )
    lines = capsys.readouterr().err.splitlines()
    assert caught.value.code == 2
    assert any("| first" in line for line in lines)
    assert lines[-1].startswith("setup: disk: ")


def test_a_digest_sees_content_and_borders(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    first = digest(["a", "b", tmp_path / "a"])
    (tmp_path / "a").write_text("y")
    assert digest(["a", "b", tmp_path / "a"]) != first
    assert digest(["ab"]) != digest(["a", "b"])


@pytest.mark.parametrize(
    ("output", "start"),
    [
        ("NewConnectionError(<x>): Temporary failure in name resolution", "network: "),
        ("ERROR: No matching distribution found for torch==9", "package index: No matching"),
        ("OSError: [Errno 28] No space left on device", "disk: "),
    ],
)
def test_pip_failures_get_their_line(output: str, start: str) -> None:
    line = machine.diagnose_pip(f"some\n{output}\nmore")
    assert line is not None
    assert line.startswith(start)


def test_an_unknown_failure_gets_none() -> None:
    assert machine.diagnose_pip("error: something else") is None


def test_a_missing_compiler_and_a_full_disk_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CC", "CXX", "ROS_DISTRO"):
        monkeypatch.delenv(name, raising=False)
    lines = machine.lacks(tmp_path, min_free=1 << 62)
    assert [line.split(":")[0] for line in lines] == ["compiler", "compiler", "make", "disk"]


def test_this_machine_lacks_nothing() -> None:
    assert machine.lacks(ROOT, min_free=0) == []


def test_cmake_files_of_the_wheels_are_mended_once(tmp_path: Path) -> None:
    folder = tmp_path / "share" / "x" / "cmake"
    folder.mkdir(parents=True)
    path = folder / "export.cmake"
    numpy = "/opt/_internal/cpython-3.11.9/lib/python3.11/site-packages/numpy/_core/include"
    path.write_text(f'set(D "/opt/python/cp311-cp311/include/python3.11;{numpy};/usr/include")\n')
    assert ros_wheels.mend_all(tmp_path, "/here/py", "/here/np") == [path]
    assert path.read_text() == 'set(D "/here/py;/here/np;/usr/include")\n'
    assert ros_wheels.mend_all(tmp_path, "/here/py", "/here/np") == []


@pytest.mark.parametrize("name", ["nothing-of-that-name", "/bin/true"])
def test_an_unusable_python_is_one_line(name: str) -> None:
    environment = {**os.environ, "PYTHON": name}
    done = subprocess.run(
        [ROOT / "tools" / "find_python.sh"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"setup: PYTHON={name}: expected Python 3.10 to 3.13")
    assert len(done.stderr.splitlines()) == 1


def test_a_usable_python_is_found() -> None:
    assert found_python(PYTHON=sys._base_executable) == sys._base_executable  # type: ignore[attr-defined]


@pytest.mark.parametrize("named", [{}, {"PYTHON": "python3"}])
def test_the_environment_itself_is_not_what_it_is_made_with(
    tmp_path: Path, named: dict[str, str]
) -> None:
    """As after 'source tools/env.sh': set-up from there once removed .venv and could not make it."""
    script = tmp_path / "tools" / "find_python.sh"
    script.parent.mkdir()
    shutil.copy(ROOT / "tools" / "find_python.sh", script)
    venv.create(tmp_path / ".venv", symlinks=True, with_pip=False)
    path = f"{tmp_path / '.venv' / 'bin'}:{os.environ['PATH']}"
    overlay = str(tmp_path / "install" / "adamoe_ros")
    words = {"PATH": path, "AMENT_PREFIX_PATH": overlay, "ROS_DISTRO": "kilted", **named}
    found = Path(found_python(script, **words))
    assert found.is_file()
    assert tmp_path not in found.parents


def found_python(script: Path = ROOT / "tools" / "find_python.sh", **variables: str) -> str:
    environment = {**os.environ, **variables}
    done = subprocess.run([script], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_robots_environment_is_for_a_sourced_ros() -> None:
    foreign = ("AMENT_PREFIX_PATH", "ROS_DISTRO")
    environment = {key: value for key, value in os.environ.items() if key not in foreign}
    done = subprocess.run(
        [ROOT / "tools" / "robot_setup.sh"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2
    line = "setup: ROS: expected a sourced ROS 2, got none; source /opt/ros/<distro>/setup.bash\n"
    assert done.stderr == line


def test_a_torch_of_ones_own_is_not_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "STATE", tmp_path)
    source = RosSource("jazzy", wheels=False)
    pinned = bootstrap.Bootstrap(source, robot=True)._pins().read_text().splitlines()
    assert "numpy==1.26.4" in pinned and any(line.startswith("torch==") for line in pinned)
    monkeypatch.setenv("TORCH", "torch==2.9.1")
    free = bootstrap.Bootstrap(source, robot=True)._pins().read_text().splitlines()
    assert {line.split("==")[0] for line in set(pinned) - set(free)} == {"torch", "triton"}
