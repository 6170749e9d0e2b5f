# SPDX-License-Identifier: Apache-2.0
"""A small word-level tokenizer for policies trained from scratch.

Lower case, words and punctuation apart; a word outside the vocabulary becomes ``<unk>``. Special
tokens have PaliGemma's numbers, so that both kinds of tokenizer mask and start alike.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

SPECIAL_TOKENS = ("<pad>", "<eos>", "<bos>", "<unk>")  # numbers 0 ... 3

# Usual words of instructions, so that a policy can learn further tasks without a new embedding table.
# What else a task needs comes with its own instructions.
_COMMON_WORDS = """
lift raise pick up grasp take hold hand over give pass push slide move put place stack insert
the a an with from to on in into onto of and both one each other at it
red green blue yellow white black colour color coloured
bar cube block box peg socket hole zone line centre center middle table plate cup
left right arm arms hand hands gripper side
stop wait open close turn rotate
. , ! ? : ;
"""


def build_tokenizer(sentences: Iterable[str] = ()) -> Tokenizer:
    """Usual words, then any further ones of the given sentences in sorted order."""
    splitter = pre_tokenizers.BertPreTokenizer()
    lower = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    words = dict.fromkeys(_COMMON_WORDS.split())
    found: set[str] = set()
    for sentence in sentences:
        pieces = splitter.pre_tokenize_str(lower.normalize_str(sentence))
        found.update(piece for piece, _ in pieces)
    words.update(dict.fromkeys(sorted(found)))
    table = {word: number for number, word in enumerate((*SPECIAL_TOKENS, *words))}
    tokenizer = Tokenizer(models.WordLevel(table, unk_token="<unk>"))
    tokenizer.normalizer = lower
    tokenizer.pre_tokenizer = splitter
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer
