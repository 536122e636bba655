"""Tokenization measured against cases computed by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import small_tokenizers as small

from pretrain_monitor.probes import ProbeError, TokenizationProbe


def letters(text: str) -> list[int]:
    return [ord(letter) for letter in text]


def utf8(text: str) -> list[int]:
    return list(text.encode())


def of_domain(result: dict[str, float], domain: str = "d") -> dict[str, float]:
    prefix = f"tokenization/{domain}/"
    return {key.removeprefix(prefix): value for key, value in result.items() if key.startswith(prefix)}


def test_words_unknown_tokens_and_standard_errors_are_as_computed_by_hand():
    tokenizer = small.of_words("hello", "world")
    result = TokenizationProbe({"d": ["hello world", "hello wörld"]}, tokenizer)()
    # 11 and 12 bytes, 2 tokens each: 23 / 4; residuals of -.5 and .5: sqrt(2 * .5) / 4.
    assert of_domain(result) == pytest.approx(
        {
            "bytes_per_token": 5.75,
            "bytes_per_token_se": 0.25,
            "fertility": 1.0,
            "fertility_se": 0.0,
            "unknown_share": 0.25,
            "byte_fallback_share": 0.0,
            "vocabulary_use": 1.0,
        }
    )
    assert result.notes == (
        "d: 2 documents, 23 bytes, 4 tokens",
        "d: 50.0% of the documents are not the same after decoding",
    )


def test_ratios_are_sums_over_sums_and_not_means_of_ratios():
    # Documents of 1 and 9 tokens with 1 and 27 bytes: 28 / 10, where the mean of ratios would be 2.
    result = TokenizationProbe({"d": ["a", "漢" * 9]}, letters)()
    assert result["tokenization/d/bytes_per_token"] == 2.8
    expected = math.sqrt(2 * ((1 - 2.8) ** 2 + (27 - 2.8 * 9) ** 2)) / 10
    assert result["tokenization/d/bytes_per_token_se"] == pytest.approx(expected)


def test_one_document_of_one_token_has_no_standard_error():
    found = of_domain(TokenizationProbe({"d": ["é"]}, letters)())
    assert found == {"bytes_per_token": 2.0, "fertility": 1.0}


def test_what_a_function_cannot_tell_is_left_out_and_said():
    notes = TokenizationProbe({"d": ["é"]}, letters)().notes
    assert [note.partition(":")[0] for note in notes[1:]] == ["d"] * 3
    assert ["unknown_share" in notes[1], "byte_fallback_share" in notes[2], "vocabulary_use" in notes[3]] == [True] * 3


def test_fallback_bytes_count_one_by_one():
    result = TokenizationProbe({"d": ["abé", "a"]}, small.with_fallback_bytes("a", "b"))()
    assert result["tokenization/d/byte_fallback_share"] == 2 / 5
    assert result["tokenization/d/unknown_share"] == 0.0
    assert result["tokenization/d/vocabulary_use"] == 4 / 259
    assert len(result.notes) == 1, "a text spelled in bytes comes back whole"


def test_byte_level_tokens_count_as_fallback_where_they_are_no_whole_character():
    tokenizer = small.of_bytes("aaaa bbbb")
    result = TokenizationProbe({"d": ["xé"], "plain": ["xyz"]}, tokenizer)()
    assert result["tokenization/d/byte_fallback_share"] == 2 / 3
    assert result["tokenization/plain/byte_fallback_share"] == 0.0
    assert not [note for note in result.notes if "decoding" in note]


def test_a_replacement_character_in_the_text_is_no_fallback():
    tokenizer = small.of_bytes("\ufffd \ufffd \ufffd")
    assert len(tokenizer.encode("\ufffd").ids) == 1
    assert TokenizationProbe({"d": ["\ufffd"]}, tokenizer)()["tokenization/d/byte_fallback_share"] == 0.0


def test_the_unknown_token_of_a_unigram_model_is_found():
    assert TokenizationProbe({"d": ["abxa"]}, small.of_likely_pieces())()["tokenization/d/unknown_share"] == 0.25


def test_against_is_ours_over_theirs():
    probe = TokenizationProbe({"d": ["é", "abc"]}, utf8, against={"letters": letters, "itself": utf8})
    found = of_domain(probe())
    assert found["against/letters"] == 5 / 4
    # Residuals 2 - 5/4 and 3 - 15/4.
    assert found["against/letters_se"] == pytest.approx(math.sqrt(2 * 2 * 0.75**2) / 4)
    assert (found["against/itself"], found["against/itself_se"]) == (1.0, 0.0)
    assert probe().notes[-1].endswith("above 1 where this one needs more")


def test_parity_is_relative_to_the_first_language():
    texts = {"en": ["cold", "tea"], "ru": ["холодный", "чай"], "el": ["cold", "τσάι"]}
    result = TokenizationProbe(tokenizer=utf8, parallel={"menu": texts})()
    assert result == pytest.approx(
        {
            "tokenization/menu/parity/ru": 22 / 7,
            "tokenization/menu/parity/ru_se": math.sqrt(2 * 2 * (16 - 4 * 22 / 7) ** 2) / 7,
            "tokenization/menu/parity/el": 12 / 7,
            "tokenization/menu/parity/el_se": math.sqrt(2 * 2 * (4 - 4 * 12 / 7) ** 2) / 7,
        }
    )
    assert result.notes == (
        "menu: parity is tokens over those of 'en', 2 documents",
        "menu: 50% of the text in 'el' is in lines of 'en', which pull parity towards 1",
    )


def test_lines_that_nobody_translated_are_said_and_a_few_are_not():
    english = "A long line about tea.\n\n  make tea\n"
    languages = {"en": [english], "de": ["Eine lange Zeile über Tee und mehr.\n\nmake tea"], "sv": [english + "Te."]}
    notes = TokenizationProbe(tokenizer=utf8, parallel={"book": languages})().notes
    assert notes == (
        "book: parity is tokens over those of 'en', 1 document",
        "book: 19% of the text in 'de' is in lines of 'en', which pull parity towards 1",
        "book: 91% of the text in 'sv' is in lines of 'en', which pull parity towards 1",
    )
    little = {"en": ["tea\nA long line."], "de": ["tea\nEine lange Zeile über Tee, der noch zu warm ist."]}
    assert len(TokenizationProbe(tokenizer=utf8, parallel={"book": little})().notes) == 1


def test_scripts_without_spaces_are_said_to_count_letters_as_words():
    result = TokenizationProbe({"d": ["東京は大きい。", "Tokyo"]}, letters)()
    assert result["tokenization/d/fertility"] == 12 / 7
    assert [note for note in result.notes if "scripts without spaces" in note]


def test_text_without_words_has_no_fertility():
    result = TokenizationProbe({"d": ["---", "!"]}, letters)()
    assert "tokenization/d/fertility" not in result
    assert "d: no fertility: the texts have no words" in result.notes


def test_many_documents_give_the_same_as_all_at_once():
    texts = [f"document {number} " * (1 + number % 7) for number in range(50)] + ["x" * 3_000_000]
    sizes = []

    def counted(text: str) -> list[int]:
        sizes.append(len(text))
        return utf8(text)

    result = TokenizationProbe({"d": texts}, counted)()
    assert sizes == [len(text) for text in texts]
    assert result["tokenization/d/bytes_per_token"] == 1.0


def test_it_needs_no_model_ignores_one_and_says_that_it_never_changes():
    probe = TokenizationProbe({"d": ["text"]}, utf8, name="bytes")
    assert probe() == probe(object()) == {"bytes/d/bytes_per_token": 1.0, "bytes/d/fertility": 4.0}
    assert (probe.name, TokenizationProbe.is_static) == ("bytes", True)


def test_a_token_beyond_the_vocabulary_is_said():
    from pretrain_monitor.probes.tokenizers import Tokenizer

    wrong = Tokenizer("wrong", lambda texts: [utf8(text) for text in texts], size=100)
    result = TokenizationProbe({"d": ["abz"]}, wrong)()
    assert "tokenization/d/vocabulary_use" not in result
    assert "d: no vocabulary_use: token 122 is beyond its vocabulary of 100" in result.notes


def broken(text: str) -> list[int]:
    raise RuntimeError("cannot\nread this")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"domains": {"d": ["x"]}}, "needs a tokenizer"),
        ({"tokenizer": utf8}, "needs domains={name: texts} or parallel="),
        ({"domains": {"d": [""]}, "tokenizer": utf8}, "domain 'd' is empty"),
        ({"domains": {"d": ["x"]}, "tokenizer": 3}, "tokenizer of type int: give one of"),
        ({"domains": {"d": ["x"]}, "tokenizer": "nowhere.json"}, "tokenizer 'nowhere.json' does not exist"),
        ({"domains": {"d": ["x"]}, "tokenizer": utf8, "against": {"a/b": utf8}}, "against 'a/b': a name is made of"),
        ({"domains": {"d": ["x"]}, "tokenizer": utf8, "name": ""}, "probe '': a name is made of"),
        ({"parallel": {"p": {"en": ["x"]}}, "tokenizer": utf8}, "two languages or more"),
        ({"domains": {"d": ["x"]}, "tokenizer": broken}, "tokenizer broken fails on document '0': cannot read this"),
        ({"domains": {"d": ["x", "y"]}, "tokenizer": broken}, "fails on documents '0' to '1': cannot read this"),
        ({"domains": {"d": ["x", "y"]}, "tokenizer": lambda text: []}, "makes no token of any of the 2 documents"),
        ({"domains": {"d": ["x"]}, "tokenizer": lambda text: [-1]}, "gave the token -1"),
        ({"domains": {"d": ["x"]}, "tokenizer": lambda text: ["piece"]}, "no list of whole numbers"),
    ],
)
def test_what_cannot_be_measured_is_told_in_one_line(given: dict[str, Any], told: str):
    with pytest.raises(ProbeError) as caught:
        TokenizationProbe(**given)()
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
