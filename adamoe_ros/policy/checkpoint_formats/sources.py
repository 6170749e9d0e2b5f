# SPDX-License-Identifier: Apache-2.0
"""Tensors of a foreign file, read when asked for and never all at once: the interface."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from adamoe_ros.contract.errors import ContractError, problem


@dataclass(frozen=True)
class SourceTensor:
    """One tensor of a source.

    Attributes:
        shape, dtype: known without reading it.
        read: the whole tensor, in memory of its own.
        slabs: the same along the first axis, one entry after another; the memory of an entry may
            be given up as soon as the next is asked for.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]
    slabs: Callable[[], Iterator[Tensor]]

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


TensorSource = Mapping[str, SourceTensor]
"""Foreign name -> tensor."""


def whole(shape: tuple[int, ...], dtype: torch.dtype, read: Callable[[], Tensor]) -> SourceTensor:
    """A tensor that can only be read as a whole."""

    def slabs() -> Iterator[Tensor]:
        yield from read()

    return SourceTensor(shape, dtype, read, slabs)


def damaged(where: str, what: str, found: object) -> ContractError:
    """A file that is not what its name or header says."""
    return ContractError(problem(where, what, found, "copy or download it again"))


def first_line(error: BaseException) -> str:
    """What a library's exception says, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
