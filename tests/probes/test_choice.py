from __future__ import annotations

import numpy as np
import pytest
import torch

from pretrain_monitor.probes.base import ProbeError
from pretrain_monitor.probes.choice import ChoiceProbe
from pretrain_monitor.probes.language_model import LanguageModel
from pretrain_monitor.probes.questions import Question
from pretrain_monitor.probes.scoring import score
from pretrain_monitor.probes.shared_rows import plain_rows, shared_rows
from pretrain_monitor.probes.tokenizers import Tokenizer
from tests.tiny_models import Successor, TinyGPT, direct_nats, letters, tiny_gpt2, tiny_llama

BYTES = Tokenizer("bytes", lambda texts: [letters(text) for text in texts], prefix_id=0)


def random_questions(seed: int, questions: int, *, trunk: int = 0, longest: int = 10):
    """Tokens of contexts and continuations, an entry for each choice, and the numbers of choices."""
    rng = np.random.default_rng(seed)
    common = rng.integers(0, 256, trunk).tolist()
    contexts, continuations, counts = [], [], []
    for _ in range(questions):
        context = common + rng.integers(0, 256, rng.integers(0 if trunk else 1, longest)).tolist()
        counts.append(int(rng.integers(2, 5)))
        for _ in range(counts[-1]):
            # Choices of one token among them, which are never read.
            contexts.append(context)
            continuations.append(rng.integers(0, 256, rng.integers(1, 6)).tolist())
    return contexts, continuations, counts


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2], ids=["llama", "gpt2"])
@pytest.mark.parametrize("trunk", [0, 40])
def test_shared_rows_cost_what_each_answer_costs_by_itself(make, attention, trunk):
    model = make(attn_implementation=attention)
    contexts, continuations, counts = random_questions(trunk, 12, trunk=trunk)
    rows = shared_rows(contexts, continuations, counts, 0)
    shared = score(LanguageModel(model), rows, len(contexts), batch_tokens=500)
    alone = [direct_nats(model, [*c, *e], first=len(c)) for c, e in zip(contexts, continuations, strict=True)]
    assert shared.nats == pytest.approx(alone, rel=2e-5)
    read = sum(len(row) for row in plain_rows(contexts, continuations, 0))
    assert sum(map(len, rows)) < (0.2 if trunk else 0.75) * read


def test_choices_that_differ_in_their_contexts_share_what_comes_before():
    model = tiny_llama()
    contexts = [[1, 2, 3, 7], [1, 2, 3, 8]]
    continuations = [[5, 6], [5, 6]]
    shared = score(LanguageModel(model), shared_rows(contexts, continuations, [2], 0), 2).nats
    assert shared == pytest.approx(
        [direct_nats(model, [*c, *e], first=4) for c, e in zip(contexts, continuations, strict=True)], rel=2e-5
    )


QUESTIONS = [
    Question("1", "abc", ("de", "xy"), 0),
    Question("2", "mno", ("zz", "pq", "aa"), 1),
    Question("3", "xyz", ("{", "a"), 1),  # the model will say otherwise
]


def test_answers_by_hand():
    result = ChoiceProbe({"next": QUESTIONS}, letters, context_length=16)(Successor())
    assert result["task/next/accuracy"] == pytest.approx(2 / 3)
    assert result["task/next/chance"] == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 3)
    hit, miss = -np.log(9 / 308), -np.log(1 / 308)
    assert result.scores["task/next"].nats == pytest.approx([2 * hit, 2 * hit, miss], rel=1e-6)
    assert result["task/next/gold_bits_per_byte"] == pytest.approx((4 * hit + miss) / 5 / np.log(2), rel=1e-6)
    assert result.scores["task/next"].right.tolist() == [1.0, 1.0, 0.0]


