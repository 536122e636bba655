from __future__ import annotations

import json
import random
from collections.abc import Iterable
from typing import Any

import pytest

from pretrain_monitor.config import ScheduledChange
from pretrain_monitor.detection.context import Change, RunContext


def fed(
    context: RunContext, rows: Iterable[tuple[int, dict[str, float]]], *, tokens: dict[int, int] | None = None
) -> RunContext:
    for step, metrics in rows:
        context.update(step, metrics, None, (tokens or {}).get(step))
    return context


def steps_of(signal: str, values: Iterable[float], first: int = 1) -> list[tuple[int, dict[str, float]]]:
    return [(first + i, {"loss": 2.0, signal: value}) for i, value in enumerate(values)]


def everything(context: RunContext) -> list[Change]:
    return context.near(0, 10**9, slack=10**9)


def where(context: RunContext) -> list[tuple[int, str]]:
    return [(change.step, change.what) for change in everything(context)]


def counted(per_step: Iterable[int]) -> dict[int, int]:
    total, seen = 0, {}
    for step, tokens in enumerate(per_step, start=1):
        total += tokens
        seen[step] = total
    return seen


def test_a_planned_step_explains_what_begins_from_two_steps_before_to_the_slack_after_it():
    context = RunContext([ScheduledChange(step=500, note="stage 2: code")])
    (change,) = context.near(500, 500, slack=10)
    assert change == Change(500, "data_stage", "stage 2: code", None, None, True)
    explained = [step for step in range(480, 530) if context.near(step, step, slack=10)]
    assert explained == list(range(498, 511))
    assert context.near(400, 600, slack=10) == [change], "an onset that may lie anywhere in a span"
    assert context.near(511, 600, slack=10) == []
    assert context.near(400, 497, slack=10) == []


def test_in_a_log_of_every_tenth_step_two_samples_before_are_twenty_steps():
    context = fed(RunContext([ScheduledChange(step=500)]), [(step, {"loss": 2.0}) for step in range(10, 600, 10)])
    assert [step for step in range(400, 600, 10) if context.near(step, step, slack=0)] == [480, 490, 500]


def test_planned_tokens_are_found_where_they_were_reached():
    schedule = [ScheduledChange(tokens=tokens) for tokens in (1000, 1050, 5e9)]
    context = fed(RunContext(schedule), steps_of("x", [0.0] * 30), tokens=counted([100] * 30))
    assert where(context) == [(11, "data_stage")] * 2, "exactly 10 steps of 100 tokens lie before either"


def test_planned_tokens_are_placed_between_the_lines_of_a_sparse_log():
    context = RunContext([ScheduledChange(tokens=34_500)])
    for step in range(0, 101, 10):
        context.update(step, {}, None, 1000 * step)
    assert where(context) == [(35, "data_stage")]


def test_tokens_reached_before_watching_began_are_placed_long_ago():
    context = RunContext([ScheduledChange(tokens=1_000_000)])
    context.update(8001, {}, None, 8_001_000)
    assert where(context) == [(1001, "data_stage")]
    assert context.near(8001, 8001, slack=50) == []


@pytest.mark.parametrize("signal", ["batch_size", "batch_tokens", "sequence_length"])
def test_a_size_that_changes_for_good_is_seen_at_its_first_step_and_undeclared(signal: str):
    context = fed(RunContext(), steps_of(signal, [256.0] * 40 + [512.0] * 10))
    words = signal.replace("_", " ") if signal != "batch_tokens" else "tokens per step"
    assert everything(context) == [Change(41, signal, f"{words} from 256 to 512", 256.0, 512.0, False)]


def test_the_stage_of_the_data_is_a_number_of_any_kind():
    context = fed(RunContext(), steps_of("data_stage", [0.0] * 40 + [1.0] * 40 + [-1.0] * 10))
    assert where(context) == [(41, "data_stage"), (81, "data_stage")]


def test_a_change_explains_from_its_first_sample_on():
    context = fed(RunContext(), steps_of("sequence_length", [1024.0] * 40 + [4096.0]))
    assert [change.after for change in context.near(41, 41, slack=0)] == [4096.0]


