#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a CUDA graph would capture, looked at without a GPU.

The captured program is run on tensors without memory: anything that would wait for the device
(reading a number, a shape that depends on data) is an error there, and every operator that touches
a tensor of the host is taken down, since a graph can hold neither. With a CUDA build of torch the
tensors say that they are CUDA's, so that torch's CUDA-only checks are run, too, and layers are given
to torch's compiler, own kernels included; without one they are of the device ``meta``.

    python benchmarks/trace_graphs.py      # writes benchmarks/results/graphs_torch<version>.json
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from common import RESULTS, machine, write
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from adamoe_ros.model.conditioning import ChunkGuidance, FrozenRows, SamplingOptions
from adamoe_ros.model.config import PRESETS, ModelConfig, adamoe_pi0
from adamoe_ros.model.policy_model import AdaMoEPolicy
from adamoe_ros.policy.engines.flow_program import FlowProgram
from adamoe_ros.policy.engines.prefix_program import PrefixProgram
from adamoe_ros.policy.engines.shapes import Shape
from adamoe_ros.policy.engines.transformer_block import BlockRunner, run_block
from adamoe_ros.policy.engines.weight_forms import MixtureForm, WeightForms

CUDA = torch.version.cuda is not None
# no kernel: looks at a tensor, or makes another view of it
_VIEWS = ("view", "slice", "select", "unsqueeze", "squeeze", "expand", "transpose", "permute", "chunk",
          "split", "unbind", "unflatten", "flatten", "alias", "detach", "device", "mT", "numpy_T",
          "t.", "new_empty", "empty", "reshape")  # fmt: skip


class Operators(TorchDispatchMode):
    """Counts operators, and notes those that a graph on ``kind`` could not hold."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.on_host: Counter[str] = Counter()
        self._kind = kind

    def __torch_dispatch__(self, run: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = run(*args, **(kwargs or {}))
        self.counts[str(run)] += 1
        tensors = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, Tensor)]
        # a number of the host as a tensor without dimensions is an argument of the kernel
        if any(t.device.type != self._kind and t.dim() for t in tensors):
            self.on_host[str(run)] += 1
        return out

    def launching(self) -> int:
        """Operators that are at least one kernel."""
        return sum(
            n for name, n in self.counts.items() if not name.split(".", 1)[1].startswith(_VIEWS)
        )


def without_memory() -> tuple[AbstractContextManager[Any], torch.device]:
    """Where tensors have no memory, and their device."""
    if not CUDA:
        return nullcontext(), torch.device("meta")
    from torch._subclasses.fake_tensor import FakeTensorMode

    return FakeTensorMode(), torch.device("cuda", 0)


def bare_network(config: ModelConfig, dtype: torch.dtype, device: torch.device) -> AdaMoEPolicy:
    """Parameters without values."""
    with torch.device("meta"):
        network = AdaMoEPolicy(config)
    for name, parameter in list(network.named_parameters()):
        module, _, leaf = name.rpartition(".")
        value = torch.empty(parameter.shape, dtype=dtype, device=device)
        network.get_submodule(module).register_parameter(
            leaf, torch.nn.Parameter(value, requires_grad=False)
        )
    return network.eval()


def traced(
    config: ModelConfig, form: MixtureForm, dtype: torch.dtype, run: BlockRunner = run_block
) -> dict[str, Any]:
    """Operators of the three graphs of one shape (all views, longest prompt, one observation).

    Raises:
        RuntimeError: something waits for the device.
    """
    place, device = without_memory()
    with place, torch.inference_mode():
        network = bare_network(config, dtype, device)
        shape, forms = Shape(1, config.num_views, config.prompt_length), WeightForms(mixture=form)
        prefix = PrefixProgram(network, forms, shape, run)
        flow = FlowProgram(network, forms, 1, run)
        buffers, given = prefix.buffers(shape, device), _given(config, shape, device)
        flow.schedule(config.flow_steps)
        noise, state = given.pop("noise"), given["state"]
        rows = torch.zeros(noise.shape[:2], dtype=torch.bool, device=device)
        guidance = ChunkGuidance(noise, noise[..., :1], torch.ones((), device=device))  # type: ignore[arg-type]
        conditioned = SamplingOptions(frozen=FrozenRows(noise, rows), guidance=guidance)
        found = {}
        operators = Operators(device.type)
        # torch's compiler does not work below such a mode
        watch = operators if run is run_block else nullcontext()
        with watch:
            stage = flow.begin(prefix(**given, buffers=buffers), state, buffers)
        found["prefix"] = operators.launching()
        for name, options in (("flow", SamplingOptions()), ("conditioned flow", conditioned)):
            operators.counts.clear()
            with watch:
                flow.run(stage, noise, options, [])
            found[name] = operators.launching()
    return {"operators": found, "on_host": dict(operators.on_host)}


def _given(config: ModelConfig, shape: Shape, device: torch.device) -> dict[str, Any]:
    batch, views = shape.batch, shape.views
    whole: dict[str, Any] = {"dtype": torch.int64, "device": device}
    return {
        "pixels": torch.zeros(batch, views, 3, *config.vision.image_size, device=device),
        "slots": torch.zeros(batch, views, **whole),
        "token_ids": torch.zeros(batch, shape.prompt, **whole),
        "valid": torch.ones(batch, shape.prefix_tokens(config), dtype=torch.bool, device=device),
        "state": torch.zeros(batch, config.state_dim, device=device),
        "noise": torch.zeros(batch, config.horizon, config.action_dim, device=device),
    }


def compiled_layers(config: ModelConfig, form: MixtureForm, dtype: torch.dtype) -> int:
    """How many graphs torch's compiler makes of the layers; one break in a graph is an error."""
    from torch._dynamo.testing import CompileCounter
    from torch.utils import _triton

    counter = CompileCounter()
    kept = _triton.has_triton
    setattr(_triton, "has_triton", lambda *_: True)  # noqa: B010  it asks for a device
    try:
        torch._dynamo.reset()
        runner = torch.compile(run_block, dynamic=False, fullgraph=True, backend=counter)
        with torch._dynamo.config.patch(recompile_limit=256):
            traced(config, form, dtype, runner)
    finally:
        _triton.has_triton = kept
        torch._dynamo.reset()
    return int(counter.frame_count)


def main() -> int:
    """All policies in all forms; 1: something of the host is in a graph."""
    argparse.ArgumentParser(description=__doc__.split("\n\n")[0]).parse_args()
    rows: list[dict[str, Any]] = []
    for name, config in PRESETS.items():
        for form in ("wide", "grouped") if config().moe.variant != "dense" else ("wide",):
            row = {"policy": name, "form": form, **traced(config(), form, torch.bfloat16)}  # type: ignore[arg-type]
            print(*row.values())
            rows.append(row)
    layers = {}
    for form in ("wide", "grouped", "triton") if CUDA else ("wide", "grouped"):
        layers[form] = compiled_layers(adamoe_pi0(), form, torch.bfloat16)  # type: ignore[arg-type]
        print(f"graphs of torch's compiler, {form}: {layers[form]}")
    tensors = "CUDA tensors without memory" if CUDA else "meta tensors"
    what = f"the captured program on {tensors}; no GPU at hand: nothing was run"
    found = {"what": what, "machine": machine(), "programs": rows, "compiled_layer_graphs": layers}
    version = ".".join(torch.__version__.split(".")[:2])
    write(RESULTS / f"graphs_torch{version}.json", found)
    return int(any(row["on_host"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
