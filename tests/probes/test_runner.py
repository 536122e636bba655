from __future__ import annotations

import json
import logging
import random
import time

import numpy as np
import pytest
import torch

from pretrain_monitor import read_run
from pretrain_monitor.callbacks.loop import LoopMonitor
from pretrain_monitor.config import ConfigError
from pretrain_monitor.probes import ChoiceProbe, Fact, FactProbe, PerplexityProbe, ProbeResult, Scheduled
from pretrain_monitor.probes.tokenizers import Tokenizer
from tests.probes.watched_loops import QUIET, records, rounds, train
from tests.tiny_models import TinyGPT, letters

BYTES = Tokenizer("bytes", lambda texts: [letters(text) for text in texts], prefix_id=0)
FACTS = [Fact(str(n), ("a told b",), "a tells", " b", (" c",), n) for n in (0, 3)]
PAIR = [{"good": "a b", "bad": "b a"}]
TEXTS = {"one": ["some text", "another"], "two": ["words", "and more of them"]}


def a_probe(**settings):
    return PerplexityProbe(TEXTS, BYTES, **settings)


class Noisy:
    """Draws from every random generator that there is, and leaves the model in training mode."""

    name = "noisy"

    def __call__(self, model):
        torch.rand(5), np.random.rand(5), random.random()
        model.train()
        torch.set_grad_enabled(True)
        model(torch.tensor([[1, 2, 3]])).sum()
        return {"value": 1.0}


class Failing:
    name = "failing"

    def __init__(self, error: Exception) -> None:
        self.error, self.calls = error, 0

    def __call__(self, model):
        self.calls += 1
        raise self.error


def test_a_round_is_a_sample_of_its_step_behind_the_training_sample(tmp_path):
    train(25, tmp_path, [a_probe()])
    steps = [(s.step, "loss" in s.metrics) for s in read_run(tmp_path)]
    assert [pair for pair in steps if not pair[1]] == [(10, False), (20, False)]
    assert steps.index((10, False)) == steps.index((10, True)) + 1
    first, _ = [s for s in read_run(tmp_path) if "loss" not in s.metrics]
    assert {"heldout/one/perplexity", "heldout/two/bits_per_byte", "heldout/macro/loss"} <= first.metrics.keys()
    assert first.tokens_seen == 10 * 8 * 16
    assert first.meta["probes"]["each"]["heldout"]["seconds"] >= 0
    kept = [record for record in records(tmp_path) if record["type"] == "probe"]
    assert [record["step"] for record in kept] == [10, 20]
    nats = kept[0]["scores"]["heldout/one"]["nats"]
    assert sum(nats) / 16 == pytest.approx(first.metrics["heldout/one/loss"], abs=1e-6)


def test_training_with_probes_is_bitwise_the_training_without(tmp_path):
    every = {"at_start": True, "early": True, "at_end": True}
    plain = train(200, None, [])
    assert train(200, tmp_path, [a_probe(), Noisy()], schedule=every) == plain
    assert len(rounds(tmp_path)) == 1 + 4 + 20


def test_a_probe_of_ones_own_needs_a_name_and_a_call_only(tmp_path):
    class Norm:
        name = "norm"

        def __call__(self, model):
            return {"norm/weights": sum(float(p.norm()) for p in model.parameters()), "loss": 3.0}

    train(10, tmp_path, [Norm()])
    *_, last = read_run(tmp_path)
    # Nothing of it is taken for a signal of the training.
    assert set(last.metrics) == {"probe/norm/weights", "probe/norm/loss"}


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"at_start": True}, [(0, "start"), (10, "regular"), (20, "regular")]),
        ({"early": True}, [(1, "early"), (2, "early"), (4, "early"), (8, "early"), (10, "regular"), (20, "regular")]),
        ({"at_end": True}, [(10, "regular"), (20, "regular"), (23, "end")]),
        ({"every_steps": 23, "at_end": True}, [(23, "regular")]),
        ({"every_steps": None, "every_tokens": 8 * 16 * 9.0}, [(9, "regular"), (18, "regular")]),
        ({"every_steps": 100}, []),
    ],
)
def test_rounds_come_when_the_schedule_says(tmp_path, schedule, expected):
    train(23, tmp_path, [a_probe()], schedule=schedule)
    assert rounds(tmp_path) == expected


def test_a_checkpoint_is_measured_once_and_at_its_own_step(tmp_path):
    def save(monitor, step):
        if step in (7, 10):
            monitor.checkpointed()

    train(12, tmp_path, [a_probe()], after=save)
    assert rounds(tmp_path) == [(7, "checkpoint"), (10, "regular")]


def test_a_probe_can_have_an_interval_of_its_own(tmp_path):
    train(24, tmp_path, [Scheduled(a_probe(name="rare"), every_steps=12), a_probe()], schedule={"at_end": True})
    each = [
        (record["step"], *record["meta"]["probes"]["each"])
        for record in records(tmp_path)
        if record["type"] == "sample" and "probes" in record.get("meta", {})
    ]
    # At the end all of them run, but none twice.
    assert each == [(10, "heldout"), (12, "rare"), (20, "heldout"), (24, "rare"), (24, "heldout")]


