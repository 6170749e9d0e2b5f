# SPDX-License-Identifier: Apache-2.0
"""Normalisation statistics of a checkpoint (``norm_stats.json``) and the two normalisations.

Training and inference use the same lines.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from adamoe_ros.contract.errors import ContractError, Problems, problem
from adamoe_ros.contract.validation import validation_lines

Normalization = Literal["mean_std", "quantile"]
_log = logging.getLogger(__name__)
_LEROBOT_EPS = 1e-8  # LeRobot adds it on the way in and not on the way out


class FeatureStats(BaseModel):
    """Statistics of one vector, one number per dimension; quantiles at 1 % and 99 %."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: tuple[float, ...]
    std: tuple[float, ...]
    q01: tuple[float, ...] | None = None
    q99: tuple[float, ...] | None = None

    @property
    def width(self) -> int:
        """Dimensions."""
        return len(self.mean)

    def usual_range(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(D,) low and high ends of the values.

        The 1 % and 99 % quantiles where they are known, else three standard deviations.
        """
        if self.q01 is not None and self.q99 is not None:
            return np.array(self.q01), np.array(self.q99)
        mean, std = np.array(self.mean), np.array(self.std)
        return mean - 3 * std, mean + 3 * std


class NormStats(BaseModel):
    """Statistics of a checkpoint's physical vectors, unpadded.

    Attributes:
        state, actions: the policy's inputs and outputs.
        objects: auxiliary object positions, m; small policies only.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    state: FeatureStats
    actions: FeatureStats
    objects: FeatureStats | None = None

    def check(
        self,
        widths: tuple[int, int],
        method: Normalization,
        where: str,
        allow_constant: bool = False,
    ) -> list[str]:
        """Everything that does not fit, one line each.

        Args:
            widths: dimensions of state and actions.
            method: that they are used for.
            where: said in front, e.g. the file's name.
            allow_constant: a dimension without spread may be divided by the epsilon alone.
        """
        problems = Problems()
        pairs = (("state", self.state), ("actions", self.actions))
        for (name, stats), width in zip(pairs, widths, strict=True):
            _check(stats, width, method, f"{where}: {name}", problems, allow_constant)
        if self.objects is not None:
            _check(self.objects, self.objects.width, "mean_std", f"{where}: objects", problems)
        return problems.lines

    def to_json(self) -> str:
        """openpi's form: an object ``norm_stats`` with the vectors' statistics."""
        return json.dumps({"norm_stats": self.model_dump(exclude_none=True)}, indent=1) + "\n"


def _check(
    stats: FeatureStats,
    width: int,
    method: Normalization,
    where: str,
    problems: Problems,
    allow_constant: bool = False,
) -> None:
    before = len(problems.lines)
    lists = {name: values for name, values in stats.model_dump().items() if values is not None}
    for name, values in lists.items():
        if len(values) != width:
            problems.add(f"{where}.{name}", f"{width} numbers", len(values), "take the right file")
        elif not np.isfinite(values).all():
            problems.add(f"{where}.{name}", "finite numbers", "NaN or inf", "compute them anew")
    if len(problems.lines) > before:
        return
    if method == "quantile" and (stats.q01 is None or stats.q99 is None):
        problems.add(where, "q01 and q99", "none", "compute them, or use mean_std")
    elif method == "quantile":
        assert stats.q01 is not None and stats.q99 is not None
        spread: Sequence[float] = (np.asarray(stats.q99) - np.asarray(stats.q01)).tolist()
        _check_spread(spread, f"{where}: q99 - q01", problems, allow_constant)
    else:
        _check_spread(stats.std, f"{where}.std", problems, allow_constant)


def _check_spread(
    values: Sequence[float], where: str, problems: Problems, allow_constant: bool
) -> None:
    flat = [
        i for i, value in enumerate(values) if not (value > 0 or (allow_constant and not value))
    ]
    if flat:
        problems.add(
            where,
            "more than 0 in every dimension",
            f"{[values[i] for i in flat]} at {flat}",
            "a joint that never moved cannot be normalised: give it a spread, leave it out, or "
            "divide by the epsilon alone as openpi does (adamoe convert --allow-constant)",
        )


def load_norm_stats(path: Path) -> NormStats:
    """Read ``norm_stats.json`` or LeRobot's ``stats.json``; what is not needed is left alone, named.

    Raises:
        ContractError: missing, not JSON, or keys that do not fit (all listed).
    """
    try:
        tree: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ContractError(
            problem(str(path), "normalisation statistics", "no file", "copy the whole checkpoint")
        ) from error
    except ValueError as error:
        raise ContractError(problem(str(path), "JSON", error, "copy it again")) from error
    tree, ignored = _needed(tree)
    try:
        read = NormStats.model_validate(tree)
    except ValidationError as error:
        raise ContractError(validation_lines(path.name, error, NormStats)) from error
    if ignored:
        names = ", ".join(ignored[:10]) + (f" and {len(ignored) - 10} more" * (len(ignored) > 10))
        _log.warning("%s: left alone: %s", path, names)
    return read


_SPELLINGS = {"state": ("state", "observation.state"), "actions": ("actions", "action")}


def _needed(tree: Any) -> tuple[Any, list[str]]:
    """State, actions and objects of a file that may hold more, and the names of what is left alone.

    openpi wraps them in ``norm_stats`` and says ``actions``; LeRobot's stats.json says
    ``observation.state`` and ``action``, with pictures and columns of the dataset beside them.
    """
    if isinstance(tree, dict) and isinstance(tree.get("norm_stats"), dict):
        others = [name for name in tree if name != "norm_stats"]
        found, ignored = _needed(tree["norm_stats"])
        return found, [*others, *ignored]
    if not isinstance(tree, dict):
        return tree, []
    chosen = {
        ours: next((name for name in names if name in tree), None)
        for ours, names in {**_SPELLINGS, "objects": ("objects",)}.items()
    }
    kept = {ours: tree[name] for ours, name in chosen.items() if name is not None}
    ignored = [name for name in tree if name not in chosen.values()]
    known = set(FeatureStats.model_fields)
    for ours, vector in kept.items():
        if isinstance(vector, dict):
            ignored += [f"{ours}.{name}" for name in vector if name not in known]
            kept[ours] = {name: value for name, value in vector.items() if name in known}
    return kept, ignored


@dataclass(frozen=True)
class Normalizer:
    """x -> (x - offset) / spread, padded with zeros, and back.

    With quantiles 2 (...) - 1, in openpi's order of operations: q01 becomes -1 to the last bit, on
    which the bins of a prompt's state depend.

    Attributes:
        offset, spread_in, spread_out: (D,) float64, spreads above 0.
        width: of the padded model vector, at least D.
        quantile: from -1 to 1.
    """

    offset: NDArray[np.float64]
    spread_in: NDArray[np.float64]
    spread_out: NDArray[np.float64]
    width: int
    quantile: bool = False

    @property
    def scale_in(self) -> NDArray[np.float64]:
        """(D,) physical size of one normalised unit."""
        return self.spread_in / 2 if self.quantile else self.spread_in

    def unpadded(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """(..., D) physical -> (..., D) float64 normalised."""
        scaled = (np.asarray(values, dtype=np.float64) - self.offset) / self.spread_in
        return scaled * 2.0 - 1.0 if self.quantile else scaled

    def apply(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """(..., D) physical -> (..., width) float32 normalised."""
        scaled = self.unpadded(values)
        padding = [(0, 0)] * (scaled.ndim - 1) + [(0, self.width - len(self.offset))]
        return np.pad(scaled, padding).astype(np.float32)

    def invert(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """(..., width) normalised -> (..., D) float64 physical."""
        kept = np.asarray(values, dtype=np.float64)[..., : len(self.offset)]
        if self.quantile:
            kept = (kept + 1.0) / 2.0
        return np.asarray(kept * self.spread_out + self.offset, dtype=np.float64)


def make_normalizer(
    stats: FeatureStats, method: Normalization, eps: float, width: int
) -> Normalizer:
    """The normalisation of one vector.

    mean_std: (x - mean) / (std + eps). quantile: 2 (x - q01) / (q99 - q01 + eps) - 1.

    Args:
        eps: openpi 1e-6; with LeRobot's 1e-8 the inverse has none.
        width: of the model vector.

    Raises:
        ValueError: quantiles are missing or the vector is wider than the model's.
    """
    if stats.width > width:
        raise ValueError(f"{stats.width} dimensions do not fit into {width}")
    back = 0.0 if eps == _LEROBOT_EPS else eps
    if method == "mean_std":
        offset, spread = np.array(stats.mean), np.array(stats.std)
        return Normalizer(offset, spread + eps, spread + back, width)
    if stats.q01 is None or stats.q99 is None:
        raise ValueError("quantile normalisation without quantiles")
    low, spread = np.array(stats.q01), np.array(stats.q99) - np.array(stats.q01)
    if not eps:  # LeRobot divides by its epsilon only where there is no spread
        spread = np.where(spread == 0, _LEROBOT_EPS, spread)
    return Normalizer(low, spread + eps, spread + back, width, quantile=True)
