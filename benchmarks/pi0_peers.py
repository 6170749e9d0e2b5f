# SPDX-License-Identifier: Apache-2.0
"""pi0 and pi0.5 of other codes with a network's weights: who the engines are compared with.

transformers has pi0 only, LeRobot and openpi have both.

Stages are separated as each code's own ``sample_actions`` runs them; nothing of it is changed, except
that the AdaMoE layers, which none has, are put in as the authors compute them: every expert for every
token. LeRobot's and openpi's are the same class in two versions, cut to the network's depth; a
precision that it insists on (LeRobot keeps the picture encoder and the norms in float32) is kept,
since that is what its users run.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.evaluation.bench.timing import Work
from adamoe_ros.evaluation.bench.workload import Problem
from adamoe_ros.model.config import ModelConfig, pi0, pi05
from adamoe_ros.model.gemma import GemmaLayer
from adamoe_ros.model.moe import MoEFeedForward
from adamoe_ros.model.policy_model import AdaMoEPolicy
from adamoe_ros.policy.checkpoint_formats import transformers_pi0
from adamoe_ros.policy.checkpoint_formats.openpi_torch import EMBED, canonical_names, pi0_names
from adamoe_ros.policy.resizing import host_pixels

PEERS = ("transformers", "lerobot", "openpi")


class Peer(Protocol):
    """Another implementation of pi0, stage by stage; what is ``given`` and ``seen`` is its own."""

    config: ModelConfig

    def arguments(
        self, images: Tensor, image_mask: Tensor, ids: Tensor, valid: Tensor, state: Tensor
    ) -> Any:
        """One observation as it wants it; pictures, prompt and state as ``AdaMoEPolicy`` has them."""

    def vision(self, given: Any) -> Any:
        """Image and prompt embeddings."""

    def prefix(self, given: Any, embedded: Any) -> Any:
        """What a flow step sees of the prefix."""

    def step(self, given: Any, seen: Any, x: Tensor, time: float) -> Tensor:
        """Velocity of one flow step; ``seen`` is as before."""

    def sample(self, given: Any, noise: Tensor, steps: int) -> Tensor:
        """A whole inference."""


def make_peer(name: str, network: AdaMoEPolicy) -> Peer:
    """One of ``PEERS``.

    Raises:
        ContractError: it cannot be imported, or the network has no counterpart there.
    """
    return TransformersPeer(network) if name == "transformers" else OpenpiPeer(network, name)


def peer_stages(peer: Peer, problem: Problem, device: torch.device) -> dict[str, Work]:
    """Stages of another implementation, fed with pixels that are on the device already."""
    inputs = problem.inputs
    frames = [[f for f in row if f is not None] for row in inputs.frames]
    pixels = host_pixels(frames, peer.config.vision.image_size).to(device)
    mask = torch.ones(pixels.shape[:2], dtype=torch.bool, device=device)
    given = peer.arguments(
        pixels,
        mask,
        torch.from_numpy(inputs.token_ids).to(device),
        torch.from_numpy(inputs.token_mask).to(device),
        torch.from_numpy(inputs.state).to(device),
    )
    seen, noise = peer.prefix(given, peer.vision(given)), problem.noise.to(device)
    return {
        "vision": lambda: peer.vision(given),
        "encode": lambda: peer.prefix(given, peer.vision(given)),
        "step": lambda: peer.step(given, seen, noise, 0.9),
        "whole": lambda: peer.sample(given, noise, problem.steps),
    }


class AllExperts(nn.Module):
    """The authors' form of the layer: all experts for all tokens, then the chosen are gathered."""

    def __init__(self, layer: MoEFeedForward) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        self.layer.static_shapes = True
        try:
            out: Tensor = self.layer(x)
        finally:
            self.layer.static_shapes = False
        return out


