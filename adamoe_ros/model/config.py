# SPDX-License-Identifier: Apache-2.0
"""Sizes and variant of a policy, validated as a whole when built; the presets.

The defaults are pi0's (openpi's ``pi0`` with gemma_2b and gemma_300m).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from adamoe_ros.contract.errors import ContractError, Problems

Variant = Literal["dense", "adamoe", "csmoe", "vanilla"]
RouterDtype = Literal["float32", "bfloat16"]
Stem = Literal["patch", "conv"]
Architecture = Literal["pi0", "pi05"]


@dataclass(frozen=True)
class VisionConfig:
    """Image encoder, SigLIP So400m/14 by default.

    Attributes:
        image_size: (height, width) in pixels that the encoder is fed with.
        stem: ``patch`` is SigLIP's patch embedding; ``conv`` a small convolutional network.
        patch: edge of a patch in pixels (``patch`` stem only).
        width, depth, heads, mlp: of the transformer blocks.
        stem_channels: four convolutions at strides 2, 4, 4, 8 (``conv`` stem only).
        keypoints: spatial-softmax key points per view (``conv`` stem only).
        prompted_keypoints: further ones whose maps are made of the prompt.
    """

    image_size: tuple[int, int] = (224, 224)
    stem: Stem = "patch"
    patch: int = 14
    width: int = 1152
    depth: int = 27
    heads: int = 16
    mlp: int = 4304
    stem_channels: tuple[int, ...] = ()
    keypoints: int = 0
    prompted_keypoints: int = 0

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the image's token grid."""
        height, width = self.image_size
        edge = self.patch if self.stem == "patch" else 24
        return height // edge, width // edge

    @property
    def all_keypoints(self) -> int:
        """Key points of one view, prompted ones included."""
        return self.keypoints + self.prompted_keypoints

    @property
    def tokens(self) -> int:
        """Tokens of one view."""
        rows, columns = self.grid
        return rows * columns + (1 if self.keypoints else 0)


@dataclass(frozen=True)
class PrefixConfig:
    """Language model over image and prompt tokens; the expert shares depth and head geometry."""

    width: int = 2048
    depth: int = 18
    mlp: int = 16384
    heads: int = 8
    kv_heads: int = 1
    head_dim: int = 256
    vocab: int = 257152


@dataclass(frozen=True)
class ExpertConfig:
    """Action expert over state and action tokens."""

    width: int = 1024
    mlp: int = 4096


@dataclass(frozen=True)
class MoEConfig:
    """Feed-forward layers of the action expert.

    Attributes:
        variant: ``dense`` (pi0), ``adamoe``, ``csmoe`` (concatenated scale), ``vanilla``.
        num_experts: routed experts E; 0 for ``dense``.
        top_k: routed experts per token.
        shared_weight: of the shared expert's output; the routed sum gets 1 - shared_weight.
        router_dtype: ``bfloat16`` only replays what checkpoints trained elsewhere computed.
    """

    variant: Variant = "dense"
    num_experts: int = 0
    top_k: int = 0
    shared_weight: float = 0.5
    router_dtype: RouterDtype = "float32"


