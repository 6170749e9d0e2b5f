# SPDX-License-Identifier: Apache-2.0
"""Values declared once: fields of a frozen dataclass from which everything else is derived.

Nodes' descriptors (``ros/live_parameters.py``), ``config/<node>.yaml``, the tables in
``doc/parameters.md`` and options of commands (``cli/options.py``) come from the fields of a class;
``same_as`` takes a field over into another one.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adamoe_ros.contract.errors import ContractError, problem

if TYPE_CHECKING:
    from typing_extensions import Self

Bounds = tuple[float, float]


@dataclass(frozen=True)
class Spec:
    """What is known of one parameter besides its default.

    Attributes:
        text: what it does, one sentence.
        unit: "s", "Hz", ...; empty for none.
        bounds: lowest and highest allowed value, both included; None: any finite value.
        choices: allowed values; empty: any.
        dynamic: may change while the node is configured or active, and then takes effect at once.
    """

    text: str
    unit: str = ""
    bounds: Bounds | None = None
    choices: tuple[str, ...] = ()
    dynamic: bool = False

    @property
    def allowed(self) -> str:
        """Range or choices for people; empty when anything goes."""
        if self.choices:
            return " | ".join(choice or '""' for choice in self.choices)
        if self.bounds:
            return f"{_plain(self.bounds[0])} ... {_plain(self.bounds[1])}"
        return ""


def param(
    default: Any,
    text: str,
    *,
    unit: str = "",
    bounds: Bounds | None = None,
    choices: tuple[str, ...] = (),
    dynamic: bool = False,
) -> Any:
    """One field of a ``Parameters`` class.

    Args:
        default: bool, int, float, str, or a tuple of one of int, float, str; its type is the
            parameter's type. An empty tuple means a list of strings.
    """
    spec = Spec(text, unit, bounds, choices, dynamic)
    return dataclasses.field(default=default, metadata={"spec": spec})


def same_as(kind: type[Parameters], name: str, **changes: Any) -> Any:
    """A field that is declared in another class.

    Args:
        changes: ``default`` where this class has another one; ``text``, ``bounds``, ... of ``Spec``.
    """
    declared = kind.declaration(name)
    default = changes.pop("default", declared.default)
    spec = dataclasses.replace(declared.spec, **changes)
    return dataclasses.field(default=default, metadata={"spec": spec})


@dataclass(frozen=True)
class Declaration:
    """One parameter: name, default and specification."""

    name: str
    default: Any
    spec: Spec

    def convert(self, value: object, where: str = "") -> Any:
        """The value in the declared type; an int stands for a float, a list for a tuple.

        Args:
            where: said in front of what does not fit; empty: the parameter's name.

        Raises:
            ContractError: wrong type, not finite, out of bounds or not a choice; one line.
        """
        where = where or f"parameter {self.name}"
        converted = _as_type(value, self.default)
        if converted is None:
            expected = _type_name(self.default)
            raise ContractError(problem(where, expected, repr(value), "correct the value"))
        for item in converted if isinstance(converted, tuple) else (converted,):
            self._check(item, where)
        return converted

    def _check(self, item: Any, where: str) -> None:
        if isinstance(item, float) and not math.isfinite(item):
            raise ContractError(problem(where, "a finite number", repr(item), "correct the value"))
        bounds = self.spec.bounds
        if bounds and not bounds[0] <= item <= bounds[1]:
            unit = f" {self.spec.unit}" if self.spec.unit else ""
            expected = f"a value in {self.spec.allowed}{unit}"
            raise ContractError(problem(where, expected, repr(item), "choose one inside"))
        if self.spec.choices and item not in self.spec.choices:
            expected = f"one of {self.spec.allowed}"
            raise ContractError(problem(where, expected, repr(item), "choose one"))


@dataclass(frozen=True)
class Parameters:
    """Base of a set of declared values; fields are made with ``param`` or ``same_as``."""

    @classmethod
    def declarations(cls) -> tuple[Declaration, ...]:
        """Every parameter in order of declaration."""
        return tuple(
            Declaration(field.name, field.default, field.metadata["spec"])
            for field in dataclasses.fields(cls)
            if "spec" in field.metadata
        )

    @classmethod
    def declaration(cls, name: str) -> Declaration:
        """One declaration.

        Raises:
            ContractError: no such parameter; the line lists those there are.
        """
        for declaration in cls.declarations():
            if declaration.name == name:
                return declaration
        known = ", ".join(declaration.name for declaration in cls.declarations())
        raise ContractError(
            problem(
                f"parameter {name}",
                f"one of {known}",
                "an unknown name",
                "correct or remove it",
            )
        )

    @classmethod
    def from_values(cls, values: Mapping[str, object]) -> Self:
        """Defaults with ``values`` over them.

        Raises:
            ContractError: every unknown name and every value that does not fit, one line each.
        """
        checked: dict[str, Any] = {}
        lines: list[str] = []
        for name, value in values.items():
            try:
                checked[name] = cls.declaration(name).convert(value)
            except ContractError as error:
                lines += error.problems
        if not lines:
            made = cls(**checked)
            lines = made.conflicts()
            if not lines:
                return made
        raise ContractError(lines)

    def changed(self, values: Mapping[str, object]) -> Self:
        """A copy with some values replaced, checked like ``from_values``."""
        return type(self).from_values({**self.as_dict(), **values})

    def as_dict(self) -> dict[str, Any]:
        """Name -> value."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def changes(self) -> dict[str, Any]:
        """Name -> value of those that are not the default."""
        items = self.as_dict().items()
        return {name: value for name, value in items if value != self.declaration(name).default}

    def conflicts(self) -> list[str]:
        """Lines about values that do not fit each other; a subclass may add some."""
        return []


