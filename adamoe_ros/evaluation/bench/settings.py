# SPDX-License-Identifier: Apache-2.0
"""What ``adamoe bench`` measures."""

from __future__ import annotations

from dataclasses import dataclass, replace

from adamoe_ros.contract.errors import Problems
from adamoe_ros.model.config import ModelConfig, preset

DTYPES = ("float32", "bfloat16")
PEERS = ("transformers", "lerobot", "openpi")
STAGES = ("images", "vision", "encode", "step", "whole")


@dataclass(frozen=True)
class BenchSettings:
    """What to measure.

    Attributes:
        preset: model sizes. depth: layers of vision, prefix and expert; 0: the preset's.
        vocab: rows of the token table; 0: the preset's. Fewer save memory and no time.
        engines: names; ``auto`` is this device's own.
        mixtures: forms of the mixture layer, each a candidate of its own; ``auto`` only: one.
        batch, views, prompt, steps: of the inference; 0: the model's.
        stages: which to measure. rounds: measured rounds per stage.
        peers: others to compare with, of ``PEERS``; ``auto``: all that can be imported here.
        soak: inferences of the memory run.
        threads: of the CPU.
    """

    preset: str = "adamoe_pi0"
    depth: int = 0
    vocab: int = 2048
    dtype: str = "bfloat16"
    device: str = "cpu"
    engines: tuple[str, ...] = ("eager", "auto")
    mixtures: tuple[str, ...] = ("auto",)
    int8: bool = False
    batch: int = 1
    views: int = 0
    prompt: int = 0
    steps: int = 0
    rounds: int = 5
    stages: tuple[str, ...] = STAGES
    peers: tuple[str, ...] = ("auto",)
    soak: int = 0
    threads: int = 1

    def model(self) -> ModelConfig:
        """Sizes with the changes made."""
        config = preset(self.preset)
        changes: dict[str, int] = {}
        if self.depth:
            changes = {"prefix.depth": self.depth, "vision.depth": self.depth}
        if self.vocab and self.vocab < config.prefix.vocab:
            changes["prefix.vocab"] = self.vocab
        return config.changed(changes)

    def filled(self, config: ModelConfig) -> BenchSettings:
        """With the model's numbers in place of 0.

        Raises:
            ContractError: what does not fit, all of it.
        """
        views, prompt = self.views or config.num_views, self.prompt or config.prompt_length
        problems = Problems()
        for name, value, most in (
            ("views", views, config.num_views),
            ("prompt", prompt, config.prompt_length),
        ):
            if not 1 <= value <= most:
                problems.add(f"bench --{name}", f"1 to {most}", value, "correct it")
        if self.dtype not in DTYPES:
            problems.add("bench --dtype", " or ".join(DTYPES), self.dtype, "correct it")
        if unknown := set(self.stages) - set(STAGES):
            problems.add("bench --stages", ", ".join(STAGES), sorted(unknown), "correct it")
        if min(self.rounds, self.batch, self.threads) < 1:
            problems.add("bench --rounds, --batch, --threads", "at least 1", 0, "correct it")
        if unknown := set(self.peers) - {"auto", *PEERS}:
            expected = "auto, " + ", ".join(PEERS)
            problems.add("bench --peers", expected, sorted(unknown), "correct it")
        if self.peers and self.batch > 1:
            problems.add("bench --batch", "1 beside a peer", self.batch, "add --peers ''")
        problems.raise_if_any()
        return replace(self, views=views, prompt=prompt, steps=self.steps or config.flow_steps)