@dataclass(frozen=True)
class ModelConfig:
    """Everything that fixes the network's parameters and its computation.

    Attributes:
        architecture: how state and flow time enter. ``pi0``: a state token, time beside each noisy
            action. ``pi05``: state in the prompt (the network never reads it), time modulates the
            action expert's norms (adaRMS).
        horizon: action rows of a chunk, H.
        action_dim, state_dim: width of the (padded) model vectors.
        num_views: camera slots, V.
        prompt_length: most prompt tokens, L.
        flow_steps: Euler steps of sampling where the caller does not say.
        action_patch: rows per action token; 1 is pi0.
        aux_positions: 3-D object positions predicted from key points, state and prompt; 0 is pi0.
    """

    vision: VisionConfig = field(default_factory=VisionConfig)
    prefix: PrefixConfig = field(default_factory=PrefixConfig)
    expert: ExpertConfig = field(default_factory=ExpertConfig)
    moe: MoEConfig = field(default_factory=MoEConfig)
    architecture: Architecture = "pi0"
    horizon: int = 50
    action_dim: int = 32
    state_dim: int = 32
    num_views: int = 3
    prompt_length: int = 48
    flow_steps: int = 10
    action_patch: int = 1
    aux_positions: int = 0

    def __post_init__(self) -> None:
        problems = Problems()
        for where, value in _numbers(asdict(self)):
            if type(value) is not int or value < 0:
                problems.add(where, "a whole number, not negative", repr(value), "correct it")
        if not problems.lines:
            _check_positive(self, problems)
            _check_vision(self.vision, problems)
            _check_gemma(self, problems)
            _check_architecture(self, problems)
            _check_moe(self.moe, problems)
        problems.raise_if_any()

    @property
    def pi05(self) -> bool:
        """Whether time modulates the norms and no state token exists."""
        return self.architecture == "pi05"

    @property
    def state_tokens(self) -> int:
        """Suffix tokens before the actions."""
        return 0 if self.pi05 else 1

    @property
    def action_tokens(self) -> int:
        """Action tokens of a chunk."""
        return self.horizon // self.action_patch

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; ``from_dict`` reads them back."""
        return _plain(asdict(self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """Build from nested plain values; absent keys keep pi0's defaults.

        Raises:
            ContractError: unknown keys or values that do not fit, all listed.
        """
        problems = Problems()
        known = {f.name: f for f in fields(cls)}
        settings: dict[str, Any] = {}
        for name, value in values.items():
            if name in _SECTIONS:
                settings[name] = _section(_SECTIONS[name], name, value, problems)
            elif name in known:
                settings[name] = value
            else:
                problems.add(f"config.{name}", "a known key", "an unknown one", "remove it")
        problems.raise_if_any()
        return cls(**settings)

    def changed(self, changes: Mapping[str, Any]) -> ModelConfig:
        """The same with some values replaced, e.g. ``{"horizon": 25, "moe.top_k": 2}``.

        A section (``{"moe": {"top_k": 2}}``, as ``--set`` makes them) replaces what it names.

        Raises:
            ContractError: unknown keys or values that do not fit, all listed.
        """
        tree = self.to_dict()
        for key, value in changes.items():
            section, dot, name = key.partition(".")
            if dot and isinstance(tree.get(section), dict):
                tree[section][name] = value
            elif isinstance(value, Mapping) and isinstance(tree.get(key), dict):
                tree[key] |= value
            else:
                tree[key] = value
        return ModelConfig.from_dict(tree)


_SECTIONS: dict[str, type] = {
    "vision": VisionConfig,
    "prefix": PrefixConfig,
    "expert": ExpertConfig,
    "moe": MoEConfig,
}


def _section(kind: type, name: str, value: Any, problems: Problems) -> Any:
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        problems.add(f"config.{name}", "keys and values", repr(value), "see a preset")
        return kind()
    known = {f.name for f in fields(kind)}
    for key in sorted(set(value) - known):
        problems.add(f"config.{name}.{key}", "a known key", "an unknown one", "remove it")
    kept = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items() if k in known}
    return kind(**kept)


def _plain(tree: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _plain(value)
        if isinstance(value, dict)
        else list(value)
        if isinstance(value, tuple)
        else value
        for key, value in tree.items()
    }


def _numbers(tree: Mapping[str, Any], where: str = "config") -> list[tuple[str, Any]]:
    """Every value that must be a whole number, with its place."""
    found: list[tuple[str, Any]] = []
    for key, value in tree.items():
        place = f"{where}.{key}"
        if isinstance(value, Mapping) and value and key in _SECTIONS:
            found += _numbers(value, place)
        elif isinstance(value, tuple) and key in ("image_size", "stem_channels"):
            found += [(place, item) for item in value]
        elif key not in ("architecture", "stem", "variant", "shared_weight", "router_dtype"):
            found.append((place, value))
    return found


_MAY_BE_ZERO = (
    "vision.depth",
    "vision.keypoints",
    "vision.prompted_keypoints",
    "aux_positions",
    "moe.num_experts",
    "moe.top_k",
)


def _check_positive(config: ModelConfig, problems: Problems) -> None:
    for where, value in _numbers(asdict(config)):
        if value == 0 and where.removeprefix("config.") not in _MAY_BE_ZERO:
            problems.add(where, "at least 1", 0, "correct it")
    if config.horizon % max(1, config.action_patch):
        got = f"{config.horizon} rows in tokens of {config.action_patch}"
        problems.add("config.action_patch", "a divisor of horizon", got, "choose another")
    if config.aux_positions and not config.vision.keypoints:
        problems.add(
            "config.aux_positions", "0 without key points", config.aux_positions,
            "set vision.keypoints",
        )  # fmt: skip


def _check_vision(vision: VisionConfig, problems: Problems) -> None:
    where = "config.vision"
    if vision.stem not in get_args(Stem):
        problems.add(f"{where}.stem", " or ".join(get_args(Stem)), repr(vision.stem), "correct it")
    edge = vision.patch if vision.stem == "patch" else 24
    size = tuple(vision.image_size)
    if len(size) != 2 or any(length % max(1, edge) for length in size):
        problems.add(f"{where}.image_size", f"(height, width), multiples of {edge}", size, "adapt")
    if vision.width % max(1, vision.heads):
        problems.add(f"{where}.heads", "a divisor of width", vision.heads, "choose another")
    if vision.stem == "conv" and len(vision.stem_channels) != 4:
        problems.add(f"{where}.stem_channels", "four widths", vision.stem_channels, "give them")
    if vision.stem == "patch" and (vision.stem_channels or vision.keypoints):
        problems.add(where, "no stem_channels or keypoints", "some", "use stem: conv")
    if vision.prompted_keypoints and not vision.keypoints:
        got = vision.prompted_keypoints
        problems.add(f"{where}.prompted_keypoints", "0 without key points", got, "set keypoints")


def _check_gemma(config: ModelConfig, problems: Problems) -> None:
    prefix = config.prefix
    if prefix.heads % max(1, prefix.kv_heads):
        problems.add("config.prefix.kv_heads", "a divisor of heads", prefix.kv_heads, "adapt")
    for where, width in (
        ("prefix.head_dim", prefix.head_dim),
        ("expert.width", config.expert.width),
    ):
        if width % 2:
            problems.add(f"config.{where}", "an even number", width, "choose another")


def _check_architecture(config: ModelConfig, problems: Problems) -> None:
    if config.architecture not in get_args(Architecture):
        expected, got = " or ".join(get_args(Architecture)), repr(config.architecture)
        problems.add("config.architecture", expected, got, "correct it")


def _check_moe(moe: MoEConfig, problems: Problems) -> None:
    if moe.variant not in get_args(Variant):
        problems.add("config.moe.variant", ", ".join(get_args(Variant)), moe.variant, "correct it")
    elif moe.variant == "dense" and (moe.num_experts or moe.top_k):
        got = f"num_experts {moe.num_experts}, top_k {moe.top_k}"
        problems.add("config.moe", "no routed experts in a dense model", got, "set both to 0")
    elif moe.variant != "dense" and not 1 <= moe.top_k <= moe.num_experts:
        got = f"top_k {moe.top_k} of {moe.num_experts} experts"
        problems.add("config.moe.top_k", "1 to num_experts", got, "correct one")
    if moe.router_dtype not in get_args(RouterDtype):
        problems.add(
            "config.moe.router_dtype", " or ".join(get_args(RouterDtype)), moe.router_dtype, "adapt"
        )
    share = moe.shared_weight
    if not isinstance(share, (int, float)) or not 0 <= share <= 1:
        problems.add("config.moe.shared_weight", "0 to 1", share, "correct it")


def pi0() -> ModelConfig:
    """Dense pi0: 3,238,048,528 parameters."""
    return ModelConfig()


def adamoe_pi0(num_experts: int = 4, top_k: int = 1, variant: Variant = "adamoe") -> ModelConfig:
    """AdaMoE of pi0's size: 4,144,165,648 parameters with four experts."""
    return replace(pi0(), moe=MoEConfig(variant, num_experts, top_k))


