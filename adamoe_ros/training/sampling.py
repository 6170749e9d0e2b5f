# SPDX-License-Identifier: Apache-2.0
"""Which samples a step sees and which random numbers it draws: functions of (seed, step) alone.

So a resumed run continues exactly, with nothing but the step stored."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from adamoe_ros.training.demonstration_set import Batch

_ORDER, _AUGMENT, _FLOW = 1, 2, 3  # streams that never share numbers


class ShuffledOrder:
    """Every sample once per epoch, in an order drawn anew for each epoch.

    Args:
        count: number of samples.
        batch_size: indices per step; an epoch's end may fall inside a batch.
        seed: of the run.
    """

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        if count < 1:
            raise ValueError("no samples")
        self._count, self._batch, self._seed = count, batch_size, seed
        self._epochs: dict[int, NDArray[np.int64]] = {}

    def indices(self, step: int) -> NDArray[np.int64]:
        """(batch_size,) sample indices of a step."""
        positions = np.arange(step * self._batch, (step + 1) * self._batch)
        epochs, places = np.divmod(positions, self._count)
        self._epochs = {e: self._permutation(int(e)) for e in np.unique(epochs)}
        return np.array([self._epochs[e][p] for e, p in zip(epochs, places, strict=True)])

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        known = self._epochs.get(epoch)
        if known is not None:
            return known
        return np.random.default_rng((self._seed, _ORDER, epoch)).permutation(self._count)


class BalancedOrder:
    """Every task equally often, samples of a task by their weights (with replacement).

    Args:
        tasks: (N,) task number of each sample.
        weights: (N,) > 0; None: samples of a task uniformly.
    """

    def __init__(
        self,
        tasks: NDArray[np.int64],
        batch_size: int,
        seed: int,
        weights: NDArray[np.float64] | None = None,
    ) -> None:
        self._members = [np.flatnonzero(tasks == task) for task in np.unique(tasks)]
        self._shares: list[NDArray[np.float64] | None] = [None] * len(self._members)
        if weights is not None:
            self._shares = [weights[own] / weights[own].sum() for own in self._members]
        self._batch, self._seed = batch_size, seed

    def indices(self, step: int) -> NDArray[np.int64]:
        """(batch_size,) sample indices of a step."""
        rng = np.random.default_rng((self._seed, _ORDER, step))
        chosen = rng.integers(len(self._members), size=self._batch)
        return np.array([rng.choice(self._members[i], p=self._shares[i]) for i in chosen])


def augment_rng(seed: int, step: int) -> np.random.Generator:
    """Random numbers of a step's augmentation."""
    return np.random.default_rng((seed, _AUGMENT, step))


def flow_generator(seed: int, step: int, rank: int = 0) -> torch.Generator:
    """CPU generator of a step's flow times and noise (then moved: same numbers on every device)."""
    words = np.random.SeedSequence((seed, _FLOW, step, rank)).generate_state(2)
    generator = torch.Generator()
    generator.manual_seed(int(words[0]) << 31 ^ int(words[1]))
    return generator


def flow_times(count: int, generator: torch.Generator) -> torch.Tensor:
    """(count,) times t ~ 0.999 Beta(1.5, 1) + 0.001, float32; t = 1 is noise.

    Beta(a, 1) has the distribution function t^a, so it is a uniform number to the power 1 / a.
    """
    uniform = torch.rand(count, generator=generator)
    return uniform.pow(1 / 1.5) * 0.999 + 0.001


def with_clean_prefix(
    time: torch.Tensor, rows: int, max_delay: int, generator: torch.Generator
) -> torch.Tensor:
    """Flow time of every row, 0 for a prefix of random length: training-time real-time chunking.

    Source: arXiv 2512.05964. Rows of time 0 are given clean and do not count in the loss.

    Args:
        time: (B,) of the other rows.
        rows: H.
        max_delay: longest prefix, below H; lengths 0 ... max_delay are equally frequent.

    Returns: (B, H) float32.
    """
    lengths = torch.randint(max_delay + 1, (len(time), 1), generator=generator)
    return time.unsqueeze(1).expand(-1, rows).masked_fill(torch.arange(rows) < lengths, 0.0)


class Prefetcher:
    """Batches by step, one step ahead in a thread.

    Args:
        fetch: step -> batch.
        end: no step from here on is fetched ahead.
    """

    def __init__(self, fetch: Callable[[int], Batch], end: int) -> None:
        self._fetch, self._end = fetch, end
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="samples")
        self._ahead: dict[int, Future[Batch]] = {}

    def get(self, step: int) -> Batch:
        """The batch of a step."""
        future = self._ahead.pop(step, None) or self._pool.submit(self._fetch, step)
        if step + 1 < self._end:
            self._ahead[step + 1] = self._pool.submit(self._fetch, step + 1)
        return future.result()

    def close(self) -> None:
        """Stop the thread."""
        self._pool.shutdown(cancel_futures=True)
