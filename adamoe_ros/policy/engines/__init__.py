# SPDX-License-Identifier: Apache-2.0
"""Engines by name; a new one is a file here and a line in ``ENGINES``.

eager      the definition: one operation after another, everywhere
packed     CPU: prepacked weights, sparse experts
captured   CUDA: static buffers, captured graphs
auto       packed on a CPU, captured on CUDA

``runtime`` makes one by ``make_engine``. Packed and captured run the same programs:
prefix_program (images by image_encoder, prompt), then flow_program, both of transformer_blocks with
attention, feed_forward and routing. ``weight_forms`` chooses the form of each weight (linears,
feed_forward, triton_moe); captured_shape and cuda_graphs hold a shape's buffers and graphs; shapes
says which shape a batch runs in, memory_budget whether there is room, engine_settings what a user
may choose.
"""

from __future__ import annotations

from collections.abc import Callable

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.model.policy_model import AdaMoEPolicy
from adamoe_ros.policy.engines.captured import CapturedEngine
from adamoe_ros.policy.engines.eager import EagerEngine, Engine
from adamoe_ros.policy.engines.engine_settings import EngineSettings
from adamoe_ros.policy.engines.packed import PackedEngine

__all__ = ["AUTO", "ENGINES", "EngineSettings", "make_engine"]


def _eager(network: AdaMoEPolicy, settings: EngineSettings) -> Engine:
    return EagerEngine(network)


# name -> (device types, maker)
ENGINES: dict[str, tuple[tuple[str, ...], Callable[[AdaMoEPolicy, EngineSettings], Engine]]] = {
    "eager": (("cpu", "cuda"), _eager),
    "packed": (("cpu",), PackedEngine),
    "captured": (("cuda",), CapturedEngine),
}
AUTO = {"cpu": "packed", "cuda": "captured"}


def make_engine(name: str, network: AdaMoEPolicy, settings: EngineSettings | None = None) -> Engine:
    """Build an engine for a network on the network's device.

    Args:
        name: of ``ENGINES``, or ``auto``.
        settings: None: the defaults.

    Raises:
        ContractError: no such engine, not for this device, or the settings do not fit.
    """
    settings = settings or EngineSettings()
    device = network.embed.weight.device.type
    chosen = AUTO.get(device, "eager") if name == "auto" else name
    if chosen not in ENGINES:
        expected = ", ".join(["auto", *ENGINES])
        raise ContractError(problem("engine", expected, repr(name), "choose one of them"))
    devices, make = ENGINES[chosen]
    if device not in devices:
        expected = " or ".join(known for known, (on, _) in ENGINES.items() if device in on)
        raise ContractError(problem(f"engine on {device}", expected, chosen, "choose auto"))
    settings.check(network.config, device)
    return make(network, settings)
