"""What is counted besides tokens: words, and tokens that stand for a piece of a character."""

from __future__ import annotations

import re

from .tokenizers import Tokenizer

# Scripts without spaces between words. Thai, Lao, Tibetan, Burmese, Khmer; then Japanese kana, bopomofo and Chinese
# characters with their extensions and compatibility forms; then kana of half width.
_UNSPACED = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff"
    "\u2e80-\u2fdf\u3005-\u3007\u3040-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
    "\uff66-\uff9f"
)
# A letter of these (vowel marks are none), or from the first letter or digit of a run on to its end.
_WORD = re.compile(rf"(?=\w)([{_UNSPACED}])|(?![{_UNSPACED}])\w[^\s{_UNSPACED}]*")
_BYTE_PIECE = re.compile(r"<0x[0-9A-Fa-f]{2}>")

_REPLACEMENT = "\ufffd"
_REPLACEMENT_AS_BYTES = "ï¿½"  # the three bytes of U+FFFD, as byte-level BPE vocabularies spell them


def count_words(text: str) -> tuple[int, int]:
    """Words of a text, and how many of them are single letters of a script without spaces.

    A word is a run between spaces with a letter or digit in it: punctuation alone is none. In Chinese, Japanese, Thai,
    Lao, Khmer, Burmese and Tibetan, where only a dictionary knows words, each letter counts as one: tokens per word is
    then tokens per letter, and no match for a language with spaces.

    >>> count_words("Hello, world - it's 3 o'clock")
    (5, 0)
    >>> count_words("東京 is Tokyo")
    (4, 2)
    """
    found = _WORD.findall(text)
    return len(found), sum(map(bool, found))


def is_part_of_a_character(tokenizer: Tokenizer, token: int) -> bool | None:
    """Whether a token stands for bytes instead of text: a fallback byte, or an incomplete UTF-8 sequence.

    A fallback byte such as ``<0x0A>`` counts even where it is a whole character: the vocabulary had no entry for it.

    Returns:
        None if the tokenizer can neither spell nor decode a token.
    """
    piece = tokenizer.piece(token) if tokenizer.piece is not None else None
    if piece is not None and _BYTE_PIECE.fullmatch(piece):
        return True
    if tokenizer.decode is None:
        return None if piece is None else False
    if _REPLACEMENT not in tokenizer.decode([token]):
        return False
    # Text can hold U+FFFD itself, left there by whoever decoded it wrongly, and vocabularies have a token for it.
    return piece is None or not (_REPLACEMENT in piece or _REPLACEMENT_AS_BYTES in piece)
