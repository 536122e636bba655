"""How far a domain has been learned: a model's bits per byte beside those of a compressor on the same documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .averages import bits_per_byte
from .base import Scores
from .compressor import coverage, is_meaningful, xz_bits_per_byte

# Two seconds of a processor, once for each domain of a run. From here on ten times the text would lower the
# compressor's bits by a fifth.
_MOST_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What a compressor needs for some documents of a domain.

    Args:
        documents: shape (documents,), which of them it has read.
        total_bytes: of these.
    """

    documents: NDArray[np.int64]
    total_bytes: int
    compressor_bits_per_byte: float

    def metrics(self, prefix: str, scores: Scores) -> dict[str, float]:
        """The compressor's bits per byte, and how many times fewer the model needs for the same documents.

        Args:
            scores: of all documents of the domain.
        """
        some = Scores(
            scores.nats[self.documents], scores.tokens[self.documents], scores.bytes[self.documents], scores.key
        )
        metrics = {f"{prefix}/compressor_bits_per_byte": self.compressor_bits_per_byte}
        bits = bits_per_byte(some)
        # A model that gives NaN has learned nothing that could be compared.
        if bits is not None and np.isfinite(bits[0]) and bits[0] > 0:
            metrics[f"{prefix}/coverage"] = coverage(bits[0], self.compressor_bits_per_byte)
        return metrics


def yardstick(texts: Sequence[str]) -> tuple[Yardstick | None, str]:
    """A yardstick for a domain, None where there is too little text for one; and what is to be said of it.

    Documents are read in their order, those left out that would make it more than 4 MB.
    """
    chosen, read = [], 0
    whole = 0
    for number, text in enumerate(texts):
        size = len(text.encode())
        whole += size
        if read + size <= _MOST_BYTES:
            chosen.append(number)
            read += size
    if not is_meaningful(read):
        if whole > read:
            return None, f"no coverage: a compressor reads {_MOST_BYTES:,} bytes, and single documents are longer"
        return None, ""
    bits = xz_bits_per_byte(texts[number] for number in chosen)
    note = f"coverage is the bits of xz over the model's, on {read:,} bytes of {whole:,}; above 1 the model is ahead"
    return Yardstick(np.array(chosen, dtype=np.int64), read, bits), note