class TransformersPeer:
    """PI0 of transformers.

    Args:
        network: dense or AdaMoE with a patch embedding; its tensors are shared, not copied.
        attention: implementation by transformers' name; ``sdpa`` is its default.

    Raises:
        ContractError: transformers has no PI0, or the network has no counterpart there.
    """

    def __init__(self, network: AdaMoEPolicy, attention: str = "sdpa") -> None:
        self.config = network.config
        if network.config.pi05 or not has_pi0_form(network.config):
            got, do = "pi0.5" if network.config.pi05 else "a small policy", "leave it out"
            raise ContractError(problem("--peers transformers", "a model of pi0's form", got, do))
        try:
            from transformers import PI0Config, PI0ForConditionalGeneration
        except ImportError as error:
            do = "install transformers >= 5.4, or leave it out"
            raise ContractError(
                problem("--peers transformers", "transformers with PI0", str(error), do)
            ) from error
        settings = PI0Config(**transformers_pi0.settings_of(network.config))
        with torch.device("meta"):
            self.model: Any = PI0ForConditionalGeneration._from_config(
                settings, attn_implementation=attention, dtype=network.dtype
            )
        if network.config.moe.variant != "dense":
            put_mixtures(self.model.model.dit.layers, network)
        share_tensors(self.model, network)
        self.model.eval()

    def arguments(
        self, images: Tensor, image_mask: Tensor, ids: Tensor, valid: Tensor, state: Tensor
    ) -> dict[str, Tensor]:
        """One observation as it wants it: image ids of the present cameras, then the prompt."""
        tokens = self.config.vision.tokens * int(image_mask[0].sum())
        pictures = torch.full((tokens,), self.config.prefix.vocab, device=ids.device)
        row = torch.cat([pictures, ids[0][valid[0]]]).unsqueeze(0)
        dtype = self.model.dtype
        return {
            "state": state.to(dtype),
            "pixel_values": images.to(dtype),
            "pixel_attention_mask": image_mask,
            "input_ids": row,
            "attention_mask": torch.ones_like(row),
        }

    def vision(self, given: dict[str, Tensor]) -> Tensor:
        """Image and prompt embeddings."""
        out: Tensor = self.model.model.embed_prefix(
            given["input_ids"], given["pixel_values"], given["pixel_attention_mask"]
        )
        return out

    def prefix(self, given: dict[str, Tensor], embedded: Tensor) -> Any:
        """Its key and value cache."""
        out = self.model.model.vlm(
            inputs_embeds=embedded,
            attention_mask=given["attention_mask"],
            position_ids=given["attention_mask"].cumsum(-1) - 1,
            token_type_ids=torch.zeros_like(embedded)[:, :, 0],
            use_cache=True,
        )
        return out.past_key_values

    def step(self, given: dict[str, Tensor], seen: Any, x: Tensor, time: float) -> Tensor:
        """Velocity of one flow step; the cache is cut back as it was."""
        length = seen.get_seq_length()
        out = self.model(
            state=given["state"],
            noise=x.to(self.model.dtype),
            timestep=torch.full((len(x),), time, device=x.device),
            pixel_attention_mask=given["pixel_attention_mask"],
            attention_mask=given["attention_mask"],
            past_key_values=seen,
        )
        seen.crop(length - seen.get_seq_length())
        velocity: Tensor = out.logits
        return velocity

    def sample(self, given: dict[str, Tensor], noise: Tensor, steps: int) -> Tensor:
        """A whole inference, by its own loop."""
        out: Tensor = self.model.sample_actions(
            **given, noise=noise.to(self.model.dtype), num_steps=steps
        )
        return out


