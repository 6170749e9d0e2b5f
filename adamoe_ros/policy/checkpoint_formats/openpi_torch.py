# SPDX-License-Identifier: Apache-2.0
"""Names of pi0's and pi0.5's tensors in PyTorch: openpi's, LeRobot's and transformers' spellings.

All three are spellings of one list; ``canonical`` turns them into openpi's. Two tensors are never
used and left out: the action expert's LM head (transformers: its token embedding), and the
language model's LM head where the embedding itself is stored, too.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from adamoe_ros.contract.errors import Problems
from adamoe_ros.model.config import Architecture, ModelConfig
from adamoe_ros.policy.checkpoint_formats.foreign_checkpoint import (
    ForeignCheckpoint,
    architecture_of,
)
from adamoe_ros.policy.checkpoint_formats.metadata import CheckpointMetadata
from adamoe_ros.policy.checkpoint_formats.metadata_files import (
    read_assets,
    read_json,
    read_tokenizer,
    set_openpi,
)
from adamoe_ros.policy.checkpoint_formats.rules import Rule, Sizes, expanded, repeated, single, vote
from adamoe_ros.policy.checkpoint_formats.sources import TensorSource, open_safetensors

JOINT = "paligemma_with_expert"
_VISION = f"{JOINT}.paligemma.model.vision_tower.vision_model"
_HEAD = f"{JOINT}.paligemma.model.multi_modal_projector.linear"
_STACKS = {
    "prefix": f"{JOINT}.paligemma.model.language_model",
    "expert": f"{JOINT}.gemma_expert.model",
}
EMBED = f"{JOINT}.paligemma.model.language_model.embed_tokens.weight"
LM_HEAD = f"{JOINT}.paligemma.lm_head.weight"
EXPERT_HEAD = f"{JOINT}.gemma_expert.lm_head.weight"
_UNUSED = {EXPERT_HEAD, f"{JOINT}.gemma_expert.model.embed_tokens.weight"}

_SPELLINGS = (
    (re.compile(r"^model\.vlm\."), f"{JOINT}.paligemma.model."),
    (re.compile(r"^model\.dit\."), f"{JOINT}.gemma_expert.model."),
    (re.compile(r"^model\."), ""),
    (re.compile(r"^embed_action_time\."), ""),
    (re.compile(r"\.language_model\.model\."), ".language_model."),
    (re.compile(r"\.vision_tower\.(?!vision_model\.)"), ".vision_tower.vision_model."),
)


_TIME_MLP = re.compile(r"^time_mlp_(in|out)\.")
_ADAPTIVE = re.compile(rf"^{JOINT}\.gemma_expert\..*norm\.dense\.")


def canonical(name: str) -> str:
    """openpi's spelling of a name, but for what ``canonical_names`` cannot tell from one alone."""
    for pattern, spelling in _SPELLINGS:
        name = pattern.sub(spelling, name)
    return name


def canonical_names(names: Iterable[str]) -> dict[str, str]:
    """Name -> openpi's spelling.

    transformers calls pi0's ``action_time_mlp`` ``time_mlp``, which is what pi0.5 has: its modulated
    norms tell.
    """
    found = {name: canonical(name) for name in names}
    if not any(map(_ADAPTIVE.match, found.values())):
        found = {name: _TIME_MLP.sub(r"action_time_mlp_\1.", ours) for name, ours in found.items()}
    return found


def _vision_rules() -> list[Rule]:
    embeddings, layer = f"{_VISION}.embeddings", f"{_VISION}.encoder.layers.{{i}}"
    ours = "vision.blocks.{i}"
    rules = [
        single(
            f"{embeddings}.patch_embedding.weight", "vision.patch_embed.weight",
            "vision", 3, "patch", "patch",
        ),
        single(f"{embeddings}.patch_embedding.bias", "vision.patch_embed.bias", "vision"),
        single(
            f"{embeddings}.position_embedding.weight", "vision.pos_embed", "tokens", "vision"
        ),
        single(f"{_VISION}.post_layernorm.weight", "vision.norm.weight", "vision"),
        single(f"{_VISION}.post_layernorm.bias", "vision.norm.bias", "vision"),
        single(f"{_HEAD}.weight", "vision.head.weight", "prefix", "vision"),
        single(f"{_HEAD}.bias", "vision.head.bias", "prefix"),
    ]  # fmt: skip

    def layered(theirs: str, name: str, outer: str, inner: str | None) -> None:
        shape = (outer,) if inner is None else (outer, inner)
        weight, bias = f"{layer}.{theirs}.weight", f"{layer}.{theirs}.bias"
        rules.append(repeated("vision_layers", weight, f"{ours}.{name}.weight", *shape))
        rules.append(repeated("vision_layers", bias, f"{ours}.{name}.bias", outer))

    layered("layer_norm1", "norm1", "vision", None)
    layered("layer_norm2", "norm2", "vision", None)
    for name in ("q", "k", "v", "out"):
        layered(f"self_attn.{name}_proj", f"attn.{name}", "vision", "vision")
    layered("mlp.fc1", "mlp.fc1", "vision_mlp", "vision")
    layered("mlp.fc2", "mlp.fc2", "vision", "vision_mlp")
    return rules


