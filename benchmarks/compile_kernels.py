#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compiles the mixture kernels for GPUs that are not there, and reads off what they take of a chip.

The layers of the full-size policies run on tensors without memory; every kernel launch is taken
down with its arguments and compiled as Triton itself would specialise it. Registers, stack, shared
memory and instructions come from the machine code (``cuobjdump``, part of Triton's package).

    python benchmarks/compile_kernels.py                # writes benchmarks/results/kernels.json
"""

from __future__ import annotations

import argparse
import collections
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from common import RESULTS, machine, write
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from adamoe_ros.model.config import ModelConfig, adamoe_pi0, pi0
from adamoe_ros.model.policy_model import AdaMoEPolicy
from adamoe_ros.policy.engines import triton_kernels
from adamoe_ros.policy.engines.weight_forms import WeightForms

KERNELS = ("plan", "gate_up", "down", "combine")
_TYPES = {torch.bfloat16: "bf16", torch.float32: "fp32", torch.float16: "fp16",
          torch.int8: "i8", torch.int32: "i32", torch.int64: "i64"}  # fmt: skip


@dataclass(frozen=True)
class Chip:
    """Limits of one architecture.

    Attributes:
        target: compute capability * 10.
        shared_block, shared_all: bytes of shared memory a program and a multiprocessor may have.
        warps: resident on a multiprocessor.
    """

    target: int
    shared_block: int
    shared_all: int
    warps: int
    registers: int = 65536


# CUDA programming guide, table of compute capabilities
CHIPS = {
    "H200": Chip(90, 227 << 10, 228 << 10, 64),
    "RTX 4090": Chip(89, 99 << 10, 100 << 10, 48),
    "Jetson Thor": Chip(110, 227 << 10, 228 << 10, 48),
}
MAX_REGISTERS = 255  # of a thread, every architecture


@dataclass(frozen=True)
class Launch:
    """What a kernel was started with, as far as compiling depends on it."""

    kernel: str
    grid: tuple[int, ...]
    signature: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, Any], ...]
    aligned: frozenset[str]


class Recorder:
    """Stands where a kernel is; ``recorder[grid](...)`` takes the launch down."""

    def __init__(self, name: str, launches: list[Launch]) -> None:
        self._kernel, self._name, self._launches = getattr(triton_kernels, name), name, launches

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return lambda *values, **named: self._launches.append(self._launch(grid, values, named))

    def _launch(self, grid: tuple[int, ...], values: Any, named: dict[str, Any]) -> Launch:
        given = {**dict(zip(self._kernel.arg_names, values, strict=False)), **named}
        signature, constants, aligned = {}, {}, set()
        for parameter in self._kernel.params:
            name, value = parameter.name, given[parameter.name]
            if parameter.is_constexpr or (type(value) is int and value == 1):
                signature[name], constants[name] = "constexpr", value
            elif isinstance(value, torch.Tensor):
                signature[name] = "*" + _TYPES[value.dtype]
                aligned.add(name)  # torch's allocations start at multiples of 512 bytes
            elif isinstance(value, float):
                signature[name] = "fp32"
            else:
                signature[name] = "i32"
                if value % 16 == 0:
                    aligned.add(name)
        return Launch(
            self._name, grid, tuple(signature.items()), tuple(constants.items()), frozenset(aligned)
        )


@contextmanager
def recorded() -> Iterator[list[Launch]]:
    """Launches of the kernels inside are taken down, not carried out."""
    launches: list[Launch] = []
    kept = {name: getattr(triton_kernels, name) for name in KERNELS}
    recorders = {name: Recorder(name, launches) for name in KERNELS}
    try:
        for name, recorder in recorders.items():
            setattr(triton_kernels, name, recorder)
        yield launches
    finally:
        for name, kernel in kept.items():
            setattr(triton_kernels, name, kernel)


def launches_of(config: ModelConfig, dtype: torch.dtype, int8: bool, rows: int) -> list[Launch]:
    """Of one feed-forward layer of the action expert."""
    with torch.device("meta"):
        policy = AdaMoEPolicy(config.changed({"prefix.depth": 1, "vision.depth": 0}))
        layer: Any = policy.expert.layers[0].to(dtype)
        x = torch.empty(rows, config.expert.width, dtype=dtype)
    form = WeightForms(mixture="triton", int8=int8).mixture_of(layer.ffn, rows)
    with recorded() as launches, torch.inference_mode():
        form(x, x, None)
    return launches


def compiled(launch: Launch, chip: Chip) -> Any:
    """The kernel for a chip, by the compiler's own defaults."""
    names = [name for name, _ in launch.signature]
    source = ASTSource(
        fn=getattr(triton_kernels, launch.kernel),
        signature=dict(launch.signature),
        constexprs={(names.index(name),): value for name, value in launch.constants},
        attrs={(names.index(name),): [["tt.divisibility", 16]] for name in launch.aligned},
    )
    return triton.compile(source, target=GPUTarget("cuda", chip.target, 32))


def resources(kernel: Any, chip: Chip) -> dict[str, Any]:
    """What a kernel takes of a chip, and how many of its programs fit a multiprocessor."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        usage, code = (
            subprocess.run(
                [tool, option, file.name], capture_output=True, text=True, check=True
            ).stdout
            for option in ("-res-usage", "-sass")
        )
    found = {name: int(n) for name, n in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", usage)}
    kinds = collections.Counter(
        re.findall(r"\b(HGMMA|HMMA|LDGSTS\S*128|LDG\S*128|LDL|STL)\b", code)
    )
    warps, shared = kernel.metadata.num_warps, kernel.metadata.shared
    registers = -(-found["REG"] // 8) * 8 * 32 * warps  # handed out by eights
    fitting = min(
        chip.registers // registers, chip.warps // warps, chip.shared_all // (shared + 1024)
    )
    return {
        "registers": found["REG"], "stack": found["STACK"] + found["LOCAL"], "shared": shared,
        "warps": warps, "programs_per_multiprocessor": fitting,
        "spills": kinds["LDL"] + kinds["STL"], "matrix_instructions": kinds["HMMA"] + kinds["HGMMA"],
    }  # fmt: skip


def faults(found: dict[str, Any], chip: Chip) -> list[str]:
    """Why a kernel would not run on a chip, or not at its speed."""
    limits = (
        ("shared", chip.shared_block),
        ("registers", MAX_REGISTERS),
        ("stack", 0),
        ("spills", 0),
    )
    return [f"{name} {found[name]}, at most {most}" for name, most in limits if found[name] > most]


def cases() -> Iterator[tuple[str, ModelConfig, torch.dtype, bool, int]]:
    """What a GPU is asked for: a robot, eight robots, more experts a token, dense; test/gpu's type."""
    whole, half = torch.float32, torch.bfloat16
    for int8 in (False, True):
        kind = "int8" if int8 else "bfloat16"
        yield f"AdaMoE, {kind}", adamoe_pi0(), half, int8, 50
        yield f"AdaMoE, {kind}, batch 8", adamoe_pi0(), half, int8, 400
        yield f"AdaMoE top-2, {kind}", adamoe_pi0(top_k=2), half, int8, 50
        yield f"dense, {kind}", pi0(), half, int8, 50
    yield "AdaMoE, float32", adamoe_pi0(), whole, False, 50


def survey(name: str) -> list[dict[str, Any]]:
    """One row for each kernel that a chip of ``CHIPS`` needs, with the cases that need it."""
    chip, rows = CHIPS[name], {}
    for case, config, dtype, int8, tokens in cases():
        for launch in launches_of(config, dtype, int8, tokens):
            key = (launch.kernel, launch.signature, launch.constants, launch.aligned)
            if key not in rows:
                found = resources(compiled(launch, chip), chip)
                rows[key] = {"chip": name, "kernel": launch.kernel, "cases": [], **found}
                rows[key]["faults"] = faults(found, chip)
            grid = " x ".join(map(str, launch.grid))
            rows[key]["cases"].append(f"{case}: {grid} programs")
    return list(rows.values())


def main() -> int:
    """Compile all; 1: one does not fit its chip."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chips", nargs="+", choices=CHIPS, default=tuple(CHIPS))
    parser.add_argument("--out", type=Path, default=RESULTS / "kernels.json", help="JSON")
    options = parser.parse_args()
    rows = [row for name in options.chips for row in survey(name)]
    for row in rows:
        print(*row.values())
    what = "mixture kernels compiled ahead, no GPU at hand: nothing was run"
    about = {**machine(), "triton": triton.__version__}
    limits = {name: vars(chip) for name, chip in CHIPS.items() if name in options.chips}
    write(options.out, {"what": what, "machine": about, "limits": limits, "kernels": rows})
    return int(any(row["faults"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
