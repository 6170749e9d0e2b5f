# SPDX-License-Identifier: Apache-2.0
"""Sentence, and state where it is text -> prompt tokens, in the form of the checkpoint's training.

Styles: ``openpi`` (begin-of-sequence, cleaned sentence, newline tokenised apart), ``lerobot`` (the
same without cleaning, tokenised once), ``plain`` (the sentence's tokens).
With the state in the prompt (pi0.5) the text is openpi's ``Task: ..., State: 12 250 ...;`` and
``Action: ``, tokenised once; of the style only the begin-of-sequence remains.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, problem

PromptStyle = Literal["openpi", "lerobot", "plain"]
PAD, EOS, BOS = 0, 1, 2  # PaliGemma's numbers, kept by the small policies' tokenizers


class Tokenizer(Protocol):
    """What is needed of a tokenizer; encoding adds no special tokens."""

    size: int

    def encode(self, text: str) -> list[int]:
        """Token numbers of a text."""


class _JsonTokenizer:
    """A Hugging Face ``tokenizer.json``."""

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer as Reader

        self._path = path
        self._reader: Any = Reader.from_file(str(path))
        self.size = int(self._reader.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        try:
            return list(self._reader.encode(text, add_special_tokens=False).ids)
        except Exception as error:  # the library raises nothing more special
            do, got = "copy the whole checkpoint", f"{error} for {text!r:.60}"
            line = problem(str(self._path), "tokens for any text", got, do)
            raise ContractError(line) from error


class _SentencePiece:
    """A SentencePiece ``.model``, as openpi uses it."""

    def __init__(self, path: Path) -> None:
        from sentencepiece import SentencePieceProcessor

        self._reader: Any = SentencePieceProcessor(model_file=str(path))
        self.size = int(self._reader.vocab_size())

    def encode(self, text: str) -> list[int]:
        return list(self._reader.encode(text))


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer file: ``.json`` of tokenizers, ``.model`` of SentencePiece.

    Raises:
        ContractError: missing, or not such a file.
    """
    where = str(path)
    if not path.is_file():
        raise ContractError(problem(where, "a tokenizer", "no file", "copy the whole checkpoint"))
    try:
        return _JsonTokenizer(path) if path.suffix == ".json" else _SentencePiece(path)
    except Exception as error:  # both libraries raise bare or undocumented kinds
        line = (str(error).splitlines() or [type(error).__name__])[0]
        expected = "a tokenizer.json or a SentencePiece .model"
        raise ContractError(problem(where, expected, line, "copy it again")) from error


_EDGES = np.linspace(-1, 1, 257)[:-1]


def state_bins(state: NDArray[Any]) -> NDArray[np.int64]:
    """Normalised values -> bins of width 1/128, in float64: -1 -> 0, from 127/128 on 255, below -1 -> -1.

    Source: openpi's tokenizer; NaN counts as the largest value there.
    """
    return np.asarray(np.digitize(np.asarray(state, dtype=np.float64), _EDGES) - 1)


def _cleaned(sentence: str) -> str:
    return sentence.strip().replace("_", " ").replace("\n", " ")


def state_prompt(sentence: str, bins: NDArray[np.int64]) -> str:
    """pi0.5's text."""
    numbers = " ".join(map(str, bins.tolist()))
    return f"Task: {_cleaned(sentence)}, State: {numbers};\nAction: "


class PromptEncoder:
    """Sentences to fixed-length token vectors.

    Args:
        tokenizer: of the checkpoint.
        style: of the checkpoint.
        length: L, most tokens.
        state_width: numbers of the state in the prompt, padding included; None: they are not in there.
    """

    def __init__(
        self, tokenizer: Tokenizer, style: PromptStyle, length: int, state_width: int | None = None
    ) -> None:
        self._tokenizer, self._style, self._length = tokenizer, style, length
        self.state_width = state_width
        self._known: dict[str, tuple[NDArray[np.int64], NDArray[np.bool_]]] = {}

    def tokens(self, sentence: str, state: NDArray[Any] | None = None) -> list[int]:
        """Every token of a prompt, however many.

        Args: state: (D,) normalised, at most ``state_width`` of them, where the prompt holds it.
        """
        if self.state_width is not None:
            if state is None:
                raise ValueError("a prompt with a state needs one")
            padded = np.pad(np.asarray(state, np.float64), (0, self.state_width - len(state)))
            return self._state_tokens(sentence, state_bins(padded))
        encode = self._tokenizer.encode
        if self._style == "plain":
            return encode(sentence)
        if self._style == "lerobot":
            text = sentence if sentence.endswith("\n") else f"{sentence}\n"
            return [BOS, *encode(text)]
        return [BOS, *encode(_cleaned(sentence)), *encode("\n")]

    def _state_tokens(self, sentence: str, bins: NDArray[np.int64]) -> list[int]:
        start = [] if self._style == "plain" else [BOS]
        return [*start, *self._tokenizer.encode(state_prompt(sentence, bins))]

    def check(self, sentence: str) -> str | None:
        """What is wrong with a sentence: too many tokens, whatever the state will be."""
        if self.state_width is not None:
            widest = (np.full(self.state_width, value) for value in (-1, 255))
            count = max(len(self._state_tokens(sentence, bins)) for bins in widest)
        else:
            count = len(self.tokens(sentence))
        return self._overflow(count)

    def _overflow(self, count: int) -> str | None:
        if count <= self._length:
            return None
        numbers = self.state_width
        got = f"{count} tokens" + (f", {numbers} numbers of the state included" if numbers else "")
        return problem("instruction", f"at most {self._length} tokens", got, "shorten it")

    def __call__(
        self, sentence: str, state: NDArray[Any] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """(L,) int64 token numbers, 0 where padded, and (L,) mask.

        Args: state: as for ``tokens``.

        Raises:
            ContractError: too many tokens; cut, a prompt would lose its last joints or words.
        """
        if self.state_width is not None:
            return self._laid(self.tokens(sentence, state))
        if sentence not in self._known:
            self._known[sentence] = self._laid(self.tokens(sentence))
        return self._known[sentence]

    def _laid(self, tokens: list[int]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        line = self._overflow(len(tokens))
        if line is not None:
            raise ContractError(line)
        ids = np.full(self._length, PAD, dtype=np.int64)
        ids[: len(tokens)] = tokens
        return ids, np.arange(self._length) < len(tokens)
