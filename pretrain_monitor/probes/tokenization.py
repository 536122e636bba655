"""How well a tokenizer suits the texts that a model is trained on. Needs no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .averages import ratio
from .base import ProbeError, ProbeResult, checked_name
from .text_files import Text
from .texts import load_domain, load_parallel
from .token_counts import Counts, count_tokens
from .token_kinds import count_words, is_part_of_a_character
from .tokenizers import as_tokenizer

_UNTRANSLATED_TO_SAY = 0.1


class TokenizationProbe:
    """Tokens per byte and word, what the vocabulary lacks, and how it compares with others and between languages.

    Every ratio is a sum over a sum, and comes with its standard error over documents, as ``<metric>_se``, where there
    are several. Per domain: ``bytes_per_token``, ``fertility`` (tokens per word, see ``count_words``),
    ``unknown_share`` and ``byte_fallback_share`` of the tokens, ``vocabulary_use`` (share of the vocabulary that
    occurs, which grows with the text: compare it between tokenizers, not between domains of different sizes), and
    ``against/<other>``: this tokenizer's tokens over the other's, above 1 where this one needs more. Per set of
    parallel texts ``parity/<language>``: tokens over those of the first language (Petrov et al. 2023), above 1
    where the same content costs more.

    >>> probe = TokenizationProbe({"prose": ["two words", "three more words"]}, lambda text: list(text.encode()))
    >>> result = probe()
    >>> result["tokenization/prose/bytes_per_token"], result["tokenization/prose/fertility"]
    (1.0, 5.0)

    Args:
        domains: by name, anything that ``load_domain`` reads.
        tokenizer: the model's own, of any kind that ``as_tokenizer`` takes.
        against: other tokenizers by name.
        parallel: by name, the same texts in several languages, as ``load_parallel`` reads them.
        name: of the probe, and first part of its metrics' names.

    Raises:
        ProbeError: nothing to measure, no tokenizer, or one of them cannot be read.
    """

    is_static = True  # a tokenizer does not learn: once at the start of a run is enough

    def __init__(
        self,
        domains: Mapping[str, Any] | None = None,
        tokenizer: Any = None,
        *,
        against: Mapping[str, Any] | None = None,
        parallel: Mapping[str, Mapping[str, Any]] | None = None,
        name: str = "tokenization",
    ) -> None:
        self.name = checked_name(name, "probe")
        if tokenizer is None:
            raise ProbeError("TokenizationProbe needs a tokenizer; give the model's own, or the path of its files")
        if not domains and not parallel:
            raise ProbeError("TokenizationProbe needs domains={name: texts} or parallel={name: {language: texts}}")
        self._tokenizer = as_tokenizer(tokenizer)
        self._against = {checked_name(other, "against"): as_tokenizer(one) for other, one in (against or {}).items()}
        self._domains = {domain: load_domain(domain, given) for domain, given in (domains or {}).items()}
        self._parallel = {one: load_parallel(one, given) for one, given in (parallel or {}).items()}

    def __call__(self, model: Any = None) -> ProbeResult:
        """Measure; a model may be given and is not looked at.

        Raises:
            ProbeError: a tokenizer fails on a text, or makes nothing of a whole domain.
        """
        metrics: dict[str, float] = {}
        notes: list[str] = []
        for domain, texts in self._domains.items():
            found, said = self._domain(texts)
            metrics.update({f"{self.name}/{domain}/{key}": value for key, value in found.items()})
            notes += [f"{domain}: {note}" for note in said]
        for one, languages in self._parallel.items():
            found, said = self._parity(languages)
            metrics.update({f"{self.name}/{one}/parity/{key}": value for key, value in found.items()})
            notes += [f"{one}: {note}" for note in said]
        if self._against and self._domains:
            notes.append("against: tokens of this tokenizer over those of the other, above 1 where this one needs more")
        return ProbeResult(metrics, notes=notes)

    def _domain(self, texts: Sequence[Text]) -> tuple[dict[str, float], list[str]]:
        counts = count_tokens(self._tokenizer, texts, decode=True)
        sizes = np.array([len(one.text.encode()) for one in texts], dtype=np.int64)
        each = [count_words(one.text) for one in texts]
        words = np.array([count for count, _ in each], dtype=np.int64)
        letters = sum(count for _, count in each)
        notes = [f"{_how_many(texts)}, {sizes.sum():,} bytes, {counts.tokens.sum():,} tokens"]
        metrics = _ratio("bytes_per_token", sizes, counts.tokens)
        if words.any():
            metrics.update(_ratio("fertility", counts.tokens, words))
        else:
            notes.append("no fertility: the texts have no words")
        if 2 * letters > words.sum() > 0:
            notes.append("most letters are of scripts without spaces; fertility counts each of them as one word")
        kinds, said = self._kinds(counts)
        for other, tokenizer in self._against.items():
            theirs = count_tokens(tokenizer, texts)
            metrics.update(_ratio(f"against/{other}", counts.tokens, theirs.tokens))
        if counts.changed:
            notes.append(f"{counts.changed / len(texts):.1%} of the documents are not the same after decoding")
        return {**metrics, **kinds}, notes + said

    def _kinds(self, counts: Counts) -> tuple[dict[str, float], list[str]]:
        """Shares of tokens that are no text, and of the vocabulary; a note says what the tokenizer cannot tell."""
        tokenizer, seen, total = self._tokenizer, counts.seen, int(counts.tokens.sum())
        metrics: dict[str, float] = {}
        notes = []
        if tokenizer.unknown_id is not None:
            unknown = seen[tokenizer.unknown_id] if tokenizer.unknown_id < len(seen) else 0
            metrics["unknown_share"] = float(unknown) / total
        elif tokenizer.piece is not None:
            metrics["unknown_share"] = 0.0  # it has no such token
        else:
            notes.append("no unknown_share: this tokenizer does not tell its unknown token")
        parts = {int(token): is_part_of_a_character(tokenizer, int(token)) for token in np.flatnonzero(seen)}
        if None in parts.values():
            notes.append("no byte_fallback_share: this tokenizer can neither spell nor decode its tokens")
        else:
            fallback = sum(int(seen[token]) for token, is_part in parts.items() if is_part)
            metrics["byte_fallback_share"] = fallback / total
        if tokenizer.size is None:
            notes.append("no vocabulary_use: this tokenizer does not tell the size of its vocabulary")
        elif len(seen) > tokenizer.size:
            notes.append(f"no vocabulary_use: token {len(seen) - 1} is beyond its vocabulary of {tokenizer.size:,}")
        else:
            metrics["vocabulary_use"] = len(parts) / tokenizer.size
        return metrics, notes

    def _parity(self, languages: Mapping[str, Sequence[Text]]) -> tuple[dict[str, float], list[str]]:
        (first, texts), *others = languages.items()
        base = count_tokens(self._tokenizer, texts).tokens
        metrics: dict[str, float] = {}
        notes = [f"parity is tokens over those of {first!r}, {_how_many(texts)}"]
        for language, translated in others:
            tokens = count_tokens(self._tokenizer, translated).tokens
            metrics.update(_ratio(language, tokens, base))
            same = _untranslated(texts, translated)
            if same >= _UNTRANSLATED_TO_SAY:
                notes.append(
                    f"{same:.0%} of the text in {language!r} is in lines of {first!r}, which pull parity towards 1"
                )
        return metrics, notes


def _untranslated(texts: Sequence[Text], translated: Sequence[Text]) -> float:
    """Share of the characters of a translation that are in lines of the original.

    Half-translated books are common, and what was left in the first language pulls parity towards 1. So do examples of
    code, which nobody translates.
    """
    same = total = 0
    for one, other in zip(texts, translated, strict=True):
        original = {line.strip() for line in one.text.splitlines()}
        for line in map(str.strip, other.text.splitlines()):
            total += len(line)
            same += len(line) if line in original else 0
    return same / total


def _how_many(texts: Sequence[Text]) -> str:
    return "1 document" if len(texts) == 1 else f"{len(texts):,} documents"


def _ratio(name: str, above: NDArray[np.int64], below: NDArray[np.int64]) -> dict[str, float]:
    value, error = ratio(above.astype(np.float64), below)
    return {name: value} if len(above) < 2 else {name: value, f"{name}_se": error}
