# SPDX-License-Identifier: Apache-2.0
"""Reads robot profiles from YAML: ``extends``, duplicate keys, and every error at once.

``read_profile`` works without pydantic: launch files run in the distribution's own Python, whose
pydantic is version 1 or none.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.contract.resources import robots_dir

if TYPE_CHECKING:
    from adamoe_ros.contract.profile import RobotProfile


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that stands twice: the later one would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping.

    Raises:
        ContractError: the file is missing, not YAML, not a mapping, or repeats a key.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            document = yaml.load(stream, Loader=_UniqueKeyLoader)
    except FileNotFoundError as error:
        raise ContractError(
            problem(str(path), "a YAML file", "no file", "check the path")
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise ContractError(problem(str(path), "valid YAML", line, "correct the file")) from error
    if not isinstance(document, dict):
        raise ContractError(
            problem(str(path), "a mapping", type(document).__name__, "start it with 'name: ...'")
        )
    return document


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes`` over it: mappings merge key by key, everything else replaces."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def read_profile(path: Path, chain: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The document of a profile with what it extends, not validated.

    Args:
        chain: profiles that extend this one.

    Raises:
        ContractError: a file cannot be read, or profiles extend each other in a circle.
    """
    if path in chain:
        names = " -> ".join(item.stem for item in (*chain, path))
        raise ContractError(
            problem(f"{path.name}: extends", "no circle", names, "remove one of the 'extends'")
        )
    document = read_yaml(path)
    base = document.pop("extends", None)
    if base is None:
        return document
    return merge(read_profile(_base_path(path, str(base)), (*chain, path)), document)


def _base_path(path: Path, base: str) -> Path:
    """File of an extended profile: beside the one that extends it, else the shipped one."""
    beside, shipped = path.parent / f"{base}.yaml", robots_dir() / f"{base}.yaml"
    own = beside.is_file() and beside != path
    return beside if own or not shipped.is_file() else shipped


def known_profiles(folder: Path) -> list[str]:
    """Names of the profiles that ship in a folder."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def profile_path(name_or_path: str, folder: Path) -> Path:
    """File of a shipped profile (by name) or of the user's own (by path).

    Raises:
        ContractError: neither exists; the line lists the shipped names.
    """
    own = Path(name_or_path)
    if own.suffix in (".yaml", ".yml"):
        return own
    path = folder / f"{name_or_path}.yaml"
    if not path.is_file():
        names = ", ".join(known_profiles(folder))
        raise ContractError(
            problem(
                "robot",
                f"one of {names} or the path of a .yaml file",
                repr(name_or_path),
                "pass robot:=<name>",
            )
        )
    return path


def load_profile(path: Path) -> RobotProfile:
    """Read, extend and validate a profile.

    Raises:
        ContractError: every problem of the document, one line each.
    """
    from pydantic import ValidationError

    from adamoe_ros.contract.profile import RobotProfile
    from adamoe_ros.contract.validation import validation_lines

    document = read_profile(path)
    try:
        return RobotProfile.model_validate(document)
    except ValidationError as error:
        raise ContractError(validation_lines(path.name, error, RobotProfile)) from error