def test_cloze_is_right_when_greedy_decoding_gives_it_and_pairs_when_the_good_sentence_is_likelier():
    cloze = [Question("1", "abc", ("def",), 0), Question("2", "abc", ("dex",), 0)]
    pairs = [Question("1", "", ("abcd", "abdc"), 0), Question("2", "", ("xyz", "zyx"), 1)]
    result = ChoiceProbe({"cloze": cloze, "pairs": pairs}, BYTES, context_length=16)(Successor())
    assert result["task/cloze/accuracy"] == 0.5
    assert result["task/pairs/accuracy"] == 0.5
    assert result["task/pairs/chance"] == 0.5
    assert set(result.scores) == {"task/cloze", "task/pairs"}


@pytest.mark.parametrize("make", [TinyGPT, tiny_llama], ids=["torch", "llama"])
def test_models_with_and_without_masks_give_the_same_answers_as_one_by_one(make):
    torch.manual_seed(0)
    model = make()
    rng = np.random.default_rng(0)
    text = lambda n: bytes(rng.integers(97, 122, n).tolist()).decode()  # noqa: E731
    questions = [Question(str(n), text(20), (text(5), text(3), text(8)), 1) for n in range(10)]
    probe = ChoiceProbe({"q": questions}, letters)
    result = probe(model)
    assert probe._takes_trees is (make is tiny_llama)
    gold = [direct_nats(model, letters(q.context + q.choices[1]), first=20) for q in questions]
    assert result.scores["task/q"].nats == pytest.approx(gold, rel=2e-5)
    assert probe(model) == result


def test_a_model_that_does_not_keep_to_a_mask_is_asked_one_by_one():
    model = tiny_llama()
    forward = model.model.forward
    model.model.forward = lambda *args, attention_mask=None, **kwargs: forward(*args, **kwargs)
    probe = ChoiceProbe({"next": [Question("1", "abcdef", ("gh", "zz"), 0)]}, letters)
    result = probe(model)
    assert probe._takes_trees is False
    assert result.scores["task/next"].nats == pytest.approx([direct_nats(model, letters("abcdefgh"), 6)], rel=2e-5)


def test_another_model_is_tried_by_itself():
    heedless = tiny_llama()
    forward = heedless.model.forward
    heedless.model.forward = lambda *args, attention_mask=None, **kwargs: forward(*args, **kwargs)
    probe = ChoiceProbe({"next": [Question("1", "abcdef", ("gh", "zz"), 0)]}, letters)
    probe(tiny_llama())
    assert probe._takes_trees is True
    result = probe(heedless)
    assert result.scores["task/next"].nats == pytest.approx([direct_nats(heedless, letters("abcdefgh"), 6)], rel=2e-5)


def test_a_window_of_attention_shorter_than_a_question_is_not_overruled_by_a_mask():
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": 256, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}
    model = MistralForCausalLM(MistralConfig(**sizes, **heads, sliding_window=8))
    context = "a context longer than the window"
    probe = ChoiceProbe({"q": [Question("1", context, ("yes", "no"), 0)]}, letters)
    result = probe(model)
    expected = direct_nats(model, letters(context + "yes"), len(context))
    assert result.scores["task/q"].nats == pytest.approx([expected], rel=2e-5)


@pytest.mark.parametrize(
    ("suites", "line"),
    [
        ({}, "needs at least one suite"),
        ("science", "suites is a str: give {name: questions or a file}"),
        ({"a/b": QUESTIONS}, "a name is made of letters"),
        ({"x": "nothing.jsonl"}, r"nothing\.jsonl"),
        (["astrology"], "astrology"),
    ],
)
def test_bad_suites_are_one_clear_line(suites, line):
    with pytest.raises(ProbeError, match=line) as found:
        ChoiceProbe(suites, letters)
    assert "\n" not in str(found.value)


def test_a_limit_that_is_none_is_one_clear_line():
    with pytest.raises(ProbeError, match="limit=0: give a number, 1 or more"):
        ChoiceProbe({"x": QUESTIONS}, letters, limit=0)
