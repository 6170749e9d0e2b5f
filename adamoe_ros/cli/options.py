# SPDX-License-Identifier: Apache-2.0
"""Options of a command made from declared values (``contract/parameters.py``), and read back."""

from __future__ import annotations

import argparse
import os
from typing import Any

from adamoe_ros.contract.parameters import Declaration, Parameters
from adamoe_ros.contract.workers import Workers


class _Value:
    """Text of the command line as the declared type; raises ``ContractError`` where it does not fit."""

    def __init__(self, item: Declaration, flag: str) -> None:
        self._item, self._flag = item, flag

    def __call__(self, text: str) -> Any:
        value: object = text
        for kind in (int, float):
            if isinstance(self._item.default, kind):
                try:
                    value = kind(text)
                except ValueError:
                    continue
                break
        return self._item.convert(value, self._flag)


def add_options(
    parser: argparse.ArgumentParser, kind: type[Parameters], names: str = "", **flags: str
) -> None:
    """An option for every declared value, with its text, unit, bounds, choices and default.

    Args:
        names: those that become options, separated by spaces; empty: all.
        flags: name -> option, where it is not called like the value, e.g. ``flow_steps="steps"``.
    """
    for item in kind.declarations():
        if names and item.name not in names.split():
            continue
        flag = "--" + flags.get(item.name, item.name).replace("_", "-")
        spec = item.spec
        notes = [spec.unit, spec.allowed]
        if item.default not in ("", ()) and not isinstance(item.default, bool):
            notes.append(f"default {item.default}")
        joined = "; ".join(filter(None, notes))
        text = (spec.text + (f" [{joined}]" if joined else "")).replace("%", "%%")
        common: dict[str, Any] = {"dest": item.name, "default": item.default, "help": text}
        if isinstance(item.default, bool):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, **common)
        elif isinstance(item.default, tuple):
            parser.add_argument(flag, nargs="*", **common)
        else:
            parser.add_argument(flag, type=_Value(item, flag), metavar=_metavar(item), **common)


def _metavar(item: Declaration) -> str:
    return {"s": "S", "Hz": "HZ"}.get(item.spec.unit, item.name.rpartition("_")[2].upper())


def declared_values(options: argparse.Namespace, kind: type[Parameters]) -> dict[str, Any]:
    """Name -> value of what ``add_options`` made options of."""
    given = vars(options)
    return {item.name: given[item.name] for item in kind.declarations() if item.name in given}


def add_workers(parser: argparse.ArgumentParser) -> None:
    """--workers and --ray, read back by ``workers``."""
    text = "units of work at a time (default: one a core, of this machine or of the cluster)"
    parser.add_argument("--workers", type=int, default=0, metavar="N", help=text)
    add_ray(parser)


def add_ray(parser: argparse.ArgumentParser) -> None:
    """--ray."""
    text = "run on this Ray cluster, not in processes here: HOST:6379, or auto (doc/scale.md)"
    parser.add_argument("--ray", default="", metavar="ADDRESS", help=text)


def workers(options: argparse.Namespace) -> Workers:
    """Of --workers and --ray."""
    most = max(0, options.workers)
    return Workers(most, options.ray) if options.ray else Workers(most or os.cpu_count() or 1)


def positive(text: str) -> int:
    """A type of argparse: 1 or more."""
    return _at_least(text, 1, "at least 1")


def not_negative(text: str) -> int:
    """A type of argparse: 0 or more."""
    return _at_least(text, 0, "0 or more")


def _at_least(text: str, least: int, words: str) -> int:
    value = int(text)
    if value < least:
        raise argparse.ArgumentTypeError(f"expected {words}, got {value}")
    return value
