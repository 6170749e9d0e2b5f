# SPDX-License-Identifier: Apache-2.0
"""The doctor's look at Python, numpy and torch: files are looked at, nothing is imported."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

from adamoe_ros.ros.doctor import environment
from adamoe_ros.ros.doctor.environment import check_environment, compiled_for_numpy_1
from adamoe_ros.ros.doctor.report import Check, Report

PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
OLD, NEW = b"\0numpy.core._multiarray_umath\0", b"\0numpy._core._multiarray_umath\0"


def checks() -> dict[str, Check]:
    report = Report()
    check_environment(report)
    return {check.name: check for check in report.checks}


def versions(monkeypatch: pytest.MonkeyPatch, **given: str) -> None:
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: given.get(name) or real(name))


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prefix as of a distribution: cv_bridge for numpy 1, another for both, messages for any."""
    site = tmp_path / "local" / "lib" / PYTHON / "dist-packages"
    for name, content in (("cv_bridge", OLD), ("other", OLD + NEW), ("std_msgs", b"ELF")):
        (site / name / "boost").mkdir(parents=True)
        (site / name / "boost" / "module.so").write_bytes(content)
    (tmp_path / "lib" / "libstd_msgs__rosidl_generator_py.so").parent.mkdir()
    (tmp_path / "lib" / "libstd_msgs__rosidl_generator_py.so").write_bytes(b"ELF")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    return tmp_path


def test_this_environment_is_in_order() -> None:
    found = checks()
    assert {found[name].outcome for name in ("Python", "core", "numpy", "torch", "policy")} == {
        "ok"
    }
    assert sys.executable in found["Python"].text


def test_what_is_compiled_for_numpy_1_is_named(
    distribution: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compiled_for_numpy_1() == ["cv_bridge"]
    versions(monkeypatch, numpy="2.3.1")
    check = checks()["numpy"]
    assert check.outcome == "fail" and "cv_bridge" in check.text and "'numpy<2'" in check.text
    versions(monkeypatch, numpy="1.26.4")
    assert checks()["numpy"].outcome == "ok"
    library = distribution / "lib" / "libmine__rosidl_generator_py.so"
    library.write_bytes(OLD)
    assert compiled_for_numpy_1() == ["cv_bridge", "mine"]


def test_modules_of_today_are_for_both(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """opencv's own, which the environment has, is compiled with numpy 2's headers."""
    import cv2

    site = tmp_path / "lib" / PYTHON / "site-packages"
    site.mkdir(parents=True)
    (site / "cv2").symlink_to(Path(cv2.__file__).parent)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    modules = list(environment._compiled())
    assert modules and any(NEW.strip(b"\0") in path.read_bytes() for path in modules)
    assert compiled_for_numpy_1() == []


def test_a_ros_of_another_python_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "rclpy").mkdir()
    (tmp_path / "rclpy" / "_rclpy_pybind11.cpython-36-x86_64-linux-gnu.so").write_bytes(b"")
    monkeypatch.syspath_prepend(str(tmp_path))
    check = checks()["Python"]
    assert check.outcome == "fail" and "Python 3.6" in check.text


def test_versions_that_do_not_fit_or_were_not_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, pydantic="1.10.14", torch="2.9.1")
    found = checks()
    assert found["core"].outcome == "fail" and "pydantic 1.10.14" in found["core"].text
    assert found["torch"].outcome == "warn" and "adamoe infer" in found["torch"].text
