# SPDX-License-Identifier: Apache-2.0
"""transformers' native PI0 with a network's weights: who the engine is compared with.

Stages are separated as its own ``sample_actions`` runs them; nothing of it is changed, except that
the AdaMoE layers, which it does not have, are put in as the authors compute them: every expert for
every token.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.model.config import ModelConfig
from adamoe_ros.model.gemma import GemmaLayer
from adamoe_ros.model.moe import MoEFeedForward
from adamoe_ros.model.policy_model import AdaMoEPolicy


class Peer(Protocol):
    """Another implementation of pi0, stage by stage; what is ``given`` and ``seen`` is its own."""

    config: ModelConfig

    def arguments(
        self, images: Tensor, image_mask: Tensor, ids: Tensor, said: Tensor, state: Tensor
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
        _check(network.config)
        try:
            from transformers import PI0Config, PI0ForConditionalGeneration
        except ImportError as error:
            do = "install transformers >= 5.4, or leave it out"
            raise ContractError(
                problem("bench --peers transformers", "transformers with PI0", str(error), do)
            ) from error
        settings = PI0Config(**_settings(network.config))
        with torch.device("meta"):
            self.model: Any = PI0ForConditionalGeneration._from_config(
                settings, attn_implementation=attention, dtype=network.dtype
            )
        _share(self.model, network)
        self.model.eval()

    def arguments(
        self, images: Tensor, image_mask: Tensor, ids: Tensor, said: Tensor, state: Tensor
    ) -> dict[str, Tensor]:
        """One observation as it wants it: image ids of the present cameras, then the prompt."""
        tokens = self.config.vision.tokens * int(image_mask[0].sum())
        pictures = torch.full((tokens,), self.config.prefix.vocab, device=ids.device)
        row = torch.cat([pictures, ids[0][said[0]]]).unsqueeze(0)
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


def _check(config: ModelConfig) -> None:
    if config.vision.stem != "patch" or config.action_patch != 1 or config.aux_positions:
        raise ContractError(
            problem("bench --peers", "a model of pi0's form", "a small policy", "choose none")
        )


_RENAMES = (
    ("embed_action_time.", ""),
    ("model.vlm.language_model.embed_tokens.", "embed."),
    ("model.vlm.language_model.", "prefix."),
    ("model.vlm.multi_modal_projector.linear.", "vision.head."),
    ("model.vlm.vision_tower.vision_model.", "vision."),
    ("model.vlm.vision_tower.", "vision."),
    ("model.dit.", "expert."),
    ("embeddings.patch_embedding.", "patch_embed."),
    ("embeddings.position_embedding.weight", "pos_embed"),
    ("encoder.layers.", "blocks."),
    ("post_layernorm.", "norm."),
    ("layer_norm", "norm"),
    ("self_attn.out_proj.", "attn.out."),
    ("self_attn.", "attn."),
    ("_proj.weight", ".weight"),
    ("_proj.bias", ".bias"),
    ("post_attention_layernorm.", "ffn_norm."),
    ("input_layernorm.", "attn_norm."),
    ("mlp.gate.", "ffn.gate."),
    ("mlp.up.", "ffn.up."),
    ("mlp.down.", "ffn.down."),
    ("mlp.fc", "mlp.fc"),
)
_KEPT = ("state_proj", "action_in_proj", "action_out_proj")


def _our_name(theirs: str) -> str:
    name = theirs
    for old, new in _RENAMES:
        if old.startswith("_proj") and any(part in name for part in _KEPT):
            continue
        name = name.replace(old, new)
    return name


def _share(model: Any, network: AdaMoEPolicy) -> None:
    """Put the network's tensors where the peer's belong."""
    config, ours = network.config, dict(network.named_parameters())
    if config.moe.variant != "dense":
        for theirs, layer in zip(model.model.dit.layers, network.expert.layers, strict=True):
            assert isinstance(layer, GemmaLayer) and isinstance(layer.ffn, MoEFeedForward)
            theirs.mlp = AllExperts(layer.ffn)
    device = network.embed.weight.device
    for name, parameter in list(model.named_parameters()):
        if ".mlp.layer." in name:
            continue
        if name == "model.dit.embed_tokens.weight":  # it never reads this one
            value = torch.zeros(1, 1, device=device, dtype=network.dtype)
        else:
            value = ours[_our_name(name)].detach().reshape(parameter.shape)
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


def _settings(config: ModelConfig) -> dict[str, Any]:
    vision, prefix, expert = config.vision, config.prefix, config.expert
    heads = {
        "model_type": "gemma",
        "num_hidden_layers": prefix.depth,
        "num_attention_heads": prefix.heads,
        "num_key_value_heads": prefix.kv_heads,
        "head_dim": prefix.head_dim,
        "vocab_size": prefix.vocab,
    }
    images = {
        "model_type": "siglip_vision_model",
        "hidden_size": vision.width,
        "intermediate_size": vision.mlp,
        "num_hidden_layers": vision.depth,
        "num_attention_heads": vision.heads,
        "patch_size": vision.patch,
        "image_size": vision.image_size[0],
        "vision_use_head": False,
    }
    text = {**heads, "hidden_size": prefix.width, "intermediate_size": prefix.mlp}
    return {
        "vlm_config": {
            "model_type": "paligemma",
            "text_config": text,
            "vision_config": images,
            "projection_dim": prefix.width,
            "image_token_id": prefix.vocab,
        },
        "dit_config": {
            **heads,
            "hidden_size": expert.width,
            "intermediate_size": expert.mlp,
        },
        "chunk_size": config.horizon,
        "max_state_dim": config.state_dim,
        "max_action_dim": config.action_dim,
    }
