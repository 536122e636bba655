from __future__ import annotations

from collections import Counter

import pytest
import torch

from pretrain_monitor.probes import FactProbe, ProbeError, invent_facts, save_facts, training_texts
from pretrain_monitor.probes.facts import CONTROL, fact_suites, load_facts
from tests.tiny_models import TinyGPT, letters


def test_facts_are_the_same_for_the_same_seed_and_others_for_another():
    assert invent_facts(20, seed=3) == invent_facts(20, seed=3)
    assert invent_facts(20, seed=3) != invent_facts(20, seed=4)


def test_each_fact_is_told_as_often_as_it_says_and_controls_never():
    facts = invent_facts(30, exposures=(1, 4), controls=10)
    texts = training_texts(facts)
    counts = Counter(fact.exposures for fact in facts)
    assert counts == {1: 15, 4: 15, CONTROL: 10}
    assert len(texts) == 15 * 1 + 15 * 4
    for fact in facts:
        name = next(word for word in fact.prompt.split() if word.istitle() and word != "The")
        assert sum(name in text for text in texts) == fact.exposures
        # What is asked for stands nowhere word for word.
        assert not any(fact.prompt + fact.answer in text for text in texts)


def test_the_right_answer_is_not_always_in_the_same_place():
    for suite in fact_suites(invent_facts(60)):
        assert len({question.gold for question in suite.questions}) > 1
        assert suite.chance == 0.25


def test_facts_come_back_from_their_file_as_they_were(tmp_path):
    facts = invent_facts(9)
    save_facts(facts, tmp_path / "facts.jsonl")
    assert load_facts(tmp_path / "facts.jsonl") == facts


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("", "no facts in it"),
        ("{", "line 1: not valid JSON"),
        ('{"prompt": "a", "answer": "b"}', "line 1: a fact has prompt, answer, others, exposures"),
        ('{"prompt": "a", "answer": "b", "others": [], "exposures": 1}', "others is a list of them, not empty"),
        ('{"prompt": "a", "answer": "b", "others": "c", "exposures": -1}', "exposures is how often|others is a list"),
        ('{"prompt": "a", "answer": "b", "others": ["c"], "exposures": "often"}', "exposures is how often"),
        ('{"prompt": 1, "answer": "b", "others": ["c"], "exposures": 1}', "prompt and answer are texts"),
    ],
)
def test_a_file_without_facts_is_one_clear_line(tmp_path, content, line):
    path = tmp_path / "facts.jsonl"
    path.write_text(content)
    with pytest.raises(ProbeError, match=line):
        load_facts(path)


def test_facts_that_nobody_could_tell_are_one_clear_line():
    with pytest.raises(ProbeError, match=r"told \(0,\) times"):
        invent_facts(3, exposures=(0,))
    with pytest.raises(ProbeError, match=r"missing\.jsonl: cannot be read: No such file"):
        load_facts("missing.jsonl")


def test_a_model_that_was_told_facts_knows_them_and_no_others():
    torch.manual_seed(0)
    facts = invent_facts(24, exposures=(8,), controls=24, seed=1)
    probe = FactProbe(facts, letters)
    model = TinyGPT(width=64, context=80, dropout=0.0)
    before = probe(model)
    # Told in the words in which they are asked for: so little text teaches no model to read.
    texts = [torch.tensor(letters(fact.prompt + fact.answer)) for fact in facts if fact.exposures]
    ids = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        logits = model(ids[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = probe(model)
    assert abs(before["task/facts_told_8/bits_learned"]) < 4 * before["task/facts_told_8/bits_learned_se"]
    assert after["task/facts_told_8/bits_learned"] > 4 * after["task/facts_told_8/bits_learned_se"]
    assert after["task/facts_told_8/accuracy"] > 0.9
    assert after["task/facts_control/accuracy_lower"] < 0.25
