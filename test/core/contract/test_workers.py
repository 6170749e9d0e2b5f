# SPDX-License-Identifier: Apache-2.0
"""Work over processes: every job's result or error by its number, whatever the order of ends."""

from __future__ import annotations

import pytest

from adamoe_ros.contract.workers import run_in_processes


@pytest.mark.parametrize("processes", [1, 2])
def test_results_and_errors_belong_to_their_jobs(processes: int) -> None:
    jobs = [(7, 2), (1, 0), (9, 4)]
    ended = dict(run_in_processes(divmod, jobs, processes))
    assert isinstance(ended.pop(1).exception(), ZeroDivisionError)
    assert {number: done.result() for number, done in ended.items()} == {0: (3, 1), 2: (2, 1)}
