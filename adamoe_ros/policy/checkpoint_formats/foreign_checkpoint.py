# SPDX-License-Identifier: Apache-2.0
"""A foreign checkpoint before its numbers are read: names, shapes, table, metadata, all checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch

from adamoe_ros.contract.errors import ContractError, Problems, problem
from adamoe_ros.model.config import (
    Architecture,
    ExpertConfig,
    ModelConfig,
    MoEConfig,
    PrefixConfig,
    RouterDtype,
    Variant,
    VisionConfig,
)
from adamoe_ros.model.weights import is_finite
from adamoe_ros.policy.checkpoint_formats.metadata import CheckpointMetadata
from adamoe_ros.policy.checkpoint_formats.rules import Rule, Sizes, expanded, wanted_shape
from adamoe_ros.policy.checkpoint_formats.sources import SourceTensor, TensorSource

FLOATS = (torch.float32, torch.float16, torch.bfloat16)
_SIZES = (
    "patch", "tokens", "vision", "vision_layers", "vision_heads", "vision_mlp", "prefix", "layers",
    "heads", "head", "kv_heads", "prefix_mlp", "expert", "expert_mlp", "vocab", "state", "action",
)  # fmt: skip


Advance = Callable[[int], None]
"""Entry how many more bytes of the source have been dealt with."""

Begin = Callable[[int], Advance]
"""Entry how many bytes will be read."""


@dataclass(frozen=True)
class ForeignCheckpoint:
    """A foreign checkpoint.

    Attributes:
        where: said in front of each problem, e.g. the folder.
        tensors: by the names that the rules use.
        rules: table of the format.
        sizes: values of the rules' symbols.
        unused: names that are known and not needed.
        variant: of the mixture, ``dense`` without one.
        metadata: what the source says.
        spelled: rule's name -> name in the file, where they differ.
        notes: lines for a person on how it was read.
        architecture: as its tensors say.
    """

    where: str
    tensors: TensorSource
    rules: list[Rule]
    sizes: Sizes
    unused: frozenset[str]
    variant: Variant
    metadata: CheckpointMetadata
    spelled: Mapping[str, str]
    notes: tuple[str, ...] = ()
    architecture: Architecture = "pi0"

    def place(self, name: str) -> str:
        """A tensor, for a person."""
        return f"{self.where}: {self.spelled.get(name, name)}"

    def check(self, problems: Problems) -> None:
        """Unexpected, missing, misshaped tensors and those that are no floating-point numbers."""
        rules = expanded(self.rules, self.sizes)
        known = {rule.source for rule in rules}
        unknown = sorted(self.tensors.keys() - known - self.unused)
        missing = [rule.source for rule in rules if rule.source not in self.tensors]
        self._name_strangers(unknown, missing, problems)
        for rule in rules:
            tensor = self.tensors.get(rule.source)
            if tensor is None:
                continue
            if tensor.dtype not in FLOATS:
                got = str(tensor.dtype).removeprefix("torch.")
                expected = "float32, float16 or bfloat16"
                problems.add(self.place(rule.source), expected, got, "convert it in its own code")
            elif not _fits(tensor.shape, wanted_shape(rule, self.sizes)):
                wanted = ", ".join(str(size or "?") for size in wanted_shape(rule, self.sizes))
                do = "is it another tensor, or of another model?"
                problems.add(self.place(rule.source), f"({wanted})", tensor.shape, do)

    def _name_strangers(self, unknown: list[str], missing: list[str], problems: Problems) -> None:
        """Unknown and missing tensors; many have one cause, which is said once."""
        many = len(unknown) + len(missing) > _MANY
        if many:
            spelled = [self.spelled.get(name, name) for name in unknown]
            total = f"{len(unknown)} of {len(self.tensors)} tensors unknown, {len(missing)} missing"
            expected = f"{_SAID[self.architecture]}'s tensors"
            problems.add(self.where, expected, f"{total}{_likeness(spelled)}", _cause(spelled))
        shown = unknown[: _SHOWN if many else None]
        for name in shown:
            got = _described(self.tensors[name])
            problems.add(self.place(name), "no such tensor", got, _ADVICE)
        room = _SHOWN - len(shown) if many else None
        for name in missing[:room]:
            problems.add(self.place(name), "a tensor", "none", "the source is incomplete")
        left = len(unknown) + len(missing) - len(shown) - len(missing[:room])
        if left:
            problems.lines.append(f"{self.where}: and {left} more")

    def check_values(self, problems: Problems, advance: Advance) -> None:
        """NaN, infinity and damage of every tensor that can be read."""
        for rule in expanded(self.rules, self.sizes):
            tensor = self.tensors.get(rule.source)
            if tensor is not None and tensor.dtype in FLOATS:
                try:
                    for slab in tensor.slabs() if rule.kind == "stacked" else [tensor.read()]:
                        if not is_finite(slab):
                            not_finite(self.place(rule.source), problems)
                            break
                except ContractError as error:
                    problems.extend(error.problems)
                advance(tensor.nbytes)

    def used(self) -> Iterator[tuple[Rule, SourceTensor]]:
        """Rules and their tensors after ``check`` found nothing."""
        for rule in expanded(self.rules, self.sizes):
            yield rule, self.tensors[rule.source]


_MANY, _SHOWN = 12, 10  # tensors from which on a common cause is sought; lines of them shown then


def _likeness(names: list[str]) -> str:
    """What unknown names have in common, for a person."""
    if not names:
        return ""
    first, last = min(names), max(names)  # what these two share all of them share
    same = [a == b for a, b in zip(first, last, strict=False)]
    before = first[: same.index(False) if False in same else len(same)]
    before = before[: max(before.rfind("."), before.rfind("/")) + 1]
    common = f", all of them named {before}..." if before and len(names) > 1 else ""
    if any("/" in name for name in names):
        return f"{common} (as JAX code names them)"
    return (
        f"{common} (as PyTorch code names them)" if any("." in name for name in names) else common
    )


def _cause(names: list[str]) -> str:
    """What to do about many unknown tensors."""
    if any("lora_" in name.lower() for name in names):
        return "an unmerged LoRA: merge it into the weights (merge_and_unload) and save them again"
    return "is it another --from, an older spelling, or another model? Save it by its own code"


_ADVICE = "is it another format, or a LoRA checkpoint?"
_SAID: dict[Architecture, str] = {"pi0": "pi0", "pi05": "pi0.5"}
_MARKS: tuple[tuple[Architecture, re.Pattern[str]], ...] = (
    ("pi0", re.compile(r"(^|[./])(state_proj|action_time_mlp_(in|out))[./]")),
    ("pi0", re.compile(r"_norm_1/scale$|gemma_expert\..*norm\.weight$")),
    ("pi05", re.compile(r"_norm_1/Dense_0/|gemma_expert\..*norm\.dense\.")),
    ("pi05", re.compile(r"(^|[./])time_mlp_(in|out)[./]")),
)
"""What only one of the two has; openpi's names of JAX and PyTorch."""