@dataclass(frozen=True)
class ManagedParameters(Parameters):
    """What every lifecycle node has."""

    autostart: bool = param(
        False,
        "Configure and activate without being asked; activation is tried again until it succeeds.",
    )
    robot: str = param("", "Robot profile: the name of a shipped one or the path of a .yaml file.")


def yaml_text(node: str, parameters: type[Parameters], source: str) -> str:
    """The params file of a node: every default, with text, unit and range as comments.

    Args:
        node: node name; the file applies to it in every namespace.
        source: file of the declaration, named in the header.
    """
    lines = [
        f"# Generated from {source} by 'python -m adamoe_ros.ros.generate'; change it there.",
        f"/**/{node}:",
        "  ros__parameters:",
    ]
    for item in parameters.declarations():
        notes = [note for note in (item.spec.unit, item.spec.allowed) if note]
        notes += ["may change while active"] if item.spec.dynamic else []
        lines.append(f"    # {item.spec.text}" + (f" [{'; '.join(notes)}]" if notes else ""))
        lines.append(f"    {item.name}: {_yaml_value(item.default)}")
    return "\n".join(lines) + "\n"


def markdown_table(parameters: type[Parameters]) -> str:
    """A table of all parameters for people."""
    lines = [
        "| parameter | default | unit | allowed | while active | meaning |",
        "|---|---|---|---|---|---|",
    ]
    for item in parameters.declarations():
        allowed = item.spec.allowed.replace("|", "\\|")
        dynamic = "changes" if item.spec.dynamic else "fixed"
        cells = [
            f"`{item.name}`",
            f"`{_yaml_value(item.default)}`",
            item.spec.unit,
            allowed,
        ]
        lines.append("| " + " | ".join([*cells, dynamic, item.spec.text]) + " |")
    return "\n".join(lines) + "\n"


def _as_type(value: object, default: Any) -> Any:
    """``value`` as the type of ``default``; None where it cannot be."""
    if isinstance(default, tuple):
        if not isinstance(value, (list, tuple)):
            return None
        example = default[0] if default else ""
        items = tuple(_as_type(item, example) for item in value)
        return None if None in items else items
    if isinstance(default, bool) or isinstance(value, bool):
        return value if isinstance(default, bool) and isinstance(value, bool) else None
    if isinstance(default, float) and isinstance(value, int):
        return float(value)
    return value if isinstance(value, type(default)) else None


def _type_name(default: Any) -> str:
    if isinstance(default, tuple):
        return f"a list of {_type_name(default[0] if default else '').split(' ', 1)[1]}s"
    names = {
        bool: "a true or false",
        int: "a whole number",
        float: "a number",
        str: "a text",
    }
    return names[type(default)]


def _yaml_value(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_yaml_value(item) for item in value) + "]"
    if isinstance(value, float):
        return _plain(value) if not value.is_integer() else f"{value:.1f}"
    return json.dumps(value)


def _plain(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:g}"
