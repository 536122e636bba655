"""Texts of users and of logs, fit to be printed: they may hold anything and be of any length."""

from __future__ import annotations


def clean(text: str) -> str:
    """Without line breaks, terminal control and what no encoding takes.

    >>> clean("loss\\x1b[31m")
    'loss [31m'
    """
    return "".join(character if character.isprintable() else " " for character in text)


def shorten(text: object, limit: int = 80) -> str:
    """One clean line of at most ``limit`` characters, cut in the middle: both ends of a path or a number tell most.

    >>> shorten("0123456789" * 100, limit=13)
    '01234...56789'
    """
    text = str(text)
    if len(text) > limit:
        kept = (limit - 3) // 2
        text = f"{text[:kept]}...{text[-kept:]}"
    return clean(text)


def shown_path(path: object) -> str:
    """A path as errors name it: whole unless nobody would read it."""
    return shorten(path, limit=240)