class OpenpiPeer:
    """pi0 or pi0.5 of LeRobot or openpi.

    Args:
        network: of pi0's widths, any depth; tensors are shared where the types agree.
        code: ``lerobot`` or ``openpi``.

    Raises:
        ContractError: the package cannot be imported, or the network has no counterpart there.
    """

    def __init__(self, network: AdaMoEPolicy, code: str) -> None:
        self.config, self._code = network.config, code
        _check_widths(network.config, code)
        build = {"lerobot": _lerobot, "openpi": _openpi}[code]
        try:
            with torch.device("meta"):
                self.model, self._masks, self._four = build(network)
        except (ImportError, SyntaxError, AttributeError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            do = f"install {code} with what it needs, or leave it out"
            raise ContractError(
                problem(f"--peers {code}", f"{code}'s PyTorch pi0", reason, do)
            ) from error
        joint = self.model.paligemma_with_expert
        encoder = _encoder(joint.paligemma)
        encoder.layers = encoder.layers[: network.config.vision.depth]
        if network.config.moe.variant != "dense":
            put_mixtures(joint.gemma_expert.model.layers, network)
        share_tensors(self.model, network)
        self.model.eval()
        for part in (joint.paligemma.language_model, joint.gemma_expert.model):
            part.config._attn_implementation = "eager"  # as its sample_actions sets it

    def arguments(
        self, images: Tensor, image_mask: Tensor, ids: Tensor, valid: Tensor, state: Tensor
    ) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor, Tensor]:
        """One observation as it wants it: pictures one by one, the prompt with its padding."""
        return list(images.unbind(1)), list(image_mask.unbind(1)), ids, valid, state

    def vision(self, given: tuple[Any, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """Image and prompt embeddings, and their masks."""
        out: tuple[Tensor, Tensor, Tensor] = self.model.embed_prefix(*given[:4])
        return out

    def prefix(
        self, given: tuple[Any, ...], embedded: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[Any, Tensor]:
        """Its key and value cache, and the mask of the prefix."""
        tokens, valid, blocks = embedded
        joint = self.model.paligemma_with_expert
        _, cache = joint.forward(
            attention_mask=self._four(self._masks(valid, blocks)),
            position_ids=torch.cumsum(valid, dim=1) - 1,
            past_key_values=None,
            inputs_embeds=[tokens, None],
            use_cache=True,
        )
        return cache, valid

    def step(
        self, given: tuple[Any, ...], seen: tuple[Any, Tensor], x: Tensor, time: float
    ) -> Tensor:
        """Velocity of one flow step."""
        when = torch.full((len(x),), time, device=x.device)
        state = () if self._code == "lerobot" and self.config.pi05 else (given[4],)
        out: Tensor = self.model.denoise_step(*state, seen[1], seen[0], x, when)
        return out

    def sample(self, given: tuple[Any, ...], noise: Tensor, steps: int) -> Tensor:
        """A whole inference: Euler steps, as its own loop."""
        seen, x = self.prefix(given, self.vision(given)), noise
        for step in range(steps):
            x = x - self.step(given, seen, x, 1.0 - step / steps) / steps
        return x


Built = tuple[Any, Callable[..., Tensor], Callable[..., Tensor]]


def _lerobot(network: AdaMoEPolicy) -> Built:
    config = network.config
    name, model_class = ("pi05", "PI05Pytorch") if config.pi05 else ("pi0", "PI0Pytorch")
    module = importlib.import_module(f"lerobot.policies.{name}.modeling_{name}")
    make = module.PI05Config if config.pi05 else module.PI0Config
    settings = make(
        dtype=_dtype(network), device="cpu", chunk_size=config.horizon,
        n_action_steps=config.horizon, max_state_dim=config.state_dim,
        max_action_dim=config.action_dim,
    )  # fmt: skip
    with _sizes(module, "get_gemma_config", config):
        model = getattr(module, model_class)(settings)
    return model, module.make_att_2d_masks, module.prepare_attention_masks_4d


def _openpi(network: AdaMoEPolicy) -> Built:
    module = importlib.import_module("openpi.models_pytorch.pi0_pytorch")
    config = network.config
    settings = SimpleNamespace(
        pi05=config.pi05, paligemma_variant="gemma_2b", action_expert_variant="gemma_300m",
        dtype=_dtype(network), action_dim=config.action_dim, action_horizon=config.horizon,
        pytorch_compile_mode=None,
    )  # fmt: skip
    with _sizes(importlib.import_module("openpi.models.gemma"), "get_config", config):
        model = module.PI0Pytorch(settings)
    return model, module.make_att_2d_masks, model._prepare_attention_masks_4d


def _dtype(network: AdaMoEPolicy) -> str:
    return str(network.dtype).removeprefix("torch.")


@contextmanager
def _sizes(module: Any, name: str, config: ModelConfig) -> Iterator[None]:
    """Let the module's table of sizes tell the network's depth."""
    table = getattr(module, name)

    def cut(variant: str) -> Any:
        sizes = table(variant)
        return SimpleNamespace(**{**vars(sizes), "depth": config.prefix.depth})

    setattr(module, name, cut)
    try:
        yield
    finally:
        setattr(module, name, table)


def _check_widths(config: ModelConfig, code: str) -> None:
    """Refuse what that code has no sizes for: all but depth and vocabulary are pi0's."""
    known = pi05() if config.pi05 else pi0()
    same = {"prefix.depth": 18, "prefix.vocab": 1, "vision.depth": 27}
    wide = config.changed({**same, "moe.variant": "dense", "moe.num_experts": 0, "moe.top_k": 0})
    if wide != known.changed({**same, "horizon": config.horizon}):
        raise ContractError(
            problem(
                f"--peers {code}", "a model of pi0's or pi0.5's widths", "another", "leave it out"
            )
        )


def has_pi0_form(config: ModelConfig) -> bool:
    """Whether the other codes have a network of this form, whatever its widths."""
    return config.vision.stem == "patch" and config.action_patch == 1 and not config.aux_positions


def put_mixtures(layers: Any, network: AdaMoEPolicy) -> None:
    """Put the network's mixture layers into another code's action expert."""
    for theirs, layer in zip(layers, network.expert.layers, strict=True):
        assert isinstance(layer, GemmaLayer) and isinstance(layer.ffn, MoEFeedForward)
        theirs.mlp = AllExperts(layer.ffn)


def share_tensors(model: Any, network: AdaMoEPolicy) -> None:
    """Put the network's tensors where another code's belong, by the converter's mapping."""
    ours, names = dict(network.named_parameters()), pi0_names(network.config)
    spelled = canonical_names(name for name, _ in model.named_parameters(remove_duplicate=False))
    device = network.embed.weight.device
    for name, parameter in list(model.named_parameters(remove_duplicate=False)):
        if ".mlp.layer." in name:
            continue
        known = spelled[name]
        if known not in names:  # a head or embedding that pi0 never reads
            value = torch.zeros(1, 1, device=device, dtype=parameter.dtype)
        else:
            value = ours[names[known]].detach().to(parameter.dtype)
            if known != EMBED:  # of which a network may have fewer rows
                value = value.reshape(parameter.shape)
        module, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(module), leaf, nn.Parameter(value, requires_grad=False))
    rebuild_buffers(model, device)


def rebuild_buffers(model: Any, device: torch.device) -> None:
    """What is computed at construction, and is not a weight, was made without memory."""
    for module in model.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            if buffer.device.type != "meta":
                continue
            if name == "position_ids":
                value = torch.arange(buffer.shape[-1], device=device).expand(buffer.shape)
            elif name in ("inv_freq", "original_inv_freq"):
                width = 2 * buffer.shape[0]
                exponents = torch.arange(0, width, 2, device=device, dtype=torch.float32)
                value = 10_000.0 ** (-exponents / width)
            elif name == "sinusoid_freq":
                value = module.compute_freqs(module.config).to(device)
            elif name == "embed_scale":
                value = torch.tensor(module.scalar_embed_scale, device=device)
            else:
                raise ValueError(f"transformers has a buffer {name} that is not known here")
            module.register_buffer(name, value, persistent=False)


def _encoder(paligemma: Any) -> Any:
    tower = paligemma.model.vision_tower
    return getattr(tower, "vision_model", tower).encoder
