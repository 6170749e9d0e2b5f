# SPDX-License-Identifier: Apache-2.0
"""Sentences of a task and what they mean: templates whose slots are filled by the words of a meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations, product

Meaning = Mapping[str, str]  # slot of the templates -> word


@dataclass(frozen=True)
class Language:
    """How a task is put into words.

    Attributes:
        meanings: what the task can ask for, one entry per variant.
        phrasings: templates for training, the usual one first.
        unseen: templates kept out of training, to test how a policy takes new words.
    """

    meanings: tuple[Meaning, ...]
    phrasings: tuple[str, ...]
    unseen: tuple[str, ...]

    def sentences(self, meaning: Meaning, unseen: bool = False) -> tuple[str, ...]:
        """Every way to say one meaning, in training's words or in the unseen ones."""
        templates = self.unseen if unseen else self.phrasings
        return tuple(template.format(**meaning) for template in templates)

    def all_sentences(self, unseen: bool = False) -> tuple[str, ...]:
        """Every sentence, the usual phrasing of each meaning first."""
        ways = zip(*(self.sentences(meaning, unseen) for meaning in self.meanings), strict=True)
        return tuple(sentence for way in ways for sentence in way)

    def others(self, meaning: Meaning) -> tuple[Meaning, ...]:
        """What else the task can ask for."""
        return tuple(other for other in self.meanings if other != meaning)

    def meaning_of(self, sentence: str) -> Meaning | None:
        """The meaning of a sentence, seen or unseen; None: it is none of this task's.

        Case, spacing and the full stop do not count.
        """
        wanted = _plain(sentence)
        for meaning in self.meanings:
            known = (*self.sentences(meaning), *self.sentences(meaning, unseen=True))
            if wanted in map(_plain, known):
                return meaning
        return None


def _plain(sentence: str) -> str:
    return " ".join(sentence.lower().split()).rstrip(" .!")


def every(**choices: tuple[str, ...]) -> tuple[Meaning, ...]:
    """A meaning per combination of words: ``every(colour=("red", "blue"), side=SIDES)``."""
    return tuple(dict(zip(choices, words, strict=True)) for words in product(*choices.values()))


def ordered_pairs(first: str, second: str, words: tuple[str, ...]) -> tuple[Meaning, ...]:
    """A meaning per ordered pair of two different words."""
    return tuple({first: one, second: other} for one, other in permutations(words, 2))
