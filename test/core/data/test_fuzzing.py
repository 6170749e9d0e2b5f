# SPDX-License-Identifier: Apache-2.0
"""Damaged inputs through every command: the same examples as ``make fuzz``, a few hundred of them."""

from __future__ import annotations

import pytest
from fuzzing import try_example

_EXAMPLES = 240
# examples that ended in a traceback once, or not at all (725)
_ONCE = [
    290,
    480,
    725,
    1243,
    2082,
    2107,
    2869,
    2951,
    4889,
    6207,
    6334,
    6525,
    8585,
    8669,
    8689,
    9367,
]
_ONCE += [9847, 10634, 11325, 12129, 13370, 13601, 14662, 17740]
_AT_ONCE = 12  # examples of a test


@pytest.mark.parametrize("first", range(0, _EXAMPLES, _AT_ONCE))
def test_damaged_inputs_are_refused_or_read_and_told(first: int) -> None:
    found = [try_example(number) for number in range(first, first + _AT_ONCE)]
    assert [vars(item) for item in found if item.fault] == []


@pytest.mark.parametrize("number", _ONCE)
def test_examples_that_failed_once(number: int) -> None:
    assert try_example(number).fault == ""
