"""Real tokenizers for small texts: good ones, and ones broken in ways that happen."""

from __future__ import annotations

from functools import lru_cache
from itertools import product

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from pretrain_monitor.demo.text import load_text
from pretrain_monitor.probes.tokenization import TokenizationProbe

_VOCABULARY = 4000
_DOCUMENTS, _LONGEST = 40, 6000  # of each domain that is measured, and bytes of each
_TRAINED_ON = 150  # documents of each domain

# Invented weather, for a language that no library documents itself in.
_WHERE = ("На севере", "На юге", "В горах", "У моря", "В столице", "За рекой", "В старом городе")
_WHEN = ("сегодня утром", "завтра вечером", "в середине недели", "к концу месяца", "ночью")
_WHAT = (
    "ожидается сильный ветер",
    "будет ясно и тепло",
    "пойдёт мелкий дождь",
    "возможен туман",
    "выпадет первый снег",
)
_THEN = ("поэтому возьмите зонт", "так что оставайтесь дома", "и дороги станут скользкими", "но к обеду всё пройдёт")


@lru_cache(maxsize=1)
def texts() -> dict[str, list[str]]:
    """Python's library, its documentation, and Russian."""
    found = {
        name: [content[:_LONGEST].decode(errors="ignore") for content in list(domain.train.values())[:_DOCUMENTS]]
        for name, domain in load_text().items()
    }
    sentences = [f"{where} {when} {what}, {then}." for where, when, what, then in product(_WHERE, _WHEN, _WHAT, _THEN)]
    found["russian"] = [" ".join(sentences[start::35]) for start in range(35)]
    return found


@lru_cache(maxsize=1)
def good() -> Tokenizer:
    """Byte-level BPE trained on English and Python."""
    tokenizer = _byte_level(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(_to_train_on("code", "documentation"), trainer)
    return tokenizer


def without_merges() -> Tokenizer:
    """The good one as it comes back from a file whose merges were lost: every byte is a token."""
    return _byte_level(models.BPE(vocab=good().get_vocab(), merges=[]))


def of_words() -> Tokenizer:
    """A vocabulary of whole words of the documentation: what it has never seen is the unknown token."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(vocab_size=3000, show_progress=False, special_tokens=["[UNK]"])
    tokenizer.train_from_iterator(_to_train_on("documentation"), trainer)
    return tokenizer


def measured(tokenizer: Tokenizer, *domains: str) -> TokenizationProbe:
    return TokenizationProbe({domain: texts()[domain] for domain in domains}, tokenizer)


def _byte_level(model: models.BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _to_train_on(*domains: str) -> list[str]:
    text = load_text()
    return [
        content.decode(errors="ignore")
        for domain in domains
        for content in list(text[domain].train.values())[-_TRAINED_ON:]
    ]
