# SPDX-License-Identifier: Apache-2.0
"""LeRobot's own pi0.5, run by .venv-lerobot's Python.

open FOLDER SIZES.json TOKENIZER.json IN.npz OUT.npz  what its class and its processors make of it
save TEMPLATE FOLDER SIZES.json TOKENIZER.json        one with random weights by its own writer

Its table of sizes has two entries, both of gigabytes, so SIZES.json replaces them, and its tokenizer
is a download, so TOKENIZER.json replaces that; classes, loading, processing and sampling are its own.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lerobot_judge  # noqa: F401  first: offline, and torchvision beside torch for the CPU
import numpy as np
import torch
from lerobot.configs import PreTrainedConfig
from lerobot.policies.factory import make_pre_post_processors
from lerobot.policies.pi05 import modeling_pi05
from lerobot.policies.pi05.modeling_pi05 import PI05Policy
from lerobot.policies.pi05.processor_pi05 import make_pi05_pre_post_processors
from lerobot.processor import tokenizer_processor
from lerobot.utils.constants import OBS_LANGUAGE_ATTENTION_MASK, OBS_LANGUAGE_TOKENS
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast


def resize(sizes: dict[str, Any]) -> None:
    """Let LeRobot build a network of these sizes."""
    stacks = {"gemma_2b": sizes["prefix"], "gemma_300m": sizes["expert"]}
    modeling_pi05.get_gemma_config = lambda variant: SimpleNamespace(**stacks[variant])
    whole = modeling_pi05.PaliGemmaForConditionalGenerationWithPiGemma
    expert = modeling_pi05.PiGemmaForCausalLM

    def small_whole(config: Any) -> Any:
        for name, value in sizes["vision"].items():
            setattr(config.vision_config, name, value)
        config.text_config.vocab_size = sizes["vocab"]
        return whole(config=config)

    def small_expert(config: Any) -> Any:
        config.vocab_size = sizes["vocab"]
        return expert(config=config)

    modeling_pi05.PaliGemmaForConditionalGenerationWithPiGemma = small_whole
    modeling_pi05.PiGemmaForCausalLM = small_expert


def take_tokenizer(path: str) -> None:
    """In place of PaliGemma's, with the begin-of-sequence that it puts in front."""
    made = PreTrainedTokenizerFast(tokenizer_file=path, bos_token="<bos>", pad_token="<pad>")
    made.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", made.bos_token_id)]
    )
    tokenizer_processor.AutoTokenizer = SimpleNamespace(from_pretrained=lambda name: made)


def opened(folder: str) -> PI05Policy:
    """Its loader prints what it could not load and goes on."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        policy = PI05Policy.from_pretrained(folder)
    assert "All keys loaded successfully!" in printed.getvalue(), printed.getvalue()
    return policy.eval()


@torch.no_grad()
def open_folder(folder: str, inputs: str, out: str) -> None:
    """Prompt, chunk before and after its postprocessor, and the loss of one training step."""
    policy = opened(folder)
    before, after = make_pre_post_processors(policy.config, folder)
    with np.load(inputs) as archive:
        given = dict(archive)
    slots = [n for n in policy.config.image_features if "empty" not in n]
    pictures = torch.from_numpy(given["images"]).permute(0, 3, 1, 2).float() / 255
    batch = before(
        {
            **{n: p for n, p, m in zip(slots, pictures, given["image_mask"], strict=True) if m},
            "observation.state": torch.from_numpy(given["state"]).float(),
            "task": str(given["prompt"]),
        }
    )
    noise, target = (torch.from_numpy(given[name])[None] for name in ("noise", "target"))
    chunk = policy.predict_action_chunk(batch, noise=noise)
    words = batch[OBS_LANGUAGE_TOKENS], batch[OBS_LANGUAGE_ATTENTION_MASK]
    time = torch.from_numpy(given["time"])
    loss = policy.model(*policy._preprocess_images(batch), *words, target, noise, time)
    np.savez(
        out,
        token_ids=words[0][0].numpy(),
        token_mask=words[1][0].numpy(),
        normalized=chunk[0].numpy(),
        actions=after(chunk)[0].numpy(),
        loss=loss.mean().numpy(),
    )


def save(template: str, folder: str) -> None:
    """Settings as in the template; weights, statistics and files LeRobot's."""
    config = PreTrainedConfig.from_pretrained(template)
    torch.manual_seed(7)
    policy = PI05Policy(config)
    with torch.no_grad():  # its modulations start at zero, where nothing could be seen of them
        for name, parameter in policy.named_parameters():
            if "dense.weight" in name:
                parameter.normal_(std=parameter.shape[1] ** -0.5)
    width = config.output_features["action"].shape[0]
    numbers = torch.arange(width) / width
    values = {"mean": numbers, "std": 1 + numbers, "q01": -1 - numbers, "q99": 1 + 2 * numbers}
    statistics = {"observation.state": values, "action": {n: v + 0.1 for n, v in values.items()}}
    for part in (policy, *make_pi05_pre_post_processors(config, statistics)):
        part.save_pretrained(folder)


if __name__ == "__main__":
    word, *paths = sys.argv[1:]
    place = 1 if word == "open" else 2
    resize(json.loads(Path(paths.pop(place)).read_text()))
    take_tokenizer(paths.pop(place))
    {"open": open_folder, "save": save}[word](*paths)