def pi05() -> ModelConfig:
    """Dense pi0.5: 3,353,433,872 parameters."""
    return replace(pi0(), architecture="pi05", prompt_length=200)


def adamoe_pi05(num_experts: int = 4, top_k: int = 1, variant: Variant = "adamoe") -> ModelConfig:
    """AdaMoE of pi0.5's size: 4,259,550,992 parameters with four experts."""
    return replace(pi05(), moe=MoEConfig(variant, num_experts, top_k))


def small() -> ModelConfig:
    """Policy of the demo: trained from scratch and run on one CPU core (14 joints, 3 cameras)."""
    return ModelConfig(
        vision=VisionConfig(
            image_size=(72, 96), stem="conv", width=128, depth=1, heads=4, mlp=256,
            stem_channels=(16, 32, 64, 96), keypoints=24, prompted_keypoints=8,
        ),
        prefix=PrefixConfig(width=128, depth=3, mlp=256, heads=4, head_dim=32, vocab=256),
        expert=ExpertConfig(width=128, mlp=256),
        moe=MoEConfig("adamoe", 4, 1),
        action_dim=14, state_dim=14, prompt_length=24, flow_steps=8,
        action_patch=5, aux_positions=2,
    )  # fmt: skip


def small_pi05() -> ModelConfig:
    """``small`` as pi0.5: its state is words of the prompt."""
    sizes = small()
    prefix = replace(sizes.prefix, vocab=512)
    return replace(sizes, architecture="pi05", prefix=prefix, prompt_length=64)


def tiny() -> ModelConfig:
    """Smallest network with every part of pi0 and four experts, for tests."""
    return ModelConfig(
        vision=VisionConfig(image_size=(28, 28), width=16, depth=2, heads=2, mlp=24),
        prefix=PrefixConfig(width=32, depth=2, mlp=48, heads=4, head_dim=8, vocab=64),
        expert=ExpertConfig(width=24, mlp=32),
        moe=MoEConfig("adamoe", 4, 1),
        horizon=6, action_dim=8, state_dim=8, prompt_length=10, flow_steps=10,
    )  # fmt: skip


PRESETS: dict[str, Callable[[], ModelConfig]] = {
    "pi0": pi0,
    "adamoe_pi0": adamoe_pi0,
    "pi05": pi05,
    "adamoe_pi05": adamoe_pi05,
    "small": small,
    "small_pi05": small_pi05,
    "tiny": tiny,
}


def preset(name: str) -> ModelConfig:
    """The preset of this name.

    Raises:
        ContractError: there is none.
    """
    if name not in PRESETS:
        raise ContractError(
            f"model preset: expected {', '.join(PRESETS)}, got {name!r}; choose one of them"
        )
    return PRESETS[name]()
