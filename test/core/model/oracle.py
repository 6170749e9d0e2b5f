# SPDX-License-Identifier: Apache-2.0
"""transformers' native PI0 with our weights, and a plain AdaMoE layer written for reading.

The oracle shares no code with the package: experts are looped over token by token.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PI0Config, PI0ForConditionalGeneration

from adamoe_ros.model.config import ModelConfig, MoEConfig
from adamoe_ros.model.policy_model import AdaMoEPolicy


class PlainMoE(nn.Module):
    """AdaMoE feed-forward layer, one token at a time."""

    def __init__(self, weights: dict[str, Tensor], moe: MoEConfig) -> None:
        super().__init__()
        self.moe = moe
        names = {name: nn.Parameter(value.clone()) for name, value in weights.items()}
        self.w = nn.ParameterDict({name.replace(".", "|"): p for name, p in names.items()})

    def _ffn(self, x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
        return down @ (nn.functional.gelu(gate @ x, approximate="tanh") * (up @ x))

    def _token(self, x: Tensor) -> Tensor:
        w = {name.replace("|", "."): value for name, value in self.w.items()}
        p = (w["router.weight"] @ x).softmax(0)
        if self.moe.variant == "adamoe":
            scale = p + w["scale_adapter.weight"] @ x
        elif self.moe.variant == "csmoe":
            scale = (w["scale_adapter.weight"] @ torch.cat([x, p])).softmax(0)
        else:
            scale = p
        routed = torch.zeros_like(x)
        for e in p.topk(self.moe.top_k).indices.tolist():
            expert = (w[f"experts.{part}"][e] for part in ("gate", "up", "down"))
            routed = routed + scale[e] * self._ffn(x, *expert)
        shared = self._ffn(x, *(w[f"shared.{part}.weight"] for part in ("gate", "up", "down")))
        return 0.5 * shared + 0.5 * routed

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self._token(row) for row in x.flatten(0, 1)]).view_as(x)


def build(model: AdaMoEPolicy) -> PI0ForConditionalGeneration:
    """The oracle with the weights of ``model``; its parameters are copies."""
    config = model.config
    oracle = PI0ForConditionalGeneration._from_config(_config(config), attn_implementation="eager")
    ours = model.state_dict()
    if config.moe.variant != "dense":
        for i, layer in enumerate(oracle.model.dit.layers):
            start = f"expert.layers.{i}.ffn."
            layer.mlp = PlainMoE(
                {k.removeprefix(start): v for k, v in ours.items() if k.startswith(start)},
                config.moe,
            )
    with torch.no_grad():
        for theirs, parameter in oracle.named_parameters():
            name = our_name(theirs)
            if name is not None:
                parameter.copy_(ours[name].reshape(parameter.shape))
    return oracle.eval()


def our_name(theirs: str) -> str | None:
    """Our parameter of the same meaning; None for the expert's unused token embedding."""
    if theirs == "model.dit.embed_tokens.weight":
        return None
    name = theirs
    for old, new in _RENAMES:
        name = name.replace(old, new)
    return name


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
    ("layer_norm1.", "norm1."),
    ("layer_norm2.", "norm2."),
    ("self_attn.out_proj.", "attn.out."),
    ("self_attn.", "attn."),
    ("q_proj.", "q."),
    ("k_proj.", "k."),
    ("v_proj.", "v."),
    ("attn.o_proj.", "attn.o."),
    ("post_attention_layernorm.", "ffn_norm."),
    ("input_layernorm.", "attn_norm."),
    ("mlp.w.", "ffn."),
    ("mlp.gate_proj.", "ffn.gate."),
    ("mlp.up_proj.", "ffn.up."),
    ("mlp.down_proj.", "ffn.down."),
    ("|", "."),
)


def _config(config: ModelConfig) -> PI0Config:
    heads = {
        "model_type": "gemma",
        "num_hidden_layers": config.prefix.depth,
        "num_attention_heads": config.prefix.heads,
        "num_key_value_heads": config.prefix.kv_heads,
        "head_dim": config.prefix.head_dim,
        "vocab_size": config.prefix.vocab,
    }
    vision, prefix, expert = config.vision, config.prefix, config.expert
    text = {**heads, "hidden_size": prefix.width, "intermediate_size": prefix.mlp}
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
    return PI0Config(
        vlm_config={
            "model_type": "paligemma",
            "text_config": text,
            "vision_config": images,
            "projection_dim": prefix.width,
            "image_token_id": prefix.vocab,
        },
        dit_config={**heads, "hidden_size": expert.width, "intermediate_size": expert.mlp},
        chunk_size=config.horizon,
        max_state_dim=config.state_dim,
        max_action_dim=config.action_dim,
    )


def arguments(model: AdaMoEPolicy, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our inputs as PI0's: image ids of the present cameras, then the prompt, right-padded."""
    config, rows = model.config, []
    for cameras, ids, valid in zip(
        inputs["image_mask"], inputs["token_ids"], inputs["token_mask"], strict=True
    ):
        images = torch.full((config.vision.tokens * int(cameras.sum()),), config.prefix.vocab)
        rows.append(torch.cat([images, ids[valid]]))
    longest = max(map(len, rows))
    return {
        "state": inputs["state"],
        "pixel_values": inputs["images"],
        "pixel_attention_mask": inputs["image_mask"],
        "input_ids": torch.stack([nn.functional.pad(r, (0, longest - len(r))) for r in rows]),
        "attention_mask": torch.stack([torch.arange(longest) < len(r) for r in rows]).long(),
    }
