# SPDX-License-Identifier: Apache-2.0
"""LeRobot's and openpi's PyTorch pi0 with a network's weights, where those packages are installed.

Both are the same class in two versions. It is built without memory, cut to the network's depth and
given the network's tensors; a precision that it insists on (LeRobot keeps the picture encoder and
the norms in float32) is kept, since that is what its users run. Stages are separated as its own
``sample_actions`` runs them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.evaluation.bench.peer import AllExperts, rebuild_buffers
from adamoe_ros.model.config import ModelConfig, pi0
from adamoe_ros.model.gemma import GemmaLayer
from adamoe_ros.model.moe import MoEFeedForward
from adamoe_ros.model.policy_model import AdaMoEPolicy
from adamoe_ros.policy.checkpoint_formats.rules import expanded
from adamoe_ros.policy.checkpoint_formats.torch_names import (
    EMBED,
    EXPERT_HEAD,
    LM_HEAD,
    canonical,
    torch_rules,
)


class OpenpiPeer:
    """pi0 of LeRobot or openpi.

    Args:
        network: of pi0's widths, any depth; tensors are shared where the types agree.
        code: ``lerobot`` or ``openpi``.

    Raises:
        ContractError: the package cannot be imported, or the network has no counterpart there.
    """

    def __init__(self, network: AdaMoEPolicy, code: str) -> None:
        self.config = network.config
        _check(network.config, code)
        build = {"lerobot": _lerobot, "openpi": _openpi}[code]
        try:
            with torch.device("meta"):
                self.model, self._masks, self._four = build(network)
        except (ImportError, SyntaxError, AttributeError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            do = f"install {code} with what it needs, or leave it out"
            raise ContractError(
                problem(f"bench --peers {code}", f"{code}'s PyTorch pi0", reason, do)
            ) from error
        _share(self.model, network)
        self.model.eval()
        joint = self.model.paligemma_with_expert
        for part in (joint.paligemma.language_model, joint.gemma_expert.model):
            part.config._attn_implementation = "eager"  # as its sample_actions sets it

    def arguments(
        self, images: Tensor, image_mask: Tensor, ids: Tensor, said: Tensor, state: Tensor
    ) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor, Tensor]:
        """One observation as it wants it: pictures one by one, the prompt with its padding."""
        return list(images.unbind(1)), list(image_mask.unbind(1)), ids, said, state

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
        out: Tensor = self.model.denoise_step(given[4], seen[1], seen[0], x, when)
        return out

    def sample(self, given: tuple[Any, ...], noise: Tensor, steps: int) -> Tensor:
        """A whole inference: Euler steps, as its own loop."""
        seen, x = self.prefix(given, self.vision(given)), noise
        for step in range(steps):
            x = x - self.step(given, seen, x, 1.0 - step / steps) / steps
        return x


Built = tuple[Any, Callable[..., Tensor], Callable[..., Tensor]]


def _lerobot(network: AdaMoEPolicy) -> Built:
    module = importlib.import_module("lerobot.policies.pi0.modeling_pi0")
    config = network.config
    settings = module.PI0Config(
        dtype=_dtype(network), device="cpu", chunk_size=config.horizon,
        n_action_steps=config.horizon, max_state_dim=config.state_dim,
        max_action_dim=config.action_dim,
    )  # fmt: skip
    with _sizes(module, "get_gemma_config", config):
        model = module.PI0Pytorch(settings)
    return model, module.make_att_2d_masks, module.prepare_attention_masks_4d


def _openpi(network: AdaMoEPolicy) -> Built:
    module = importlib.import_module("openpi.models_pytorch.pi0_pytorch")
    config = network.config
    settings = SimpleNamespace(
        pi05=False, paligemma_variant="gemma_2b", action_expert_variant="gemma_300m",
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


def _check(config: ModelConfig, code: str) -> None:
    """Refuse what that code has no sizes for: all but depth and vocabulary are pi0's."""
    known = pi0()
    same = {"prefix.depth": 18, "prefix.vocab": 1, "vision.depth": 27}
    wide = config.changed({**same, "moe.variant": "dense", "moe.num_experts": 0, "moe.top_k": 0})
    if wide != known.changed({**same, "horizon": config.horizon}):
        raise ContractError(
            problem(f"bench --peers {code}", "a model of pi0's widths", "another", "leave it out")
        )


def weight_names(config: ModelConfig) -> dict[str, str]:
    """Canonical name of every tensor of that code -> ours."""
    sizes = {"layers": config.prefix.depth, "vision_layers": config.vision.depth}
    return {rule.source: rule.parts[0].target for rule in expanded(torch_rules(), sizes)}


def _share(model: Any, network: AdaMoEPolicy) -> None:
    """Cut to the network's depth and put the network's tensors where the code's belong."""
    config, device = network.config, network.embed.weight.device
    ours = dict(network.named_parameters())
    joint = model.paligemma_with_expert
    encoder = _encoder(joint.paligemma)
    encoder.layers = encoder.layers[: config.vision.depth]
    if config.moe.variant != "dense":
        for theirs, layer in zip(
            joint.gemma_expert.model.layers, network.expert.layers, strict=True
        ):
            assert isinstance(layer, GemmaLayer) and isinstance(layer.ffn, MoEFeedForward)
            theirs.mlp = AllExperts(layer.ffn)
    names = weight_names(config)
    for name, parameter in list(model.named_parameters(remove_duplicate=False)):
        if ".mlp.layer." in name:
            continue
        known = canonical(name)
        if known in (LM_HEAD, EXPERT_HEAD) and known not in names:
            value = torch.zeros(1, 1, device=device, dtype=parameter.dtype)  # never read
        else:
            value = ours[names[known]].detach().to(parameter.dtype)
            if known != EMBED:  # of which a network may have fewer rows
                value = value.reshape(parameter.shape)
        module, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(module), leaf, nn.Parameter(value, requires_grad=False))
    rebuild_buffers(model, device)


def _encoder(paligemma: Any) -> Any:
    tower = paligemma.model.vision_tower
    return getattr(tower, "vision_model", tower).encoder
