from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pretrain_monitor.probes.base import ProbeError
from pretrain_monitor.probes.perplexity import PerplexityProbe
from pretrain_monitor.probes.tokenizers import Tokenizer
from tests.tiny_models import Successor, TinyGPT, Uniform, direct_nats, letters, tiny_gpt2

WITH_PREFIX = Tokenizer("bytes", lambda texts: [letters(text) for text in texts], prefix_id=0)


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary():
    probe = PerplexityProbe({"text": ["some text", "more"]}, letters, context_length=16)
    result = probe(Uniform(50257))
    assert result["heldout/text/perplexity"] == pytest.approx(50257, rel=1e-12)
    assert result["heldout/text/loss"] == pytest.approx(math.log(50257), rel=1e-14)


def test_bits_per_byte_are_all_nats_over_all_bytes_and_bytes_are_not_characters():
    # 4 characters, 6 bytes; a token each for the prefix to begin after, so that all of them are scored.
    texts = ["héé€"[:4], "ab"]
    sizes = [len(text.encode()) for text in texts]
    assert sizes == [8, 2]
    result = PerplexityProbe({"text": texts}, WITH_PREFIX, context_length=16)(Uniform(256))
    assert result["heldout/text/bits_per_byte"] == pytest.approx(8.0, rel=1e-12)
    assert result.scores["heldout/text"].bytes.tolist() == sizes
    assert result.scores["heldout/text"].tokens.tolist() == sizes


def test_without_a_token_to_begin_after_the_first_one_is_not_scored_and_its_bytes_do_not_count():
    decode = lambda ids: bytes(ids).decode()  # noqa: E731
    tokenizer = Tokenizer("bytes", lambda texts: [letters(text) for text in texts], decode=decode)
    result = PerplexityProbe({"text": ["abc"]}, tokenizer, context_length=16)(Uniform(256))
    assert result.scores["heldout/text"].tokens.tolist() == [2]
    assert result.scores["heldout/text"].bytes.tolist() == [2]
    assert result["heldout/text/bits_per_byte"] == pytest.approx(8.0)


def test_long_and_short_documents_count_by_their_tokens():
    # "abc..." is what the model expects, "zzz" is not.
    hit, miss = -math.log(9 / 308), -math.log(1 / 308)
    result = PerplexityProbe({"text": ["abcdefghi", "zz"]}, letters, context_length=16)(Successor())
    expected = (8 * hit + 1 * miss) / 9
    assert result["heldout/text/loss"] == pytest.approx(expected, rel=1e-6)
    rest = np.array([8 * hit - 8 * expected, miss - expected])
    assert result["heldout/text/loss_se"] == pytest.approx(math.sqrt(2 * (rest**2).sum()) / 9, rel=1e-6)


@pytest.mark.parametrize("settings", [{}, {"stride": 5}, {"stride": 1}, {"windows": "packed"}])
def test_windows_cost_what_they_say(settings):
    torch.manual_seed(0)
    model = TinyGPT(context=16)
    texts = ["a text that is longer than the context of sixteen", "short", "another one of middle size"]
    result = PerplexityProbe({"text": texts}, WITH_PREFIX, **settings)(model)
    streams = [[0, *letters(text)] for text in texts]
    if settings.get("windows") == "packed":
        whole = [token for stream in streams for token in stream]
        skipped = {0, len(streams[0]), len(streams[0]) + len(streams[1])}
        nats = 0.0
        for start in range(0, len(whole) - 1, 16):
            for place in range(start + 1, min(len(whole), start + 17)):
                if place not in skipped:
                    nats += direct_nats(model, whole[start : place + 1], first=place - start)
    else:
        stride = settings.get("stride", 16)
        nats = sum(by_hand(model, stream, 16, stride) for stream in streams)
    assert result.scores["heldout/text"].nats.sum() == pytest.approx(nats, rel=1e-5)
    assert result.notes[0].startswith("documents packed" if "windows" in settings else "documents in windows of 16")


def by_hand(model, stream, context, stride):
    """Each token from the longest past that its window holds."""
    nats, first = 0.0, 1
    while first < len(stream):
        end = min(len(stream), first + (context if first == 1 else stride))
        start = max(0, end - 1 - context)
        nats += sum(direct_nats(model, stream[start : t + 1], first=t - start) for t in range(first, end))
        first = end
    return nats


def test_averages_over_domains_by_hand():
    result = PerplexityProbe({"a": ["abcdefghi"], "z": ["zz"]}, letters, context_length=16)(Successor())
    hit, miss = -math.log(9 / 308), -math.log(1 / 308)
    assert result["heldout/micro/loss"] == pytest.approx((8 * hit + miss) / 9, rel=1e-6)
    assert result["heldout/macro/loss"] == pytest.approx((hit + miss) / 2, rel=1e-6)
    assert result["heldout/macro/perplexity"] == pytest.approx(math.exp((hit + miss) / 2), rel=1e-6)
    assert "heldout/a/loss_se" not in result  # one document has no spread


