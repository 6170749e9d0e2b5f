# SPDX-License-Identifier: Apache-2.0
"""LIBERO where it cannot be had, or does not answer: one line. What works is run by ``make libero``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from adamoe_ros.cli.main import main
from adamoe_ros.contract.errors import ContractError
from adamoe_ros.sim.libero.process import SimulatorProcess, libero_python


def test_without_a_package_index_it_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("ADAMOE_CACHE", str(tmp_path))
    told: list[str] = []
    with pytest.raises(ContractError) as refused:
        libero_python(told.append)
    (line,) = refused.value.problems
    assert line.startswith("LIBERO's environment: expected its pinned packages, got No matching")
    assert "package index" in line
    assert len(told) >= 1


def test_a_simulator_that_cannot_work_says_why() -> None:
    """This interpreter has no LIBERO."""
    simulator = SimulatorProcess(Path(sys.executable))
    try:
        with pytest.raises(ContractError, match=r"LIBERO: open: .*No module named 'libero'"):
            simulator.ask("open", suite="libero_object", task=0)
        with pytest.raises(ContractError, match=r"LIBERO: nothing: "):
            simulator.ask("nothing")
    finally:
        simulator.close()


def test_an_answer_that_does_not_come_is_not_waited_for() -> None:
    simulator = SimulatorProcess(Path(sys.executable), answer_s=0.0)
    try:
        with pytest.raises(
            ContractError, match="LIBERO: open: expected an answer, got none in 0 s"
        ):
            simulator.ask("open", suite="libero_object", task=0)
    finally:
        simulator.close()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "policy: expected --checkpoint or --policy-url, got neither"),
        (["--checkpoint", "none", "--policy-url", "ws://a"], "--policy-url, got both"),
    ],
)
def test_the_policy_is_named_once(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", "libero", *words]) == 2
    assert line in capsys.readouterr().err
