# SPDX-License-Identifier: Apache-2.0
"""Runs the mixture kernels in Triton's interpreter; a process of its own, see test_engine_triton.

The interpreter must be chosen before triton is imported. Prints one JSON object per case.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "1"
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "model")]

import engine_cases  # noqa: E402
import torch  # noqa: E402

from adamoe_ros.policy.engines.weight_forms import WeightForms  # noqa: E402


def layer_of(name: str, skew: float):
    """A layer; with ``skew`` its router prefers (or avoids) expert 2 for positive inputs."""
    layer = engine_cases.network(engine_cases.CONFIGS[name]()).expert.layers[0].ffn
    if skew:
        layer.router.weight[2] = 0
        layer.router.weight[2, 0] = skew
    return layer


@torch.inference_mode()
def main() -> None:
    """All cases."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    cases = [(name, rows, 0.0) for name in ("k=1", "k=2", "k=E") for rows in (1, 16, 50)]
    cases += [("k=1", 50, 50.0), ("k=1", 50, -50.0), ("vanilla", 33, 0.0), ("csmoe k=2", 17, 0.0)]
    for name, rows, skew in cases:
        layer = layer_of(name, skew)
        x, residual = torch.rand(rows, 24) + 0.1 * torch.randn(rows, 24), torch.randn(rows, 24)
        x[:, 0].abs_()
        wanted = residual + layer(x.unsqueeze(0))[0]
        gaps = {}
        for kind, int8 in (("float32", False), ("int8", True)):
            forms = WeightForms(mixture="triton", int8=int8)
            found = forms.mixture_of(layer, rows)(x, residual, None)
            gaps[kind] = engine_cases.relative(found, wanted)
        forms = WeightForms(mixture="triton")
        # half: the interpreter multiplies the bit patterns of bfloat16 as whole numbers
        low = engine_cases.network(engine_cases.CONFIGS[name](), torch.float16).expert.layers[0].ffn
        short, rest = x.half(), residual.half()
        found = forms.mixture_of(low, rows)(short, rest, None)
        gaps["float16"] = engine_cases.relative(found, rest + low(short.unsqueeze(0))[0])
        chosen = layer.route(x).selected
        print(json.dumps({"case": [name, rows, skew], **gaps, "used": len(chosen.unique())}))
    dense = engine_cases.network(engine_cases.CONFIGS["dense"]()).expert.layers[0].ffn
    for rows in (6, 50):
        x, residual = torch.randn(rows, 24), torch.randn(rows, 24)
        found = WeightForms(mixture="triton").mixture_of(dense, rows)(x, residual, None)
        gap = engine_cases.relative(found, residual + dense(x))
        print(json.dumps({"case": ["dense", rows, 0], "float32": gap}))


if __name__ == "__main__":
    main()
