# SPDX-License-Identifier: Apache-2.0
"""pi0.5's prompt: bins, text, cleaning, padding and room, as openpi makes them; quantiles behind it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import policy_support as support
import pytest

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.policy.checkpoint import prompt_state_width, read_checkpoint
from adamoe_ros.policy.normalise import FeatureStats, NormStats, make_normalizer
from adamoe_ros.policy.processing import Processor
from adamoe_ros.policy.prompt import PromptEncoder, state_bins


class Recorder:
    """Every letter its code; keeps what it was given."""

    size = 200

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode(self, text: str) -> list[int]:
        self.texts.append(text)
        return [ord(letter) for letter in text]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (-1.0, 0), (np.nextafter(-1, -2), -1), (-1.5, -1), (-math.inf, -1), (0.0, 128),
        (np.nextafter(0, -1), 127), (127 / 128, 255), (0.992, 254), (0.9922, 255), (1.0, 255),
        (3.0, 255), (math.inf, 255), (math.nan, 255), (-0.9921875, 1),
    ],
)  # fmt: skip
def test_bins(value: float, expected: int) -> None:
    assert state_bins(np.array([value])).tolist() == [expected]


def test_every_left_edge_opens_its_bin() -> None:
    edges = -1 + np.arange(256) / 128
    assert state_bins(edges).tolist() == list(range(256))
    assert state_bins(np.nextafter(edges, -2)).tolist() == list(range(-1, 255))


def text_of(sentence: str, state: list[float] | None, width: int | None, style="openpi"):
    recorder = Recorder()
    tokens = PromptEncoder(recorder, style, 400, width).tokens(
        sentence, None if state is None else np.array(state)
    )
    return recorder.texts, tokens


def test_text_is_tokenised_once_after_the_beginning() -> None:
    texts, tokens = text_of(" lift_a\nbar_ ", [-1.0, 0.0, 2.0, -3.0], 4)
    assert texts == ["Task: lift a bar , State: 0 128 255 -1;\nAction: "]
    assert tokens[0] == 2 and tokens[1:] == [ord(letter) for letter in texts[0]]
    assert text_of("lift", [], 0)[0] == ["Task: lift, State: ;\nAction: "]
    assert text_of("lift", [0.5], 1, "plain")[1][0] == ord("T")


def test_padded_width_digitises_the_padding() -> None:
    texts, _ = text_of("lift", [-1.0, 1.0], 4)
    assert texts == ["Task: lift, State: 0 255 128 128;\nAction: "]


def test_without_the_state_the_prompt_is_pi0s() -> None:
    texts, _ = text_of("_open_the drawer_\n\n", [0.3], None)
    assert texts == [" open the drawer ", "\n"]


def test_room_is_asked_for_the_longest_state() -> None:
    encoder = PromptEncoder(Recorder(), "openpi", 40, 2)
    short = np.array([-1.0, -1.0])  # "0 0": four tokens less than "255 255"
    assert encoder("x" * 4, short)[1].sum() == 1 + len("Task: xxxx, State: 0 0;\nAction: ")
    assert encoder.check("xxxx") is None
    assert "got 42 tokens, 2 numbers of the state included" in str(encoder.check("x" * 9))
    with pytest.raises(ContractError, match="at most 40 tokens, got 42"):
        encoder("x" * 13, short)


def quantiles(low: float, high: float) -> FeatureStats:
    return FeatureStats(mean=(0.0,), std=(1.0,), q01=(low,), q99=(high,))


@pytest.mark.parametrize("low", [-1.206345472241344, 0.1, -1.4986427955828738, 1 / 3])
def test_the_quantile_itself_is_bin_zero(low: float) -> None:
    normalizer = make_normalizer(quantiles(low, low + 2.7), "quantile", 1e-6, 4)
    assert normalizer.unpadded(np.array([low])).tolist() == [-1.0]
    below = normalizer.unpadded(np.array([low - 1e-9]))
    assert state_bins(below).tolist() == [-1]


def test_a_constant_dimension_is_refused_unless_asked_for() -> None:
    stats = NormStats(state=quantiles(0.5, 0.5), actions=quantiles(0.0, 1.0))
    (line,) = stats.check((1, 1), "quantile", "norm_stats.json")
    assert line.startswith("norm_stats.json: state: q99 - q01: expected more than 0")
    assert "--allow-constant" in line
    assert stats.check((1, 1), "quantile", "norm_stats.json", allow_constant=True) == []
    flipped = NormStats(state=quantiles(0.5, 0.4), actions=quantiles(0.0, 1.0))
    assert flipped.check((1, 1), "quantile", "norm_stats.json", allow_constant=True)
    openpi = make_normalizer(stats.state, "quantile", 1e-6, 1)
    assert openpi.unpadded(np.array([0.5])).tolist() == [-1.0]
    assert openpi.unpadded(np.array([0.500001]))[0] == pytest.approx(1.0)
    lerobot = make_normalizer(stats.state, "quantile", 0.0, 1)
    assert lerobot.unpadded(np.array([0.5])).tolist() == [-1.0]
    assert lerobot.invert(np.array([-1.0])).tolist() == [0.5]


SETTINGS = {"architecture": "pi05", "prompt_length": 200, "prefix.vocab": 300}
MANIFEST = {"architecture": "pi05", "normalization": "quantile", "prompt_style": "openpi"}


def make(folder: Path, **manifest) -> Path:
    meaning = {**MANIFEST, "prompt_state": "joints", **manifest}
    return support.make_checkpoint(folder, support.tiny_config(**SETTINGS), **meaning)


def test_inputs_hold_the_state_of_the_observation(tmp_path: Path) -> None:
    processor = Processor(read_checkpoint(make(tmp_path / "made")))
    recorder = Recorder()
    processor.prompts._tokenizer = recorder
    low = np.array(support.statistics().state.q01, np.float32)
    observation = support.observation(0)
    observation.state[:] = low
    inputs = processor.inputs([observation])
    assert inputs.token_ids.shape == (1, 200)
    exact = processor.vectors.state.unpadded(low)
    numbers = " ".join(map(str, state_bins(exact)))
    assert recorder.texts == [f"Task: {observation.instruction}, State: {numbers};\nAction: "]


def test_width_of_the_prompt_state(tmp_path: Path) -> None:
    for word, width in (("joints", 14), ("padded", 16), ("none", None)):
        checkpoint = read_checkpoint(make(tmp_path / word, prompt_state=word))
        assert prompt_state_width(checkpoint.manifest, checkpoint.config) == width
    unknown = read_checkpoint(make(tmp_path / "unknown", prompt_state=None))
    with pytest.raises(ContractError, match=r"prompt_state: expected none, joints .* got null"):
        unknown.prompts()


def test_manifest_and_config_must_agree_on_the_architecture(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"architecture: expected pi05 as in config\.json"):
        read_checkpoint(make(tmp_path / "made", architecture="pi0"))