@pytest.mark.parametrize("short_batches", [1, 3])
def test_short_batches_at_the_end_of_an_epoch_leave_no_change(short_batches: int):
    epoch = [32.0] * 60 + [7.0] * short_batches
    context = fed(RunContext(), steps_of("batch_size", epoch * 5 + [32.0] * 5))
    assert everything(context) == []


def test_a_change_right_after_a_short_batch_is_placed_on_its_own_step():
    context = fed(RunContext(), steps_of("batch_size", [32.0] * 60 + [7.0] + [64.0] * 20))
    assert where(context) == [(62, "batch_size")]


def test_missing_and_senseless_values_are_passed_over():
    values = [32.0] * 20 + [float("nan"), 0.0, -1.0, float("inf")] + [32.0] * 20 + [64.0, float("nan")] + [64.0] * 5
    rows = [row for row in steps_of("batch_size", values) if row[0] % 7]
    assert len(everything(fed(RunContext(), rows))) == 1


def test_tokens_per_step_that_grow_by_more_than_a_fifth_are_a_change():
    rng = random.Random(0)
    sizes = [int(rng.gauss(1, 0.05) * (4096 if step < 300 else 6000)) for step in range(600)]
    context = fed(RunContext(), steps_of("x", [0.0] * 600), tokens=counted(sizes))
    (change,) = everything(context)
    assert (change.step, change.what) == (301, "batch_tokens")
    assert change.before == pytest.approx(4096, rel=0.1)
    assert change.after == pytest.approx(6000, rel=0.1)
    growing = [int(4096 * 1.002**step) for step in range(600)]
    slowly = fed(RunContext(), steps_of("x", [0.0] * 600), tokens=counted(growing))
    assert everything(slowly) == [], "a batch that grows by a fifth of a percent a step never shifts"


@pytest.mark.parametrize("spread", [0.1, 0.15, 0.3, 0.5])
def test_batches_of_any_length_are_no_changes(spread: float):
    rng = random.Random(1)
    sizes = [max(int(rng.gauss(1, spread) * 4096), 1) for _ in range(5000)]
    context = fed(RunContext(), steps_of("x", [0.0] * 5000), tokens=counted(sizes))
    assert everything(context) == []


def test_tokens_that_are_unknown_for_a_while_or_counted_afresh_are_no_change():
    known = counted([100] * 200)
    for step in range(60, 80):
        del known[step]
    afresh = {step: tokens - (known[120] if step > 120 else 0) for step, tokens in known.items()}
    assert everything(fed(RunContext(), steps_of("x", [0.0] * 200), tokens=afresh)) == []


def test_a_second_sample_of_a_step_changes_nothing():
    context = RunContext()
    for step in range(1, 60):
        context.update(step, {"loss": 2.0}, None, 100 * step)
        context.update(step, {"heldout/code/perplexity": 7.0}, None, 100 * step)
    assert everything(context) == []
    assert len(RunContext([ScheduledChange(step=5)]).near(7, 7, 2)) == 1


def test_the_learning_rate_is_a_change_where_it_jumps_and_not_where_it_warms_up_or_decays():
    warm_up = [1e-5 * (step + 1) for step in range(30)]
    growing = [1e-6 * 1.5**step for step in range(12)]
    decay = [3e-4 * (1 - step / 50) for step in range(50)]
    for schedule in (warm_up + [3e-4] * 20 + decay, growing, [0.0] * 5 + warm_up, [3e-4, float("nan")] * 20):
        assert everything(fed(RunContext(), steps_of("learning_rate", schedule))) == []
    jump = fed(RunContext(), steps_of("learning_rate", warm_up + [3e-4] * 20 + [9e-4] * 5))
    (change,) = everything(jump)
    assert change == Change(51, "learning_rate", "learning rate from 3.0e-04 to 9.0e-04", 3e-4, 9e-4, False)
    drop = fed(RunContext(), steps_of("learning_rate", [3e-4] * 50 + [3e-5] * 5))
    assert where(drop) == [(51, "learning_rate")]


def announced(text: str, **more: Any) -> dict[str, Any]:
    return {"announced": [{"text": text, **more}]}