def architecture_of(where: str, names: Iterable[str]) -> Architecture:
    """pi0 or pi0.5, by tensors alone: folders and settings do not know, or say the other.

    Args:
        names: of all tensors, in openpi's spelling.

    Raises:
        ContractError: there are tensors of both.
    """
    found: dict[Architecture, list[str]] = {"pi0": [], "pi05": []}
    for name in sorted(names):
        for architecture, mark in _MARKS:
            if mark.search(name):
                found[architecture].append(name)
    if found["pi0"] and found["pi05"]:
        got = f"both {found['pi0'][0]} and {found['pi05'][0]}"
        do = "the file is damaged or two were merged: take the original"
        raise ContractError(problem(where, "tensors of pi0 or of pi0.5", got, do))
    return "pi05" if found["pi05"] else "pi0"


def check_called(where: str, called: str, architecture: Architecture) -> None:
    """Settings must name the architecture that the tensors have.

    Raises:
        ContractError: they name the other.
    """
    if called != architecture:
        expected = f"{architecture!r}, which its tensors are"
        do = "the settings are of another checkpoint: take those of this one"
        raise ContractError(problem(where, expected, repr(called), do))


def unwatched(total: int) -> Advance:
    """Progress that nobody looks at."""
    return lambda count: None


def not_finite(place: str, problems: Problems) -> None:
    """The line about NaN or infinity."""
    problems.add(place, "finite numbers", "NaN or inf", "take a sound checkpoint")


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    """Whether a shape agrees with what is known of it."""
    return len(shape) == len(wanted) and all(
        size in (length, None) for length, size in zip(shape, wanted, strict=True)
    )


def _described(tensor: SourceTensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def model_config(
    foreign: ForeignCheckpoint, router_dtype: RouterDtype, shared_weight: float, problems: Problems
) -> ModelConfig | None:
    """Sizes of the network; None where ``problems`` were found.

    Args:
        router_dtype, shared_weight: see ``MoEConfig``.
    """
    sizes, metadata = foreign.sizes, foreign.metadata
    if foreign.architecture == "pi05":  # no tensor has the state's width; the padded vectors agree
        sizes = {"state": sizes.get("action", 0), **sizes}
    if any(symbol not in sizes for symbol in _SIZES):
        return None
    rows = round(sizes["tokens"] ** 0.5)
    if rows * rows != sizes["tokens"]:
        got = f"{sizes['tokens']} image tokens"
        problems.add(foreign.where, "a square grid of image tokens", got, "which model is it?")
        return None
    moe = MoEConfig()
    if foreign.variant != "dense":
        moe = MoEConfig(
            foreign.variant,
            sizes["experts"],
            metadata["top_k"],
            shared_weight,
            router_dtype,
        )
    try:
        return ModelConfig(
            vision=VisionConfig(
                image_size=(rows * sizes["patch"], rows * sizes["patch"]), patch=sizes["patch"],
                width=sizes["vision"], depth=sizes["vision_layers"], heads=sizes["vision_heads"],
                mlp=sizes["vision_mlp"],
            ),
            prefix=PrefixConfig(
                width=sizes["prefix"], depth=sizes["layers"], mlp=sizes["prefix_mlp"],
                heads=sizes["heads"], kv_heads=sizes["kv_heads"], head_dim=sizes["head"],
                vocab=sizes["vocab"],
            ),
            expert=ExpertConfig(width=sizes["expert"], mlp=sizes["expert_mlp"]),
            moe=moe, architecture=foreign.architecture,
            horizon=metadata["horizon"], action_dim=sizes["action"], state_dim=sizes["state"],
            num_views=len(metadata["camera_slots"]), prompt_length=metadata["prompt_length"],
            flow_steps=metadata["flow_steps"],
        )  # fmt: skip
    except ContractError as error:
        problems.extend(error.problems)
        return None
