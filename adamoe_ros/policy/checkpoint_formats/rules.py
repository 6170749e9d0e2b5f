# SPDX-License-Identifier: Apache-2.0
"""How a foreign tensor becomes ours and back: a table of names, symbolic shapes and axis orders.

A rule names one foreign tensor. Each of its parts is an index, an order of axes, and the name of
one of our parameters; going back is the same read from the other end. A rule may be *stacked* (the
first axis counts layers) or *repeated* (one tensor per layer, ``{i}`` in both names). Shapes are
symbols, which the tensors at hand vote on: a single wrong tensor does not move a size.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

Dim = int | str
"""A length: a number, a symbol, or a product such as ``2*expert``."""

Sizes = dict[str, int]
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Part:
    """One of our parameters inside a foreign tensor (of one layer, where there are layers).

    Attributes:
        target: our name; ``{i}`` stands for the layer.
        axes: order of the foreign axes that makes ours, before they are flattened to our shape;
            None: as they are.
        index: place on the foreign leading axes.
    """

    target: str
    axes: tuple[int, ...] | None = None
    index: tuple[int, ...] = ()


@dataclass(frozen=True)
class Rule:
    """One foreign tensor, or one per layer.

    Attributes:
        source: foreign name; ``{i}`` stands for the layer of a repeated rule.
        shape: without the layers' axis.
        parts: what is in it.
        layers: symbol of the number of layers, or None.
        kind: how the layers are stored.
    """

    source: str
    shape: tuple[Dim, ...]
    parts: tuple[Part, ...]
    layers: str | None = None
    kind: Literal["single", "stacked", "repeated"] = "single"

    @property
    def full_shape(self) -> tuple[Dim, ...]:
        """With the layers' axis of a stacked tensor."""
        return (self.layers or 0, *self.shape) if self.kind == "stacked" else self.shape


def single(source: str, target: str, *shape: Dim, axes: tuple[int, ...] | None = None) -> Rule:
    """One foreign tensor that is one of ours."""
    return Rule(source, shape, (Part(target, axes),))


def stacked(layers: str, source: str, shape: Sequence[Dim], *parts: Part) -> Rule:
    """One foreign tensor that holds every layer."""
    return Rule(source, tuple(shape), parts, layers, "stacked")


def repeated(
    layers: str, source: str, target: str, *shape: Dim, axes: tuple[int, ...] | None = None
) -> Rule:
    """One foreign tensor per layer."""
    return Rule(source, shape, (Part(target, axes),), layers, "repeated")


def vote(rules: Iterable[Rule], shapes: Shapes, known: Mapping[str, int] | None = None) -> Sizes:
    """The value of every symbol, by majority over the tensors at hand.

    Args:
        shapes: of the foreign tensors.
        known: symbols that something better than a shape tells.
    """
    votes: dict[str, Counter[int]] = {}

    def count(symbol: Dim | None, value: int) -> None:
        if isinstance(symbol, str) and symbol.isidentifier():
            votes.setdefault(symbol, Counter())[value] += 1

    for rule in rules:
        if rule.kind == "repeated":
            found = _layers_of(rule.source, shapes)
            count(rule.layers, max(found, default=-1) + 1)
            shape = next((shapes[rule.source.format(i=i)] for i in sorted(found)), None)
        else:
            shape = shapes.get(rule.source)
        if shape is not None and len(shape) == len(rule.full_shape):
            for symbol, value in zip(rule.full_shape, shape, strict=True):
                count(symbol, value)
    sizes = {symbol: counter.most_common(1)[0][0] for symbol, counter in votes.items()}
    return sizes | dict(known or {})


def _layers_of(pattern: str, names: Iterable[str]) -> set[int]:
    before, after = pattern.split("{i}")
    wanted = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
    return {int(match[1]) for match in map(wanted.fullmatch, names) if match}


def length(dim: Dim, sizes: Mapping[str, int]) -> int | None:
    """The value of a length; None where a symbol is unknown."""
    product = 1
    for factor in str(dim).split("*"):
        value = int(factor) if factor.isdigit() else sizes.get(factor)
        if value is None:
            return None
        product *= value
    return product


def expanded(rules: Iterable[Rule], sizes: Mapping[str, int]) -> list[Rule]:
    """Repeated rules written out, one single rule for each layer."""
    out: list[Rule] = []
    for rule in rules:
        if rule.kind != "repeated":
            out.append(rule)
            continue
        for i in range(sizes.get(rule.layers or "", 0)):
            parts = tuple(replace(p, target=p.target.format(i=i)) for p in rule.parts)
            out.append(Rule(rule.source.format(i=i), rule.shape, parts))
    return out


def wanted_shape(rule: Rule, sizes: Mapping[str, int]) -> tuple[int | None, ...]:
    """Shape that the foreign tensor must have; None where nothing tells."""
    return tuple(length(dim, sizes) for dim in rule.full_shape)


def targets(rule: Rule, sizes: Mapping[str, int]) -> list[str]:
    """Our parameters in the order ``pieces`` gives them."""
    if rule.kind != "stacked":
        return [part.target for part in rule.parts]
    layers = range(sizes.get(rule.layers or "", 0))
    return [part.target.format(i=i) for i in layers for part in rule.parts]


def pieces(rule: Rule, slabs: Iterable[Tensor], shapes: Shapes) -> Iterator[tuple[str, Tensor]]:
    """Our parameters out of a foreign tensor.

    Args:
        slabs: of a stacked tensor, one per layer; else the tensor alone.
        shapes: of our parameters.
    """
    for i, slab in enumerate(slabs):
        for part in rule.parts:
            name = part.target.format(i=i) if rule.kind == "stacked" else part.target
            values = slab[part.index] if part.index else slab
            if part.axes is not None:
                values = values.permute(part.axes)
            yield name, values.reshape(shapes[name])


def assembled(
    rule: Rule, ours: Mapping[str, Tensor], sizes: Mapping[str, int], dtype: torch.dtype
) -> Tensor:
    """The foreign tensor out of our parameters: the inverse of ``pieces``."""
    shape = tuple(length(dim, sizes) or 0 for dim in rule.full_shape)
    out = torch.empty(shape, dtype=dtype)
    slabs = out if rule.kind == "stacked" else out.unsqueeze(0)
    for i, slab in enumerate(slabs):
        for part in rule.parts:
            name = part.target.format(i=i) if rule.kind == "stacked" else part.target
            place = slab[part.index] if part.index else slab
            axes = part.axes or tuple(range(place.dim()))
            view = place.permute(axes)
            view.copy_(ours[name].reshape(view.shape))
    return out
