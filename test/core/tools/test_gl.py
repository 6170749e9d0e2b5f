# SPDX-License-Identifier: Apache-2.0
"""The search for an OpenGL that renders."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from gl import Gl, find, link_wheel, renders


def search(folder: Path, works: set[str], wanted: str = "") -> tuple[Gl | None, list[str]]:
    """Result, and what was tried, on a machine where only ``works`` render."""
    tried: list[str] = []

    def check(candidate: Gl) -> bool:
        name = candidate.backend + ("+wheel" if candidate.library_path else "")
        tried.append(name)
        return name in works

    def install() -> None:
        tried.append("install")
        libraries = folder / "lavavu_osmesa.libs"
        libraries.mkdir()
        (libraries / "libOSMesa-f6a8f160.so.8.0.0").write_text("")

    return find(folder, folder / "gl", install, check, wanted), tried


def test_egl_is_first(tmp_path: Path) -> None:
    assert search(tmp_path, {"egl", "osmesa"}) == (Gl("egl"), ["egl"])


def test_osmesa_of_the_system_is_second(tmp_path: Path) -> None:
    assert search(tmp_path, {"osmesa"}) == (Gl("osmesa"), ["egl", "osmesa"])


def test_the_wheel_is_third(tmp_path: Path) -> None:
    found, tried = search(tmp_path, {"osmesa+wheel"})
    assert tried == ["egl", "osmesa", "install", "osmesa+wheel"]
    assert found is not None
    links, libraries = map(Path, found.library_path)
    assert (links / "libOSMesa.so.8").resolve().parent == libraries.resolve()


def test_nothing_is_none(tmp_path: Path) -> None:
    assert search(tmp_path, set())[0] is None


def test_a_wanted_backend_is_the_only_one(tmp_path: Path) -> None:
    assert search(tmp_path, {"egl"}, wanted="osmesa")[0] is None
    assert search(tmp_path / "none", {"osmesa"}, wanted="egl") == (None, ["egl"])


def test_without_the_wheel_there_is_no_link(tmp_path: Path) -> None:
    assert link_wheel(tmp_path, tmp_path / "gl") is None


def test_what_set_up_chose_renders_and_what_does_not_exist_does_not() -> None:
    assert renders(Path(sys.executable), Gl(os.environ.get("MUJOCO_GL", "egl")))
    assert not renders(Path(sys.executable), Gl("no_such_backend"))
