"""A yardstick for bits per byte that needs no model: what xz makes of the same text."""

from __future__ import annotations

import lzma
import math
from collections.abc import Iterable

from .base import ProbeError
from .text_files import Text

MEANINGFUL_BYTES = 300_000
_SMALLEST_DICTIONARY = 4096  # the format allows no smaller one
_LARGEST_DICTIONARY = 1 << 28  # compressing takes about eleven times as much memory: 3 GB


def xz_bits_per_byte(texts: Iterable[Text | str]) -> float:
    """Bits per byte of text for xz at its best setting, documents joined and seen once, nothing but the stream counted.

    A compressor starts cold: on a small domain it spends its bits on words that every model knows, looks weak, and the
    model looks good beside it. Measured, in bits per byte of 1 kB, 10 kB, 100 kB, 1 MB and 10 MB of text: Python's
    library 3.7, 2.3, 1.8, 1.7, 1.5; an English handbook 4.8, 3.3, 2.6, 2.2; the same in Japanese 4.7, 3.3, 2.4, 2.0.
    It falls on with size, but from some 300 kB (``is_meaningful``) by less than a fifth for ten times the text. Compare
    a model with it on the same text, and two domains with each other only if they are about as large.

    >>> xz_bits_per_byte(["Hello " * 10_000]) < 0.02
    True

    Takes about a second for 2 MB, and memory of eleven times the text, at most 3 GB: beyond 256 MB it forgets.

    Raises:
        ProbeError: no text.
    """
    parts = [(one if isinstance(one, str) else one.text).encode() for one in texts]
    total = sum(map(len, parts))
    if not total:
        raise ProbeError("xz_bits_per_byte: no text to compress; give at least one document that is not empty")
    # Raw: the container's headers and checksum would be 0.5 bits per byte of a text of 1 kB.
    size = min(max(total, _SMALLEST_DICTIONARY), _LARGEST_DICTIONARY)
    setting = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": size}
    compressor = lzma.LZMACompressor(format=lzma.FORMAT_RAW, filters=[setting])
    compressed = sum(len(compressor.compress(part)) for part in parts) + len(compressor.flush())
    return 8 * compressed / total


def is_meaningful(total_bytes: int) -> bool:
    """Whether a domain is large enough for xz to be a yardstick; with less, it flatters the model."""
    return total_bytes >= MEANINGFUL_BYTES


def coverage(bits_per_byte: float, compressor_bits: float) -> float:
    """How many times fewer bits a model needs than the compressor: above 1 it knows more than the text itself tells.

    >>> coverage(bits_per_byte=0.8, compressor_bits=2.0)
    2.5

    Args:
        bits_per_byte: of the model.
        compressor_bits: bits per byte of the same text by ``xz_bits_per_byte``.

    Raises:
        ProbeError: either is not a positive number.
    """
    for name, value in (("bits_per_byte", bits_per_byte), ("compressor_bits", compressor_bits)):
        if not math.isfinite(value) or value <= 0:
            raise ProbeError(f"coverage: {name}={value}; give bits per byte of text, above 0")
    return compressor_bits / bits_per_byte
