"""What counts as a word, and which tokens are no text."""

from __future__ import annotations

import time

import pytest
import small_tokenizers as small

from pretrain_monitor.probes.token_kinds import count_words, is_part_of_a_character
from pretrain_monitor.probes.tokenizers import Tokenizer, as_tokenizer


@pytest.mark.parametrize(
    ("text", "words", "letters"),
    [
        ("two words", 2, 0),
        ("it's well-known, isn't it?", 4, 0),
        ("x = f(a, b)  # 3", 4, 0),
        ("--- ... !", 0, 0),
        ("«(слово)»", 1, 0),
        ("नमस्ते दुनिया", 2, 0),  # vowel signs are marks, and end no word
        ("안녕 세계", 2, 0),  # Korean has spaces
        ("東京 is big", 4, 2),
        ("東京。大阪", 4, 4),
        ("カタカナ", 4, 4),
        ("ภาษาไทย", 7, 7),
        ("กำ", 2, 2),
        ("a漢b", 3, 1),
        ("\u3000漢\u3000", 1, 1),  # the wide space is one
        ("", 0, 0),
    ],
)
def test_words_are_runs_between_spaces_and_letters_of_scripts_without(text: str, words: int, letters: int):
    assert count_words(text) == (words, letters)


def test_a_megabyte_of_dashes_is_counted_in_no_time():
    begin = time.perf_counter()
    assert count_words("-" * 1_000_000) == (0, 0)
    assert time.perf_counter() - begin < 2


def test_a_fallback_byte_counts_even_as_a_whole_character():
    tokenizer = as_tokenizer(small.with_fallback_bytes("a"))
    newline, letter = tokenizer.encode("\na")
    assert is_part_of_a_character(tokenizer, newline) is True
    assert is_part_of_a_character(tokenizer, letter) is False


def test_a_tokenizer_that_spells_but_does_not_decode_is_judged_by_its_spelling():
    spelled = Tokenizer("spelled", lambda texts: [], piece=["<0x0A>", "word"].__getitem__)
    assert is_part_of_a_character(spelled, 0) is True
    assert is_part_of_a_character(spelled, 1) is False


def test_nothing_is_said_of_a_tokenizer_that_tells_nothing():
    assert is_part_of_a_character(Tokenizer("mute", lambda texts: []), 0) is None
