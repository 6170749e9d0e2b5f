# SPDX-License-Identifier: Apache-2.0
"""What an engine is configured with, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from adamoe_ros.contract.errors import ContractError, Problems, problem
from adamoe_ros.model.conditioning import SamplingOptions
from adamoe_ros.model.config import ModelConfig
from adamoe_ros.policy.engines.shapes import Shape
from adamoe_ros.policy.engines.weight_forms import MixtureForm

MixtureChoice = Literal["auto", "sparse", "wide", "grouped", "triton"]

_WIDE_MAX_WORK = 8e6
"""Multiplications of a layer below which, on a CPU, the loop over experts costs more in calls than
computing every expert costs in arithmetic."""

UNMEASURED: MixtureForm = "wide"
"""Exact, graph-safe everywhere, reads the same bytes as the sparse forms."""


def _measured_mixtures() -> dict[tuple[int, int], MixtureForm]:
    """``mixtures.json``: written by ``benchmarks/choose_mixture.py`` from a run on that GPU."""
    rows = json.loads(Path(__file__).with_name("mixtures.json").read_text(encoding="utf-8"))
    found = {}
    for name, row in rows.items():
        major, minor = name.split(".")
        if row["measured"] != "not measured":
            found[int(major), int(minor)] = row["mixture"]
    return found


MIXTURE_BY_ARCHITECTURE = _measured_mixtures()
"""CUDA compute capability -> fastest form of the mixture layer, where that was measured."""


@dataclass(frozen=True)
class EngineSettings:
    """Settings of every engine; an engine ignores what has no meaning for it.

    Attributes:
        mixture: form of the mixture layers; ``auto``: by device and size.
        int8: 8-bit weights in the action expert's feed-forward layers.
        consume: take the network's tensors over instead of copying them; it is useless afterwards.
        batches: numbers of observations that graphs are captured for.
        views: numbers of cameras; empty: all from 1 to the model's.
        prompts: numbers of prompt tokens; empty: the model's maximum and its half.
        steps: flow steps; 0: the checkpoint's.
        compiled: let torch's compiler fuse element-wise kernels before capture (CUDA).
        timing: record device events between the stages.
    """

    mixture: MixtureChoice = "auto"
    int8: bool = False
    consume: bool = True
    batches: tuple[int, ...] = (1,)
    views: tuple[int, ...] = ()
    prompts: tuple[int, ...] = ()
    steps: int = 0
    compiled: bool = True
    timing: bool = True

    def mixture_on_cpu(self, config: ModelConfig) -> MixtureForm:
        """The form for a CPU."""
        if self.mixture != "auto":
            return self.mixture
        work = config.action_tokens * config.expert.width * config.expert.mlp
        return "wide" if work * 3 * (config.moe.num_experts + 1) < _WIDE_MAX_WORK else "sparse"

    def static_mixture(self, device: torch.device, dtype: torch.dtype) -> MixtureForm:
        """The form for captured graphs: by the architecture, and own kernels for 8-bit weights."""
        if self.mixture != "auto":
            return self.mixture
        if device.type != "cuda":
            return UNMEASURED
        if self.int8:
            return "triton"  # any other form would first write the weights out as bfloat16
        fastest = MIXTURE_BY_ARCHITECTURE.get(torch.cuda.get_device_capability(device), UNMEASURED)
        # measured with bfloat16; the grouped product has no graph of anything else
        return UNMEASURED if fastest == "grouped" and dtype != torch.bfloat16 else fastest

    def captured_shapes(self, config: ModelConfig) -> list[Shape]:
        """Every combination that graphs are captured for, smallest first."""
        most = config.prompt_length
        prompts = self.prompts or tuple(sorted({max(1, -(-most // 2)), most}))
        views = self.views or tuple(range(1, config.num_views + 1))
        return sorted(
            Shape(batch, view, prompt)
            for batch in self.batches
            for view in views
            for prompt in prompts
        )

    def check(self, config: ModelConfig, device: str) -> None:
        """Refuse settings that cannot be carried out.

        Raises:
            ContractError: all of them.
        """
        problems = Problems()
        if self.int8 and self.mixture == "grouped":
            problems.add("engine.int8", "wide, triton or sparse", "grouped", "choose another form")
        if device == "cuda" and self.mixture == "sparse":
            do = "use wide, grouped or triton"
            problems.add("engine.mixture", "a form without host synchronisation", "sparse", do)
        if device == "cuda" and self.int8 and self.mixture not in ("auto", "triton"):
            do = "choose triton, which alone reads 8-bit weights as they are"
            problems.add("engine.mixture", "triton with int8", self.mixture, do)
        for name, values, most in (
            ("views", self.views, config.num_views),
            ("prompts", self.prompts, config.prompt_length),
            ("batches", self.batches, 4096),
        ):
            if any(not 1 <= value <= most for value in values):
                problems.add(f"engine.{name}", f"1 to {most}", values, "correct it")
        if not self.batches:
            problems.add("engine.batches", "at least one number", "none", "give 1")
        problems.raise_if_any()

    def check_graphs(self, dtype: torch.dtype, capability: tuple[int, int]) -> None:
        """Refuse what a GPU cannot capture.

        torch's grouped product is one kernel for bfloat16 from compute capability 9.0 on; anywhere
        else it is a loop that waits for the device, which no graph can hold.

        Raises:
            ContractError: the form ``grouped`` on such a device, or of such weights.
        """
        if self.mixture != "grouped" or (dtype == torch.bfloat16 and capability >= (9, 0)):
            return
        got = f"{str(dtype).removeprefix('torch.')} on {capability[0]}.{capability[1]}"
        expected = "bfloat16 and compute capability 9.0 or above for grouped"
        raise ContractError(problem("engine.mixture", expected, got, "choose wide or triton"))


def refuse_gradients(options: SamplingOptions, engine: str) -> None:
    """Refuse guidance that differentiates the network, which packed or captured weights cannot.

    Raises:
        ContractError: the guidance uses the exact Jacobian.
    """
    if options.guidance is not None and options.guidance.jacobian != "identity":
        raise ContractError(
            problem(
                f"engine {engine}",
                "guidance with jacobian identity",
                options.guidance.jacobian,
                "choose engine eager, or jacobian identity",
            )
        )
