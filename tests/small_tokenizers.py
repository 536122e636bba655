"""Tokenizers small enough to know what they must do, of the kinds that real ones are."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers


def of_words(*words: str) -> Tokenizer:
    """One token a word, cut at spaces; [UNK] is token 0."""
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(("[UNK]", *words))}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return made


def with_fallback_bytes(*letters: str) -> Tokenizer:
    """One token a letter it knows, and the bytes <0x00> to <0xFF> of all others, as Llama 2 spells them."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    made = Tokenizer(
        models.BPE({piece: i for i, piece in enumerate(pieces)}, [], unk_token="<unk>", byte_fallback=True)
    )
    made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return made


def of_bytes(*texts: str, size: int = 300) -> Tokenizer:
    """Byte-level BPE, as GPT-2's, trained on some texts."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False, min_frequency=1)
    made.train_from_iterator(texts, trainer)
    return made


def of_likely_pieces() -> Tokenizer:
    """A unigram model, whose unknown token is known by its number alone."""
    return Tokenizer(models.Unigram([("a", -1.0), ("<unk>", -9.0), ("b", -1.5)], unk_id=1))
