"""Tokenizers of the kinds that people have, and out of the files that they come in."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import small_tokenizers as small
from transformers import PreTrainedTokenizerFast

from pretrain_monitor.probes.base import ProbeError
from pretrain_monitor.probes.tokenizer_files import load_tokenizer
from pretrain_monitor.probes.tokenizers import as_tokenizer


def told(given: Any) -> str:
    with pytest.raises(ProbeError) as caught:
        load_tokenizer(given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_tokenizer_of_tokenizers_spells_decodes_and_knows_its_unknown():
    made = as_tokenizer(small.of_words("<|endoftext|>", "word"))
    assert made.encode("word what") == [2, 0]
    assert made.decode is not None
    assert made.piece is not None
    assert (made.decode([2]), made.piece(2), made.size, made.unknown_id, made.prefix_id) == ("word", "word", 3, 0, 1)


def test_cutting_and_padding_kept_in_a_tokenizer_are_put_aside_and_left_to_its_owner():
    owned = small.of_words("word")
    owned.enable_truncation(2)
    owned.enable_padding(length=4)
    assert as_tokenizer(owned).encode_all(["word word word", "word"]) == [[1, 1, 1], [1]]
    assert len(owned.encode("word word word").ids) == 4


def test_the_size_is_beyond_the_largest_id_even_where_ids_have_gaps():
    gaps = type(small.of_words()).from_str(small.of_words("word").to_str().replace('"word":1', '"word":9'))
    assert gaps.get_vocab_size() == 2
    assert as_tokenizer(gaps).size == 10


def test_a_transformers_directory_gives_the_same_as_its_tokenizer(tmp_path: Path):
    inner = small.of_bytes("some words and some more words")
    given = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", model_max_length=4)
    given.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    texts = ["some words, " * 9, "é"]
    assert loaded.encode_all(texts) == [inner.encode(text).ids for text in texts]
    assert loaded.encode_all([]) == []
    assert loaded.name == tmp_path.name
    assert loaded.decode is not None
    assert [loaded.decode(loaded.encode(text)) for text in texts] == texts
    assert loaded.prefix_id == given.bos_token_id == inner.get_vocab_size()
    assert loaded.size == inner.get_vocab_size() + 1
    assert as_tokenizer(str(tmp_path)).encode("words") == loaded.encode("words")


def test_a_tokenizer_json_is_read_and_named(tmp_path: Path):
    for name in ("tokenizer.json", "mine.json"):
        small.of_words("word").save(str(tmp_path / name))
    assert load_tokenizer(tmp_path / "tokenizer.json").encode("word") == [1]
    assert load_tokenizer(tmp_path / "tokenizer.json").name == tmp_path.name
    assert load_tokenizer(str(tmp_path / "mine.json")).name == "mine.json"


def test_files_that_hold_no_tokenizer_are_told(tmp_path: Path):
    assert "does not exist; give the path of tokenizer.json" in told(tmp_path / "nowhere.json")
    assert "holds no tokenizer; give one with tokenizer.json in it" in told(tmp_path)
    (tmp_path / "vocab.json").write_text('{"model": 3}')
    assert "for vocab.json with merges.txt give their directory" in told(tmp_path / "vocab.json")
    (tmp_path / "cut.json").write_text('{"model": {')
    assert "cut.json' cannot be read: Expecting" in told(tmp_path / "cut.json")
    (tmp_path / "new.json").write_text('{"model": {"type": "Telepathy"}}')
    assert "new.json' cannot be read" in told(tmp_path / "new.json")
    (tmp_path / "tokenizer.zip").write_bytes(b"")
    assert "its ending is not known" in told(tmp_path / "tokenizer.zip")
    (tmp_path / "o200k_base.tiktoken").write_bytes(b"")
    assert "does not say how text is cut before merging" in told(tmp_path / "o200k_base.tiktoken")


@pytest.mark.parametrize(
    ("file", "package"),
    [
        ("tokenizer.json", "tokenizers"),
        ("a.model", "sentencepiece"),
        ("cl100k_base.tiktoken", "tiktoken"),
        ("a.gguf", "gguf"),
    ],
)
def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, package: str):
    (tmp_path / file).write_text('{"model": {}}')
    monkeypatch.setitem(sys.modules, package, None)
    assert told(tmp_path / file) == f"reading {file} needs {package}: pip install {package}"


def test_a_package_that_is_there_and_broken_is_not_called_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "sentencepiece.py").write_text("import no_such_module")
    (tmp_path / "a.model").write_bytes(b"")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sentencepiece", raising=False)
    assert "(importing it fails: No module named 'no_such_module')" in told(tmp_path / "a.model")


@pytest.mark.parametrize("found", [None, ["piece"], {"input_ids": [1]}, [1.5]])
def test_a_function_that_gives_no_token_ids_is_told_so(found: Any):
    with pytest.raises(ProbeError, match="that is no list of whole numbers"):
        as_tokenizer(lambda text: found).encode("x")