def _stack_rules(stack: str, adaptive: bool = False) -> list[Rule]:
    theirs, ours, mlp = f"{_STACKS[stack]}.layers.{{i}}", f"{stack}.layers.{{i}}", f"{stack}_mlp"
    tensors = (
        ("self_attn.q_proj", "attn.q", ("queries", stack)),
        ("self_attn.k_proj", "attn.k", ("keys", stack)),
        ("self_attn.v_proj", "attn.v", ("keys", stack)),
        ("self_attn.o_proj", "attn.o", (stack, "queries")),
        ("mlp.gate_proj", "ffn.gate", (mlp, stack)),
        ("mlp.up_proj", "ffn.up", (mlp, stack)),
        ("mlp.down_proj", "ffn.down", (stack, mlp)),
    )
    norms = (
        ("layers.{i}.input_layernorm", "layers.{i}.attn_norm"),
        ("layers.{i}.post_attention_layernorm", "layers.{i}.ffn_norm"),
        ("norm", "norm"),
    )
    return [
        *(
            repeated("layers", f"{theirs}.{name}.weight", f"{ours}.{our}.weight", *shape)
            for name, our, shape in tensors
        ),
        *(
            rule
            for name, our in norms
            for rule in _norm_rules(f"{_STACKS[stack]}.{name}", f"{stack}.{our}", stack, adaptive)
        ),
    ]


def _norm_rules(theirs: str, ours: str, width: str, adaptive: bool) -> list[Rule]:
    """One norm, plain or modulated, of a layer or the last."""
    tensors: list[tuple[str, str, tuple[str, ...]]] = [("weight", "weight", (width,))]
    if adaptive:
        tensors = [
            ("dense.weight", "modulation.weight", (f"3*{width}", width)),
            ("dense.bias", "modulation.bias", (f"3*{width}",)),
        ]
    make = functools.partial(repeated, "layers") if "{i}" in theirs else single
    return [make(f"{theirs}.{name}", f"{ours}.{our}", *shape) for name, our, shape in tensors]


_PROJECTIONS: dict[Architecture, tuple[tuple[str, str, str], ...]] = {
    "pi0": (
        ("state_proj", "expert", "state"),
        ("action_in_proj", "expert", "action"),
        ("action_time_mlp_in", "expert", "2*expert"),
        ("action_time_mlp_out", "expert", "expert"),
        ("action_out_proj", "action", "expert"),
    ),
    "pi05": (
        ("action_in_proj", "expert", "action"),
        ("time_mlp_in", "expert", "expert"),
        ("time_mlp_out", "expert", "expert"),
        ("action_out_proj", "action", "expert"),
    ),
}


def torch_rules(embedding: str = EMBED, architecture: Architecture = "pi0") -> list[Rule]:
    """Every tensor that the network uses, in openpi's spelling.

    Args:
        embedding: name under which the token embedding is stored.
    """
    rules = [
        *_vision_rules(),
        single(embedding, "embed.weight", "vocab", "prefix"),
        *_stack_rules("prefix"),
        *_stack_rules("expert", architecture == "pi05"),
    ]
    for name, outer, inner in _PROJECTIONS[architecture]:
        rules.append(single(f"{name}.weight", f"{name}.weight", outer, inner))
        rules.append(single(f"{name}.bias", f"{name}.bias", outer))
    return rules


def pi0_names(config: ModelConfig) -> dict[str, str]:
    """Canonical name -> ours, of every tensor of a dense pi0 or pi0.5 with these depths."""
    depths = {"layers": config.prefix.depth, "vision_layers": config.vision.depth}
    rules = torch_rules(architecture=config.architecture)
    return {rule.source: rule.parts[0].target for rule in expanded(rules, depths)}


def embedding_name(names: Iterable[str]) -> str:
    """Where the token embedding is stored: under its own name, else tied to the LM head."""
    present = set(names)
    return LM_HEAD if LM_HEAD in present and EMBED not in present else EMBED