def test_once_a_spike_is_over_a_round_says_whether_it_did_harm(tmp_path):
    def spike(step, loss):
        return loss * 3 if 300 <= step < 306 else loss

    train(600, tmp_path, [a_probe()], schedule={"every_steps": 1000, "after_incidents": True}, change_loss=spike)
    (found,) = rounds(tmp_path)
    assert found[1] == "incident"
    closed = [r["step"] for r in records(tmp_path) if r["type"] == "event" and r["change"] == "closed"]
    assert found[0] == closed[0]


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2"), KeyError("x"), SystemError(), ValueError("a\nb")])
def test_a_probe_that_fails_is_told_once_and_switched_off_and_training_goes_on(tmp_path, caplog, error):
    failing = Failing(error)
    with caplog.at_level(logging.WARNING):
        assert train(25, tmp_path, [failing, a_probe()]) == train(25, None, [])
    assert failing.calls == 1
    lines = [r.getMessage() for r in caplog.records if "failing" in r.getMessage()]
    assert len(lines) == 1
    assert "probe failing at step 10: " in lines[0]
    assert "switched off, training goes on" in lines[0]
    assert "\n" not in lines[0]
    assert [step for step, _ in rounds(tmp_path)] == [10, 20]


def test_results_that_are_no_numbers_are_a_failure_like_any_other(tmp_path, caplog):
    class Wordy:
        name = "wordy"

        def __call__(self, model):
            return {"value": "high"}

    train(12, tmp_path, [Wordy()])
    assert "probe wordy at step 10: a probe returns numbers, and 'value' is 'high'" in caplog.text


def test_when_rounds_take_too_long_they_come_less_often_and_that_is_said_once(tmp_path, caplog):
    class Slow:
        name = "slow"

        def __call__(self, model):
            time.sleep(0.2)
            return {"value": 1.0}

    # A step takes some milliseconds: at a tenth of the time a round needs two seconds of training.
    train(200, tmp_path, [Slow()], schedule={"budget_percent": 10.0, "at_start": True})
    told = [r.getMessage() for r in caplog.records if "a round of probes takes" in r.getMessage()]
    assert told
    assert "to stay below 10 % of the training time" in told[0]
    assert "instead of every 10" in told[0]
    assert len(rounds(tmp_path)) < 10


def test_a_resumed_run_goes_on_comparing_and_has_no_second_baseline(tmp_path):
    train(30, tmp_path, [a_probe()], schedule={"at_start": True})
    train(50, tmp_path, [a_probe()], schedule={"at_start": True}, start_step=25)
    kept = [s.step for s in read_run(tmp_path) if "loss" not in s.metrics]
    assert kept == [0, 10, 20, 30, 40, 50]
    resumed = [s for s in read_run(tmp_path) if "retention" in (s.meta or {}) and s.step == 30]
    # Each round knows the rate of its step, for the rounds that a resumed run holds against it.
    assert {r["learning_rate"] for r in records(tmp_path) if r["type"] == "probe" and r["step"] > 0} == {0.01}
    # Round 30 of the first session is superseded, so it is held against 20.
    assert {change["previous_step"] for change in resumed[0].meta["retention"]} == {20}


def test_a_static_probe_is_run_once(tmp_path):
    class Static:
        name, is_static, calls = "static", True, 0

        def __call__(self, model):
            self.calls += 1
            return {"tokenization/x/bytes_per_token": 3.0}

    static = Static()
    train(35, tmp_path, [static])
    assert static.calls == 1


@pytest.mark.parametrize(
    ("probes", "line"),
    [
        ([object()], "is no probe: a probe has a name and is called with the model"),
        ([PerplexityProbe], "is no probe"),
        ("heldout", "probes takes a list of probes, got str"),
        ([a_probe(), a_probe()], "two probes are named 'heldout'"),
        (
            [
                Scheduled(FactProbe(FACTS, BYTES), every_steps=50),
                ChoiceProbe({"facts_control": PAIR}, BYTES, name="mine"),
            ],
            "probes 'facts' and 'mine' both have a task 'facts_control'",
        ),
    ],
)
def test_what_is_no_probe_is_one_clear_line(probes, line):
    with pytest.raises(ConfigError, match=line):
        LoopMonitor(None, QUIET, probes=probes, model=TinyGPT())


class Own:
    """Tells what it is told to, in turn."""

    tasks = ("a task",)

    def __init__(self, name, *results):
        self.name, self.results = name, list(results)

    def __call__(self, model):
        return self.results.pop(0) if len(self.results) > 1 else self.results[0]


