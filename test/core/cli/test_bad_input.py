# SPDX-License-Identifier: Apache-2.0
"""The last line of defence: no traceback whatever a command is given, and a quiet end without a reader."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from adamoe_ros.cli import main as cli

ROOT = Path(__file__).parents[3]
DEMO = str(ROOT / "checkpoints" / "demo")


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def run(options: Any) -> int:
        print("first line")
        raise error

    module = SimpleNamespace(__doc__="Fails.", add_arguments=lambda parser: None, run=run)
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: module)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("two\nlines"),
        KeyError("x"),
        RecursionError(),
        MemoryError(),
        AssertionError(),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"),
        OSError("without a path"),
    ],
)
def test_what_is_unforeseen_is_a_line_and_a_file(
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    failing(monkeypatch, error)
    assert cli.main(["bench"]) == 70
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"adamoe bench: unforeseen: {type(error).__name__}")
    (file,) = tmp_path.iterdir()
    assert " at cli/main.py:" in line and line.endswith(f"please report it with {file}")
    text = file.read_text()
    assert "Traceback (most recent call last)" in text and "adamoe_ros " in text


def test_what_the_system_refuses_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, PermissionError(errno.EACCES, "Permission denied", "/some/where"))
    assert cli.main(["bench"]) == 2
    line = "/some/where: expected a path to use, got Permission denied; choose another"
    assert capsys.readouterr().err == f"adamoe bench: {line}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["dataset", "info", "{missing}"],
        ["train", "--print-config"],
        ["doctor", "--robot", "aloha_sim", "--checkpoint", DEMO],
    ],
)
@pytest.mark.parametrize("which", ["stdout", "both"])
def test_nobody_reads(arguments: list[str], which: str, tmp_path: Path) -> None:
    """Exit code of a program that SIGPIPE ends; what goes to the other stream stays as it is."""
    words = [word.replace("{missing}", str(tmp_path / "missing")) for word in arguments]
    command = [sys.executable, "-m", "adamoe_ros.cli.main", *words]
    errors = subprocess.STDOUT if which == "both" else subprocess.PIPE
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, cwd=ROOT) as process:
        assert process.stdout is not None
        process.stdout.close()  # before a word is written
        said = process.stderr.read().decode() if process.stderr is not None else ""
        code = process.wait(120)
    failed = "{missing}" in arguments  # its line goes to the other stream
    assert code == (2 if failed and which == "stdout" else 141)
    assert said.count("\n") == (1 if failed and which == "stdout" else 0), said


KINDS = ("missing", "empty", "junk", "text", "json", "npy", "png", "folder", "link", "pipe")


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A path of every kind that no command expects."""
    folder = tmp_path_factory.mktemp("things")
    (folder / "empty").write_bytes(b"")
    (folder / "junk").write_bytes(np.random.default_rng(0).bytes(2000))
    (folder / "text").write_text("hello: [\n", encoding="utf-8")
    (folder / "json").write_text("[1, null, {}]", encoding="utf-8")
    np.save(folder / "npy.npy", np.zeros(14))
    (folder / "npy.npy").rename(folder / "npy")
    (folder / "png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    (folder / "folder").mkdir()
    (folder / "link").symlink_to(folder / "link")
    (folder / "pipe").mkdir()
    (folder / "pipe" / "metadata.yaml").write_text("- 1\n", encoding="utf-8")
    return folder


COMMANDS = [
    ["infer", "--checkpoint", "{x}", "--inputs", "{x}", "--out", "{out}"],
    ["infer", "--checkpoint", DEMO, "--inputs", "{x}", "--out", "{out}"],
    ["convert", "{x}", "{out}"],
    ["convert", "--from", "lerobot", "{x}", "{out}"],
    ["convert", "--from", "openpi-jax", "{x}", "{out}"],
    ["convert", "--to", "lerobot", "{x}", "{out}"],
    ["convert", "--from", "lerobot", DEMO, "{out}", "--statistics", "{x}"],
    ["upcycle", "{x}", "{out}"],
    ["train", "--config", "{x}", "--print-config"],
    ["train", "--resume", "--out", "{x}"],
    ["train", "--set", "data.dataset={x}", "--out", "{out}", "--set", "steps=1"],
    ["replay", "{x}", "--robot", "aloha_sim", "--out", "{out}"],
    ["replay", "{x}", "--robot", "{x}", "--out", "{out}"],
    ["replay", "{x}", "--robot", "aloha_sim", "--checkpoint", "{x}", "--out", "{out}"],
    ["dataset", "convert", "{x}", "--robot", "aloha_sim", "--out", "{out}"],
    ["dataset", "convert", "{x}", "--robot", "{x}", "--out", "{out}"],
    [
        *("dataset", "convert", "{x}", "--robot", "aloha_sim"),
        "--checkpoint",
        "{x}",
        "--out",
        "{out}",
    ],
    ["dataset", "validate", "{x}"],
    ["dataset", "validate", "{x}", "--robot", "{x}"],
    ["dataset", "to-bag", "{x}", "--robot", "aloha_sim", "--out", "{out}"],
    ["dataset", "info", "{x}"],
    ["evaluate", "{x}", "--tasks", "lift_bar", "--out", "{out}"],
    ["doctor", "--robot", "{x}"],
    ["doctor", "--checkpoint", "{x}"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: " ".join(words[:4]))
def test_every_path_being_something_else(
    command: list[str], things: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in KINDS:
        here = {"{x}": str(things / kind), "{out}": str(tmp_path / f"out_{kind}")}
        words = [
            word.replace("{x}", here["{x}"]).replace("{out}", here["{out}"]) for word in command
        ]
        if kind == "empty" and "--print-config" in words:
            continue  # a file without settings: the defaults
        code = cli.main(words)
        said = capsys.readouterr()
        assert code in ((1, 2, 3) if command[0] == "doctor" else (2, 3)), (kind, said.err)
        assert said.err.count("\n") <= 12, said.err
        assert "Traceback" not in said.out + said.err
        assert not Path(here["{out}"]).exists(), kind