def unused(names: Iterable[str]) -> set[str]:
    """Canonical names that pi0 never reads."""
    present = set(names)
    doubled = {LM_HEAD} if EMBED in present else set()
    return present & (_UNUSED | doubled)


def torch_sizes(rules: list[Rule], shapes: Mapping[str, tuple[int, ...]]) -> Sizes:
    """Sizes; what torch shapes do not tell apart is pi0's: one key head, SigLIP's width per head."""
    sizes = vote(rules, shapes)
    sizes["kv_heads"] = 1
    if "keys" in sizes and "queries" in sizes:
        sizes["head"] = sizes["keys"]
        sizes["heads"] = sizes["queries"] // sizes["keys"]
    if "vision" in sizes:
        sizes["vision_heads"] = max(1, sizes["vision"] // _SIGLIP_HEAD)
    return sizes


_SIGLIP_HEAD = 72  # So400m: 1152 / 16


def open_torch(
    source: Path, tensors: TensorSource, metadata: CheckpointMetadata, known: Mapping[str, int]
) -> ForeignCheckpoint:
    """A checkpoint of one of the three code bases.

    Args:
        tensors: by the file's names.
        known: sizes that its settings tell.

    Raises:
        ContractError: two tensors mean the same.
    """
    spelled: dict[str, str] = {}
    problems = Problems()
    plain, taken = unwrapped(list(tensors))
    spelling = canonical_names(plain.values())
    for name, short in plain.items():
        other = spelled.setdefault(spelling[short], name)
        if other != name:
            problems.add(f"{source}: {name}", "a tensor once", f"{other}, too", "remove one")
    problems.raise_if_any()
    found = {name: tensors[theirs] for name, theirs in spelled.items()}
    architecture = architecture_of(str(source), found)
    rules = torch_rules(embedding_name(found), architecture)
    shapes = {name: tensor.shape for name, tensor in found.items()}
    sizes = torch_sizes(rules, shapes) | dict(known)
    notes = (f"taken off the names of the tensors: {', '.join(taken)}",) if taken else ()
    unneeded = frozenset(unused(found))
    return ForeignCheckpoint(
        str(source), found, rules, sizes, unneeded, "dense", metadata, spelled, notes, architecture
    )


_WRAPPER = re.compile(
    r"(?:(?<=^)|(?<=\.))(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
_LAYER = re.compile(r"\.\d+\.")


def unwrapped(names: list[str]) -> tuple[dict[str, str], list[str]]:
    """Names without what a wrapper of the network put into them, where that makes them pi0's.

    Wrappers (DataParallel, torch.compile, FSDP) put words anywhere into a name; an own class around
    the policy puts the same words before every name.

    Returns:
        Name -> the shorter one, and what was taken off.
    """
    tables = (torch_rules(architecture=name) for name in _PROJECTIONS)
    sources = {*(rule.source for table in tables for rule in table), *_UNUSED, LM_HEAD}

    def fitting(shorter: Iterable[str]) -> int:
        spelled = canonical_names(shorter).values()
        return sum(_LAYER.sub(".{i}.", name) in sources for name in spelled)

    best, most, taken = {name: name for name in names}, fitting(names), list[str]()
    without = {name: _WRAPPER.sub("", name) for name in names}
    if fitting(without.values()) > most:
        best, most = without, fitting(without.values())
        taken = sorted({word for name in names for word in _WRAPPER.findall(name)})
    parts = [name.split(".") for name in best.values()]
    common = next((i for i, words in enumerate(zip(*parts, strict=False)) if len({*words}) > 1), 0)
    for count in range(1, common + 1):
        shorter = {name: ".".join(short.split(".")[count:]) for name, short in best.items()}
        if fitting(shorter.values()) > max(most, 0.9 * len(names)):
            return shorter, [*taken, ".".join(parts[0][:count]) + "."]
    return best, taken


def open_source(source: Path, asset: str | None) -> ForeignCheckpoint:
    """Open a dense pi0 or pi0.5.

    Raises:
        ContractError: missing or damaged files.
    """
    folder = source.parent if source.is_file() else source
    metadata = CheckpointMetadata()
    foreign = open_torch(source, open_safetensors(source), metadata, {})
    set_openpi(metadata, foreign.architecture)
    metadata.set("config.json", horizon=read_json(folder / "config.json").get("action_horizon"))
    read_assets(metadata, folder, asset)
    read_tokenizer(metadata, folder)
    return foreign
