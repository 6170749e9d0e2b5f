# SPDX-License-Identifier: Apache-2.0
"""Whatever a public linter finds in a broken dataset, ``adamoe dataset validate`` finds, too."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import linted_dataset as linted

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.data.lerobot.dataset_reader import Dataset
from adamoe_ros.data.validate import validate

HERE = Path(__file__).resolve().parent
PYTHON = HERE.parents[1] / ".venv-linters" / "bin" / "python"
WHOLE = {
    "whole": lambda folder: linted.write(folder),
    "whole_video": lambda folder: linted.write(folder, video=True),
    "whole_many": lambda folder: linted.write(folder, lengths=[60] * 12),
}
MANY = ("odd_episode", "shifted_episodes", "long_and_short")
# matters of taste: a codec that browsers lack, episodes of different lengths, joints near their own ends
LEFT = {"video_codec", "long_and_short"}
LEFT_CHECKS = re.compile("joint_limit_saturation|gripper_chatter|condition_coverage")


def faults() -> dict[str, Callable[[Path], Any]]:
    """Name -> function that makes a broken dataset."""

    def of_rows(change: Callable[[linted.Rows], None]) -> Callable[[Path], Any]:
        def make(folder: Path) -> None:
            table = linted.whole_rows()
            change(table)
            linted.write(folder, table)

        return make

    def of_files(change: Callable[[Path], None]) -> Callable[[Path], Any]:
        return lambda folder: change(linted.write(folder))

    return {
        **{change.__name__: of_rows(change) for change in linted.OF_ROWS},
        **{change.__name__: of_files(change) for change in linted.OF_FILES},
        **{make.__name__: make for make in linted.OF_THEIR_OWN},
    }


def ours(folder: Path) -> list[str]:
    try:
        return [f"{finding.level}: {finding.line}" for finding in validate(Dataset(folder))]
    except ContractError as error:
        return [f"refused: {line}" for line in error.problems]


def basis(name: str) -> str:
    if name in MANY:
        return "whole_many"
    return "whole_video" if name.startswith("video") else "whole"


def test_we_find_what_linters_find(tmp_path: Path, linter_report: dict[str, Any]) -> None:
    made = WHOLE | faults()
    for name, make in made.items():
        make(tmp_path / name)
    out = tmp_path / "found.json"
    command = [str(PYTHON), str(HERE / "linter_judge.py"), str(out)]
    command += [str(tmp_path / name) for name in made]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    theirs = json.loads(out.read_text(encoding="utf-8"))

    def without_numbers(message: str) -> str:
        return re.sub(r"[-\d.]+", "#", message)

    lost = []
    for name in faults():
        usual = theirs[basis(name)]
        new = {}
        for linter, messages in theirs[name].items():
            known = {without_numbers(message) for message in usual[linter]}
            own = [m for m in messages if without_numbers(m) not in known]
            new[linter] = [m for m in own if not LEFT_CHECKS.search(m)]
        found = [line.replace(f"{tmp_path}/", "") for line in ours(tmp_path / name)]
        linter_report[name] = {"adamoe": found[:1], **{k: v[:1] for k, v in new.items() if v}}
        if any(new.values()) and not found and name not in LEFT:
            lost.append(name)
    assert not lost
    assert not any(ours(tmp_path / name) for name in WHOLE)
