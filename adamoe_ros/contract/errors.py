# SPDX-License-Identifier: Apache-2.0
"""The one exception for what a user can fix, and the one form of its lines.

A line reads *where: expected ..., got ...; what to do*. Problems are collected and raised together,
so that a person mends all of them in one go. Our own bugs raise ``ValueError`` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def problem(where: str, expected: str, got: object, do: str) -> str:
    """One line for a person: ``where: expected X, got Y; do Z``."""
    return f"{where}: expected {expected}, got {got}; {do}"


class ContractError(Exception):
    """Something the user gave does not fit; nothing was changed and nothing moves.

    Args:
        problems: one line, or several that were found together; never empty.
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: tuple[str, ...] = (
            (problems,) if isinstance(problems, str) else tuple(problems)
        )
        if not self.problems:
            raise ValueError("ContractError needs at least one problem")
        super().__init__("\n".join(self.problems))


class PolicyUnavailable(Exception):
    """No inference can be had at the moment, one line; nothing is wrong with what was asked."""


class Problems:
    """Collects lines and raises them together.

    >>> problems = Problems()
    >>> problems.add("cameras.cam_high", "rgb8 or bgr8", "16UC1", "set the driver's encoding")
    >>> problems.raise_if_any()  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    adamoe_ros.contract.errors.ContractError
    """

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, where: str, expected: str, got: object, do: str) -> None:
        """Note one problem in the standard form."""
        self.lines.append(problem(where, expected, got, do))

    def extend(self, lines: Sequence[str]) -> None:
        """Take over lines that are in the standard form already."""
        self.lines.extend(lines)

    def collect(self, read: Callable[[], T]) -> T | None:
        """What ``read`` returns; None where it raises, with its lines taken over."""
        try:
            return read()
        except ContractError as error:
            self.extend(error.problems)
            return None

    def raise_if_any(self) -> None:
        """Raise ``ContractError`` with every line collected so far."""
        if self.lines:
            raise ContractError(self.lines)