def test_two_probes_that_tell_the_same_are_one_line_and_the_first_keeps_its_course(tmp_path, caplog):
    scores = PerplexityProbe({"own": ["some text", "more"]}, BYTES, name="x", context_length=16)(TinyGPT()).scores
    mine = {"heldout/own/loss": 1.0, "heldout/own/perplexity": 2.0, "note": 3.0}
    first = Own("first", ProbeResult({"heldout/own/loss": 5.0}, {"heldout/own": scores["heldout/x/own"]}))
    second = Own("second", mine, ProbeResult(mine, {"heldout/own": scores["heldout/x/own"]}))
    # Where they have intervals of their own no round has both of them.
    train(40, tmp_path, [first, Scheduled(second, every_steps=15)])
    lines = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert lines == [
        "probes first and second both tell heldout/own/loss: what second tells under the names of first is left out; "
        "have one of them give other names"
    ]
    found = {s.step: s.metrics for s in read_run(tmp_path) if "loss" not in s.metrics}
    assert found[10] == found[20] == {"heldout/own/loss": 5.0}
    assert found[15] == {"heldout/own/perplexity": 2.0, "probe/second/note": 3.0}
    assert {r["probe"] for r in records(tmp_path) if r["type"] == "probe"} == {"first"}


def test_probes_of_ones_own_may_name_their_tasks_alike(tmp_path, caplog):
    train(10, tmp_path, [Own("few", {"a task": 1.0}), Own("many", {"a task": 2.0})])
    *_, last = read_run(tmp_path)
    assert last.metrics == {"probe/few/a task": 1.0, "probe/many/a task": 2.0}
    assert not caplog.records


def test_probes_without_a_model_are_one_clear_line():
    with pytest.raises(ConfigError, match="probes need the model that they measure"):
        LoopMonitor(None, QUIET, probes=[a_probe()])


def test_a_model_whose_logits_are_nan_gives_nan_and_training_goes_on(tmp_path, caplog):
    class Lost(PerplexityProbe):
        def __call__(self, model):
            for parameter in model.head.parameters():
                parameter.data = parameter.data * float("nan")
            return super().__call__(model)

    train(12, tmp_path, [Lost(TEXTS, BYTES)])
    found = [s for s in read_run(tmp_path) if "loss" not in s.metrics]
    assert np.isnan(found[0].metrics["heldout/one/loss"])


def test_a_training_that_begins_once_more_has_a_baseline_of_its_own(tmp_path):
    for _ in range(2):
        train(12, tmp_path, [a_probe()], schedule={"at_start": True})
    assert rounds(tmp_path) == [(0, "start"), (10, "regular")] * 2
    starts = [r["meta"]["retention"] for r in records(tmp_path) if r["type"] == "sample" and r["step"] == 0]
    assert all(change["is_first"] for changes in starts for change in changes)


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (None, "a probe returns a mapping from names to numbers, this one returned NoneType"),
        ({"a": {"b": 1.0}}, "a probe returns numbers, and 'a' is dict"),
        ({"a": torch.ones(3)}, "a probe returns numbers, and 'a' is Tensor of shape (3,)"),
        ({"a": 10**400}, "'a' is a number too large for a float"),
        ({"a\x1b[31m": 1.0}, "give a name that can be printed"),
        ({"\ud800": 1.0}, "give a name that can be printed"),
        ({"": 1.0}, "give a name that can be printed"),
        (ProbeResult({"a": 1.0}, {"heldout/a": "none"}), "scores of 'heldout/a' are Scores, this probe returned str"),
    ],
)
def test_a_result_that_nothing_could_take_is_one_line_and_other_probes_go_on(tmp_path, caplog, found, line):
    class Odd:
        name = "odd"

        def __call__(self, model):
            return found

    train(20, tmp_path, [Odd(), a_probe()])
    assert caplog.text.count("it is switched off, training goes on") == 1
    assert line in caplog.text
    assert rounds(tmp_path) == [(10, "regular"), (20, "regular")]


def test_a_probe_that_ends_as_programs_do_does_not_end_the_training(tmp_path, caplog):
    class Program:
        name = "program"

        def __call__(self, model):
            raise SystemExit(3)

    train(12, tmp_path, [Program()])
    assert "probe program at step 10: SystemExit: 3; it is switched off" in caplog.text


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: record.update(scores=[1, 2]),
        lambda record: record["scores"].update({"heldout/one": 5}),
        lambda record: [part.update(tokens=[10**30] * len(part["nats"])) for part in record["scores"].values()],
        lambda record: [part.update(tokens=[[1, 2]] * len(part["nats"])) for part in record["scores"].values()],
        lambda record: [part.update(tokens=[-1] * len(part["nats"])) for part in record["scores"].values()],
    ],
)
def test_a_damaged_round_in_the_run_log_is_left_out_and_probes_go_on(tmp_path, caplog, damage):
    train(20, tmp_path, [a_probe()])
    found = records(tmp_path)
    damage(next(record for record in found if record["type"] == "probe" and record["step"] == 20))
    lines = [json.dumps(record, separators=(",", ":")) for record in found]
    (tmp_path / "run.jsonl").write_text("\n".join(lines) + "\n")
    train(30, tmp_path, [a_probe()], start_step=20)
    assert caplog.text.count("cannot be read and is left out") == 1
    last = [r for r in records(tmp_path) if r["type"] == "sample" and "retention" in (r.get("meta") or {})][-1]
    assert {(last["step"], change["previous_step"]) for change in last["meta"]["retention"]} == {(30, 10)}
