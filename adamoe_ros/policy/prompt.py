# SPDX-License-Identifier: Apache-2.0
"""Sentence -> prompt tokens, in the form that the checkpoint was trained with.

Styles: ``openpi`` (begin-of-sequence, cleaned sentence, newline tokenised apart), ``lerobot`` (the
same without cleaning, tokenised once), ``plain`` (the sentence's tokens).
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


class PromptEncoder:
    """Sentences to fixed-length token vectors.

    Args:
        tokenizer: of the checkpoint.
        style: of the checkpoint.
        length: L, most tokens; longer prompts are cut.
    """

    def __init__(self, tokenizer: Tokenizer, style: PromptStyle, length: int) -> None:
        self._tokenizer, self._style, self._length = tokenizer, style, length
        self._known: dict[str, tuple[NDArray[np.int64], NDArray[np.bool_]]] = {}

    def tokens(self, sentence: str) -> list[int]:
        """Every token of a prompt, not cut."""
        encode = self._tokenizer.encode
        if self._style == "plain":
            return encode(sentence)
        if self._style == "lerobot":
            text = sentence if sentence.endswith("\n") else f"{sentence}\n"
            return [BOS, *encode(text)]
        cleaned = sentence.strip().replace("_", " ").replace("\n", " ")
        return [BOS, *encode(cleaned), *encode("\n")]

    def __call__(self, sentence: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """(L,) int64 token numbers, 0 where padded, and (L,) mask; remembered per sentence."""
        if sentence not in self._known:
            tokens = self.tokens(sentence)[: self._length]
            ids = np.full(self._length, PAD, dtype=np.int64)
            ids[: len(tokens)] = tokens
            self._known[sentence] = ids, np.arange(self._length) < len(tokens)
        return self._known[sentence]