def test_token_ids_with_labels_score_what_the_labels_say():
    ids = torch.tensor([[1, 2, 3, 9], [1, 2, 0, 0], [5, 6, 7, 8]])
    labels = torch.tensor([[1, 2, -100, 9], [1, 2, -100, -100], [-100] * 4])
    probe = PerplexityProbe({"tokens": {"input_ids": ids, "labels": labels}}, context_length=8)
    result = probe(Successor())
    hit, miss = -math.log(9 / 308), -math.log(1 / 308)
    assert result.scores["heldout/tokens"].nats == pytest.approx([hit + miss, hit], rel=1e-6)
    assert result.scores["heldout/tokens"].tokens.tolist() == [2, 1]
    assert "heldout/tokens/bits_per_byte" not in result  # nobody knows the bytes
    assert any("1 documents without a token to score" in note for note in result.notes)


def test_a_tokenizer_gives_token_ids_their_bytes():
    tokenizer = Tokenizer("bytes", lambda texts: [], decode=lambda ids: bytes(ids).decode())
    result = PerplexityProbe({"tokens": [letters("héllo")]}, tokenizer, context_length=8)(Uniform(256))
    assert result.scores["heldout/tokens"].bytes.tolist() == [5]  # 6, the first of which is not scored
    assert result["heldout/tokens/bits_per_byte"] == pytest.approx(8.0)


@pytest.mark.parametrize("given", [[[5]], torch.tensor([[1], [2]]), {"input_ids": [[1, 2]], "labels": [[1, -100]]}])
def test_documents_without_anything_to_score_are_one_clear_line(given):
    with pytest.raises(ProbeError, match=r"domain 'x': none of its \d documents? has|domain 'x': none of its"):
        PerplexityProbe({"x": given}, context_length=8)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"domains": {}}, "needs at least one domain"),
        ({"domains": {"micro": ["text"]}}, "'micro': that is the name of an average"),
        ({"domains": {"a/b": ["text"]}}, "a name is made of letters"),
        ({"windows": "rolling"}, "windows='rolling': give strided or packed"),
        ({"stride": 9}, "stride=9: no window scores more than the 8 tokens that it reads"),
        ({"stride": 2, "windows": "packed"}, "stride is for strided windows"),
        ({"batch_tokens": 0}, "batch_tokens=0: give a number of tokens, 1 or more"),
        ({"context_length": 2.5}, "context_length=2.5: give a number of tokens"),
        ({"tokenizer": None}, "give the tokenizer that turns its texts"),
        ({"domains": {"x": [[1.5, 2.5]]}}, "domain 'x'"),
    ],
)
def test_bad_settings_are_one_clear_line(settings, line):
    given = {"domains": {"x": ["some text"]}, "tokenizer": letters, "context_length": 8, **settings}
    with pytest.raises(ProbeError, match=line) as found:
        PerplexityProbe(**given)
    assert "\n" not in str(found.value)


def test_a_tokenizer_of_another_model_is_one_clear_line():
    probe = PerplexityProbe({"x": ["text"]}, lambda text: [ord(c) + 1000 for c in text])
    with pytest.raises(ProbeError, match=r"the tokenizer gives token \d+, the model knows 256"):
        probe(tiny_gpt2())


def test_the_same_documents_have_the_same_key_and_others_another():
    def key(texts, **settings):
        return PerplexityProbe({"x": texts}, letters, **settings)(TinyGPT()).scores["heldout/x"].key

    assert key(["one", "two"]) == key(["one", "two"])
    assert key(["one", "two"]) != key(["one", "too"])
    assert key(["one", "two"]) != key(["one", "two"], context_length=8)


@pytest.mark.parametrize("domains", [["some text"], "texts.txt"])
def test_domains_have_names(domains):
    with pytest.raises(ProbeError, match="texts, files or token ids"):
        PerplexityProbe(domains, letters)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (torch.tensor(3), "a list of documents or a 2-D tensor, got Tensor"),
        ({"input_ids": None}, "a list of documents or a 2-D tensor, got NoneType"),
        (torch.zeros(2, 2, 2, dtype=torch.long), "got rows of int64 in 2 dimensions"),
        ({"input_ids": [[1, 2], [3, 4]], "labels": [[1, 2]]}, "must have the same shape"),
        ({"input_ids": [[1, 2], [3, 4]], "attention_mask": [[1, 1]]}, "must have the same shape"),
    ],
)
def test_token_ids_in_another_form_are_told_in_one_line(given, line):
    with pytest.raises(ProbeError, match=line):
        PerplexityProbe({"text": given})


def test_a_token_held_for_impossible_makes_an_infinite_loss_and_no_warning():
    class Sure(TinyGPT):
        def forward(self, input_ids):
            logits = super().forward(input_ids)
            logits[..., 98:] = -math.inf
            return logits

    result = PerplexityProbe({"text": ["aaa", "zzz"]}, letters)(Sure())
    assert result["heldout/text/loss"] == math.inf
