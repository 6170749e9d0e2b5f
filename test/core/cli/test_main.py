# SPDX-License-Identifier: Apache-2.0
"""The command table: every command loads, explains itself, and is quick to list."""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys

import pytest

from adamoe_ros.cli import main as cli


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_command_declares_its_arguments(name: str) -> None:
    module = importlib.import_module(cli.COMMANDS[name][0])
    parser = argparse.ArgumentParser(prog=name)
    module.add_arguments(parser)
    assert module.__doc__, "the module's docstring is the command's help text"
    assert all(action.help for action in parser._actions), "an argument has no help text"


def test_help_lists_every_command_without_importing_one() -> None:
    code = (
        "import sys; from adamoe_ros.cli.main import main; main(['--help']); "
        "print(sorted(m for m in ('torch', 'mujoco', 'rclpy') if m in sys.modules))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert all(name in out for name in cli.COMMANDS)
    assert out.rstrip().endswith("[]")


def test_unknown_command_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["dance"]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "'dance'" in captured.err
