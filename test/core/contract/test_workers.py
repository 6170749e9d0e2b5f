# SPDX-License-Identifier: Apache-2.0
"""Units over processes: every result or error by its unit, and a process that dies loses nothing."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest
from dying_units import doubled
from serving_support import wait_until

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.files import PackedFolder
from adamoe_ros.contract.ray_cluster import check_node, code_digest
from adamoe_ros.contract.workers import ATTEMPTS, UnitWork, Workers


@pytest.mark.parametrize("most", [1, 2])
def test_results_and_errors_belong_to_their_units(most: int) -> None:
    work = UnitWork(divmod, [(7, 2), (1, 0), (9, 4)])
    ended = dict(Workers(most).run(work))
    assert isinstance(ended.pop(1).exception(), ZeroDivisionError)
    assert {number: done.result() for number, done in ended.items()} == {0: (3, 1), 2: (2, 1)}


def test_a_unit_whose_process_dies_runs_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two deaths cost nothing; one that dies every time is an error of its own, and names itself."""
    deaths = [0, 2, 0, 9, 1, 0]
    units = [(number, count, tmp_path) for number, count in enumerate(deaths)]
    ended = dict(Workers(2).run(UnitWork(doubled, units, [f"bag {n}" for n in range(6)])))
    with pytest.raises(ContractError, match=f"bag 3: .* {ATTEMPTS} that died"):
        ended.pop(3).result()
    assert {number: done.result() for number, done in ended.items()} == {
        number: 2 * number for number in (0, 1, 2, 4, 5)
    }
    tries = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert tries == {"0": 1, "1": 3, "2": 1, "3": ATTEMPTS, "4": 2, "5": 1}
    assert capsys.readouterr().err.count("runs again") == 5


_PARENT = """
import sys
from pathlib import Path
from adamoe_ros.contract.workers import UnitWork, Workers
from dying_units import stay
if __name__ == "__main__":
    list(Workers(2).run(UnitWork(stay, [(Path(sys.argv[1]), n) for n in range(2)])))
"""


def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    """Also where that one is killed: else they stay for ever, and their simulators with them."""
    script = tmp_path / "parent.py"
    script.write_text(_PARENT)
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    parent = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], env={**os.environ, "PYTHONPATH": path}
    )
    try:
        wait_until(lambda: all((tmp_path / name).exists() for name in "01"), 60.0)
    finally:
        parent.kill()
        parent.wait()
    for name in "01":
        with (tmp_path / name).open() as held:
            wait_until(lambda held=held: not _is_locked(held))


def _is_locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def test_a_cluster_that_is_not_there_is_one_line() -> None:
    """Also where Ray is not installed."""
    with pytest.raises(ContractError, match=r"^--ray 127\.0\.0\.1:1: expected ") as caught:
        dict(Workers(2, "127.0.0.1:1").run(UnitWork(divmod, [(7, 2)])))
    assert len(caught.value.problems) == 1 and "\n" not in str(caught.value)


def test_a_node_that_is_not_alike_is_refused(tmp_path: Path) -> None:
    check_node(code_digest(), None)
    with pytest.raises(ContractError, match="expected this adamoe_ros, got another one"):
        check_node("0" * 64, None)
    with pytest.raises(ContractError, match=r"expected the folder .* mount it"):
        check_node(code_digest(), tmp_path / "not there")


def test_a_packed_folder_is_the_same_elsewhere(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    (source / "inner" / "a").write_bytes(b"weights")
    (source / "empty").touch()
    packed = PackedFolder.of(source)
    made = packed.unpack(tmp_path / "there")
    assert made == PackedFolder.of(made).unpack(tmp_path / "there")
    assert [path.name for path in (tmp_path / "there").iterdir()] == [made.name]
    assert (made / "inner" / "a").read_bytes() == b"weights" and (made / "empty").is_file()
    (source / "inner" / "a").write_bytes(b"others")
    assert PackedFolder.of(source).unpack(tmp_path / "there") != made
