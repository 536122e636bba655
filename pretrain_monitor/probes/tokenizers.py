"""One face for the tokenizers that people have: transformers, tokenizers, tiktoken, sentencepiece, or a function."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Sequence
from typing import Any

from .base import ProbeError


class Tokenizer:
    """Text to token ids and back, without special tokens.

    >>> letters = as_tokenizer(lambda text: list(text.encode()))
    >>> letters.encode("hé")
    [104, 195, 169]

    Args:
        name: for people.
        encode: of a list of texts at once, which those written in Rust share among the cores.
        decode: back to text; None if it cannot. Bytes that are no whole character become U+FFFD.
        prefix_id: token that a document begins after, as in pre-training: its beginning or end of text.
        size: one more than the largest id; None if nobody knows.
        piece: how a token is spelled in the vocabulary; None if nobody knows.
        unknown_id: token of what it cannot spell, None if it has none.
    """

    def __init__(
        self,
        name: str,
        encode: Callable[[Sequence[str]], list[list[int]]],
        *,
        decode: Callable[[Sequence[int]], str] | None = None,
        prefix_id: int | None = None,
        size: int | None = None,
        piece: Callable[[int], str | None] | None = None,
        unknown_id: int | None = None,
    ) -> None:
        self.name = name
        self.encode_all = encode
        self.decode = decode
        self.prefix_id = prefix_id
        self.size = size
        self.piece = piece
        self.unknown_id = unknown_id

    def encode(self, text: str) -> list[int]:
        return self.encode_all([text])[0]


def as_tokenizer(given: Any) -> Tokenizer:
    """A tokenizer of any of the known kinds.

    Args:
        given: a tokenizer of transformers, tokenizers, tiktoken or sentencepiece, a path that ``load_tokenizer`` reads,
            such as a ``tokenizer.json`` or a model directory, a function from text to ids, or a ``Tokenizer``.

    Raises:
        ProbeError: none of these.
    """
    if isinstance(given, Tokenizer):
        return given
    module = type(given).__module__.partition(".")[0]
    for known, adapt in (
        ("tokenizers", _of_tokenizers),
        ("tiktoken", _of_tiktoken),
        ("sentencepiece", _of_sentencepiece),
    ):
        if module == known:
            return adapt(given)
    if hasattr(given, "convert_ids_to_tokens") and callable(given):
        return _of_transformers(given)
    if isinstance(given, str) or hasattr(given, "__fspath__"):
        from .tokenizer_files import load_tokenizer

        return load_tokenizer(given)
    if callable(given):
        name = getattr(given, "__name__", type(given).__name__)
        return Tokenizer(name, lambda texts: [_as_ids(given(text), name) for text in texts])
    raise ProbeError(
        f"tokenizer of type {type(given).__name__}: give one of transformers, tokenizers, tiktoken or sentencepiece, "
        "the path of a tokenizer.json or of a model directory, or a function from text to token ids"
    )


def _as_ids(found: Any, name: str) -> list[int]:
    try:
        return [operator.index(token) for token in found]
    except TypeError:
        raise ProbeError(
            f"tokenizer {name} gives {type(found).__name__} that is no list of whole numbers: a function takes a text "
            "and returns its token ids"
        ) from None


def _of_transformers(given: Any) -> Tokenizer:
    def encode(texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        # verbose: it would warn of texts longer than the model's context, which are cut into windows later.
        found = given(
            list(texts), add_special_tokens=False, return_attention_mask=False, truncation=False, verbose=False
        )
        return list(found["input_ids"])

    prefix = given.bos_token_id if given.bos_token_id is not None else given.eos_token_id
    return Tokenizer(
        getattr(given, "name_or_path", "") or type(given).__name__,
        encode,
        decode=lambda ids: str(given.decode(list(ids), clean_up_tokenization_spaces=False)),
        prefix_id=prefix,
        size=_one_more(given.get_vocab()),
        piece=given.convert_ids_to_tokens,
        unknown_id=given.unk_token_id,
    )


def _of_tokenizers(given: Any) -> Tokenizer:
    if given.truncation is not None or given.padding is not None:
        # A tokenizer.json keeps how its last user cut and padded; and the caller's own is not ours to change.
        given = type(given).from_str(given.to_str())
        given.no_truncation()
        given.no_padding()
    known = [
        given.token_to_id(token) for token in ("<s>", "<|begin_of_text|>", "<bos>", "<|endoftext|>", "</s>", "<eos>")
    ]
    unknown = getattr(given.model, "unk_token", None)
    return Tokenizer(
        "tokenizers",
        lambda texts: [one.ids for one in given.encode_batch_fast(list(texts), add_special_tokens=False)],
        decode=lambda ids: str(given.decode(list(ids), skip_special_tokens=False)),
        prefix_id=next((token for token in known if token is not None), None),
        size=_one_more(given.get_vocab(with_added_tokens=True)),
        piece=given.id_to_token,
        unknown_id=_unknown_of_unigram(given) if unknown is None else given.token_to_id(unknown),
    )


def _unknown_of_unigram(given: Any) -> int | None:
    if type(given.model).__name__ != "Unigram":
        return None
    # This model knows its unknown token by number, and says so nowhere else.
    unknown = json.loads(given.to_str())["model"].get("unk_id")
    return None if unknown is None else int(unknown)


def _of_tiktoken(given: Any) -> Tokenizer:
    def piece(token: int) -> str | None:
        try:
            return str(given.decode_single_token_bytes(token).decode("utf-8", "backslashreplace"))
        except KeyError:
            return None

    try:
        end = given.eot_token
    except KeyError:  # one without special tokens
        end = None
    return Tokenizer(
        given.name,
        lambda texts: given.encode_ordinary_batch(list(texts)),
        decode=given.decode,
        prefix_id=end,
        size=given.n_vocab,
        piece=piece,
    )


def _of_sentencepiece(given: Any) -> Tokenizer:
    begin, end = given.bos_id(), given.eos_id()
    return Tokenizer(
        "sentencepiece",
        lambda texts: given.encode(list(texts), out_type=int, add_bos=False, add_eos=False),
        decode=lambda ids: str(given.decode(list(ids))),
        prefix_id=begin if begin >= 0 else end if end >= 0 else None,
        size=given.get_piece_size(),
        piece=given.id_to_piece,
        unknown_id=given.unk_id() if given.unk_id() >= 0 else None,
    )


def _one_more(vocabulary: dict[str, int]) -> int:
    """One more than the largest id, which the number of entries is not where ids have gaps."""
    return max(vocabulary.values(), default=-1) + 1