def test_what_is_announced_begins_with_its_sample_or_where_it_says():
    context = RunContext()
    context.update(10, {"loss": 2.0}, announced("stage 2", what="data_stage"))
    context.update(11, {"loss": 2.0}, announced("longer", what="sequence_length", step=9))
    context.update(12, {"loss": 2.0}, announced("longer", what="sequence_length", step=9))
    assert everything(context) == [
        Change(9, "sequence_length", "longer", None, None, True),
        Change(10, "data_stage", "stage 2", None, None, True),
    ]


@pytest.mark.parametrize("wrong", ["x", 5, None, [5], [{}], [{"text": 3}], {"text": "x"}])
def test_announcements_in_another_form_are_passed_over(wrong: object):
    context = RunContext()
    context.update(1, {"loss": 2.0}, {"announced": wrong})
    assert everything(context) == []


def test_an_unknown_sort_of_change_is_some_other_one():
    context = RunContext()
    context.update(1, {"loss": 2.0}, announced("moon", what=["?"]))
    assert [change.what for change in everything(context)] == ["other"]


@pytest.mark.parametrize(
    ("declared", "signal", "is_declared"),
    [
        ("data_stage", "sequence_length", True),
        ("other", "sequence_length", True),
        ("learning_rate", "sequence_length", False),
        ("learning_rate", "learning_rate", True),
        ("data_stage", "learning_rate", False),
    ],
)
def test_a_change_that_was_seen_is_declared_if_something_near_it_was_that_may_bring_it(
    declared: Any, signal: str, is_declared: bool
):
    rows = steps_of(signal, [256.0] * 40 + [512.0] * 10)
    context = fed(RunContext([ScheduledChange(step=43, what=declared)]), rows)
    assert [c.is_declared for c in everything(context) if c.what == signal and c.before] == [is_declared]
    far = fed(RunContext([ScheduledChange(step=60, what=declared)]), rows)
    assert [c.is_declared for c in everything(far) if c.before] == [False]


def test_a_change_may_be_announced_after_it_was_seen():
    context = fed(RunContext(), steps_of("batch_size", [256.0] * 40 + [512.0] * 10))
    assert [change.is_declared for change in everything(context)] == [False]
    context.update(51, {"loss": 2.0}, announced("larger batch", what="batch_size", step=41))
    assert [(c.step, c.text, c.is_declared) for c in everything(context)] == [
        (41, "larger batch", True),
        (41, "batch size from 256 to 512", True),
    ]


def test_the_state_goes_through_json_at_any_step_and_nothing_is_lost():
    rng = random.Random(2)
    schedule = [ScheduledChange(step=90), ScheduledChange(tokens=40_000), ScheduledChange(tokens=150_000)]
    rows: list[tuple[int, dict[str, float], dict[str, Any] | None, int | None]] = []
    tokens = 0
    for step in range(1, 301):
        tokens += int((400 if step < 120 else 900) * rng.uniform(0.95, 1.05))
        metrics = {"loss": 2.0, "batch_size": 32.0 if step < 200 else 64.0, "learning_rate": 0.1 if step < 250 else 0.2}
        meta = announced("stage 2", what="data_stage") if step == 150 else None
        rows.append((step, metrics, meta, None if step % 11 == 0 else tokens))
    whole = RunContext(schedule)
    for row in rows:
        whole.update(*row)
    assert {change.what for change in everything(whole)} >= {"batch_size", "batch_tokens", "learning_rate"}
    for cut in (1, 60, 119, 121, 122, 150, 201, 203, 250, 299):
        first = RunContext(schedule)
        for row in rows[:cut]:
            first.update(*row)
        second = RunContext(schedule)
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        assert second.state_dict() == first.state_dict()
        for row in rows[cut:]:
            second.update(*row)
        assert everything(second) == everything(whole)
        assert second.state_dict() == whole.state_dict()


def test_memory_is_bounded_and_the_newest_changes_are_kept():
    context = RunContext()
    for step in range(1, 1001):
        context.update(step, {"loss": 2.0}, announced(f"stage {step}"))
    assert [change.step for change in everything(context)] == list(range(745, 1001))
    assert len(json.dumps(context.state_dict())) < 60_000
