"""Which actions are ordered for which incidents, from which checkpoint, and how often."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_telemetry import an_incident

from pretrain_monitor import Event, Sample, Severity
from pretrain_monitor.actions import Checkpoint, LowerLearningRate, Rewind, SkipStep, Stop
from pretrain_monitor.actions.checkpoints import keep, newest_before, put_aside
from pretrain_monitor.actions.decide import Decider, Good
from pretrain_monitor.actions.orders import ActionRecord, Order
from pretrain_monitor.actions.plan import drop_plan, read_plan, write_plan
from pretrain_monitor.config import ConfigError, load_config
from pretrain_monitor.telemetry import Change, Incident, Kind

SAVED = [Good(step, f"checkpoint-{step}") for step in range(100, 1000, 100)]
SPIKE = an_incident(id="loss-560", onset_step=560, detected_step=565, peak_step=565)
DIVERGED = replace(SPIKE, kind=Kind.DIVERGENCE, severity=Severity.CRITICAL)


def a_decider(*actions: Any, is_dry_run: bool = False, pause_file: Path | None = None) -> Decider:
    decider = Decider(actions, is_dry_run=is_dry_run, pause_file=pause_file)
    decider.checkpoint_before = lambda step: newest_before(SAVED, step)
    return decider


def told(
    decider: Decider, incident: Incident, change: Change = Change.OPENED, step: int = 565
) -> list[tuple[str, Any]]:
    return [(d.order.do, d.outcome) for d in decider.decide([Event(step, incident.id, change, incident)])]


def test_an_action_is_taken_once_for_an_incident_when_it_becomes_one_to_act_on():
    decider = a_decider(Rewind(), Checkpoint())
    assert told(decider, replace(SPIKE, severity=Severity.INFO)) == []
    assert told(decider, SPIKE, Change.UPDATED) == [("checkpoint", None)]
    assert told(decider, DIVERGED, Change.CLASSIFIED) == [("rewind", None)]
    assert told(decider, DIVERGED, Change.UPDATED) == []
    assert told(decider, replace(DIVERGED, id="other"), Change.CLOSED) == []


def test_what_is_good_is_kept_before_anything_is_changed():
    decider = a_decider(Stop(when="spike"), LowerLearningRate(when="spike"), Checkpoint(when="spike"))
    assert [do for do, _ in told(decider, SPIKE)] == ["checkpoint", "lower_lr", "stop"]


@pytest.mark.parametrize(
    ("settings", "onset", "expected"),
    [
        ({}, 560, 500),
        ({}, 501, 400),  # the update that hurt may have been that of step 500
        ({}, 502, 500),
        ({"back_steps": 100}, 560, 400),
        ({"preset": "palm"}, 601, 400),
        ({"back_steps": 1000}, 560, 500),  # none is so old: the newest before the onset
    ],
)
def test_the_way_back_leads_to_a_checkpoint_from_before_the_onset(settings: dict, onset: int, expected: int):
    decider = a_decider(Rewind(**settings))
    incident = replace(DIVERGED, onset_step=onset, detected_step=onset + 5)
    (decision,) = decider.decide([Event(onset + 5, incident.id, Change.OPENED, incident)])
    assert decision.order.details["to_step"] == expected


def test_where_it_goes_wrong_again_from_the_same_checkpoint_the_one_before_is_taken():
    decider = a_decider(Rewind())
    assert told(decider, DIVERGED) == [("rewind", None)]
    decider.rewound(500)
    again = replace(DIVERGED, id="loss-510", onset_step=510, detected_step=515)
    (decision,) = decider.decide([Event(515, again.id, Change.OPENED, again)])
    assert decision.order.details["to_step"] == 400


def test_without_a_checkpoint_it_stops_or_tells():
    early = replace(DIVERGED, onset_step=50, detected_step=55)
    refused = "refused: there is no checkpoint from before step 50"
    assert told(a_decider(Rewind()), early) == [("rewind", refused), ("stop", None)]
    assert told(a_decider(Rewind(then="tell")), early) == [("rewind", refused)]


def test_a_budget_is_one_for_so_many_steps():
    decider = a_decider(LowerLearningRate(when="spike", at_most=2, per_steps=100))
    outcomes = []
    for step in (10, 20, 30, 109, 110, 111, 300):
        incident = replace(SPIKE, id=f"loss-{step}", onset_step=step)
        outcomes += [outcome for _, outcome in told(decider, incident, step=step)]
    over = "over budget: 2 in 100 steps"
    assert outcomes == [None, None, over, over, None, over, None]


def test_going_back_does_not_renew_a_budget():
    decider = a_decider(Rewind(at_most=2, per_steps=1000, then="tell"))
    outcomes = []
    for _ in range(4):
        outcomes += told(decider, DIVERGED)
        decider.rewound(500)
    over = ("rewind", "over budget: 2 in 1,000 steps")
    assert outcomes == [("rewind", None), ("rewind", None), over, over]


def test_what_was_done_in_earlier_sessions_counts():
    done = ActionRecord(500, 0.0, "rewind", "done", "", "loss-510", {"to_step": 500})
    decider = a_decider(Rewind(at_most=2, then="tell"))
    decider.recall([done, ActionRecord(520, 0.0, "rewind", "dry run", "", "x", {})], 500)
    (decision,) = decider.decide([Event(565, DIVERGED.id, Change.OPENED, DIVERGED)])
    assert decision.order.details["to_step"] == 400, "from 500 it went wrong once before"
    assert told(decider, replace(DIVERGED, id="next")) == [("rewind", "over budget: 2 in 10,000 steps")]


def test_what_was_done_in_steps_that_have_been_given_up_counts_as_of_now():
    decider = a_decider(Rewind(at_most=2, per_steps=200, then="tell"))
    later = [ActionRecord(step, 0.0, "rewind", "done", "", "x", {"to_step": step}) for step in (500, 900)]
    decider.recall(later, 560)
    assert told(decider, DIVERGED, step=620) == [("rewind", "over budget: 2 in 200 steps")]


def test_a_device_leaves_out_updates_again_when_its_budget_has_come_back():
    decider = a_decider(SkipStep(on_device=True, at_most=2, per_steps=100))
    assert decider.count_left_out(10) == (["done"], [])
    assert decider.look(10) is None
    assert decider.count_left_out(20) == (["done", "over budget: 2 in 100 steps"], [])
    orders = [decider.look(step) for step in (20, 21, 109, 110, 111)]
    assert [order and order.do for order in orders] == ["pause", None, None, "resume", None]


def test_an_update_that_did_not_happen_is_no_reason_to_go_back_or_to_stop():
    decider = a_decider(Checkpoint(when="nonfinite"), Rewind(), SkipStep())
    decider.left_out(560)
    nan = replace(
        DIVERGED, kind=Kind.NONFINITE, peak_step=560, evidence={"first_nonfinite": {"step": 560, "value": "NaN"}}
    )
    assert told(decider, nan) == [("checkpoint", None)]
    after = replace(nan, evidence={"first_nonfinite": {"step": 570, "value": "NaN"}})
    assert told(decider, after, Change.UPDATED) == [("rewind", None)], "this one did happen"


def test_an_update_that_went_through_in_the_midst_of_others_that_did_not_is_one_to_go_back_for():
    decider = a_decider(Checkpoint(when="nonfinite"), Rewind(), SkipStep())
    evidence = {"first_nonfinite": {"step": 560, "value": "NaN"}}
    nan = replace(DIVERGED, kind=Kind.NONFINITE, peak_step=560, evidence=evidence)
    decider.left_out(560)
    assert told(decider, nan) == [("checkpoint", None)]

    decider.left_out(561)
    assert decider.reconsider(Sample(561, {"loss": math.nan, "grad_norm": math.nan})) == []
    assert decider.reconsider(Sample(562, {"loss": 3.0, "grad_norm": 1.0})) == []
    assert decider.reconsider(Sample(563, {"loss": 3.0, "grad_norm": math.inf, "loss_scale": 8.0})) == [], (
        "the scaler's"
    )
    (decision,) = decider.reconsider(Sample(564, {"loss": 3.0, "grad_norm": math.inf}))
    assert (decision.order.do, decision.order.step, decision.outcome) == ("rewind", 564, None)
    assert decision.order.details["to_step"] == 500
    assert decider.reconsider(Sample(565, {"loss": math.nan})) == [], "once for an incident"


def test_an_incident_that_is_over_is_not_thought_over_again():
    decider = a_decider(Rewind(), SkipStep())
    nan = replace(DIVERGED, kind=Kind.NONFINITE, peak_step=560)
    decider.left_out(560)
    assert told(decider, replace(nan, onset_step=560)) == []
    assert told(decider, nan, Change.CLOSED) == []
    assert decider.reconsider(Sample(580, {"loss": math.nan})) == []


def test_a_dry_run_and_a_pause_say_what_would_be_done(tmp_path: Path):
    assert told(a_decider(Rewind(), is_dry_run=True), DIVERGED) == [("rewind", "dry run")]
    pause = tmp_path / "pause_actions"
    pause.touch()
    decider = a_decider(Rewind(), pause_file=pause)
    assert told(decider, DIVERGED) == [("rewind", "paused")]
    first = decider.look(565)
    assert first is not None and first.do == "pause"
    pause.unlink()
    assert told(decider, replace(DIVERGED, id="next")) == [("rewind", None)]


@pytest.mark.parametrize(
    ("actions", "line"),
    [
        (
            [{"do": "rewind"}, {"do": "stop", "when": "critical"}, {"do": "stop", "when": "critical"}],
            "stop is there twice",
        ),
        ([{"do": "rewind"}, {"do": "stop"}], "rewind and stop are both there for divergence, nonfinite: to stop when"),
        ([{"do": "rewind"}, {"do": "lower_lr"}], "rewind and lower_lr are both there for divergence: to lower"),
        ([{"do": "skip_step"}, {"do": "skip_step"}], "skip_step is there twice"),
        ([{"do": "rewound"}], "actions.0: do is one of checkpoint, stop, lower_lr, skip_step, rewind"),
        ([{"when": ["spike"]}], "actions.0: do is one of checkpoint, stop, lower_lr, skip_step, rewind"),
        ([{"do": "stop", "exit_status": 256}], "actions.0.stop.exit_status = 256"),
        ([{"do": "lower_lr", "factor": 1.5}], "actions.0.lower_lr.factor = 1.5"),
        ([{"do": "stop", "when": []}], "actions.0.stop.when = ()"),
        ([{"do": "stop", "whenn": "spike"}], "unknown setting 'actions.0.stop.whenn'; did you mean 'when'?"),
        ({"do": "stop"}, "actions = {'do': 'stop'}: input should be a list"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(actions: Any, line: str):
    with pytest.raises(ConfigError) as refused:
        load_config({"actions": actions})
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_class_for_an_action_is_refused():
    from pretrain_monitor import Monitor

    with pytest.raises(ConfigError, match=r"actions\[0\] is the class Rewind: give an object of it, Rewind\(...\)"):
        Monitor(None, actions=[Rewind])
    with pytest.raises(ConfigError, match="actions takes a list of actions, got 'stop'"):
        Monitor(None, actions="stop")


def test_a_kept_checkpoint_survives_its_original_and_takes_no_room(tmp_path: Path):
    original = tmp_path / "checkpoint-400"
    (original / "inner").mkdir(parents=True)
    (original / "inner" / "weights").write_bytes(b"w" * 1000)
    kept = keep(original, 400)
    assert kept == tmp_path / "kept" / "checkpoint-400"
    assert (kept / "inner" / "weights").stat().st_ino == (original / "inner" / "weights").stat().st_ino
    assert keep(original, 400) == kept
    assert keep(kept, 400) == kept


def test_a_checkpoint_that_will_be_written_over_is_copied(tmp_path: Path):
    original = tmp_path / "last.ckpt"
    original.write_bytes(b"good")
    kept = keep(original, 400)
    original.write_bytes(b"bad!")
    assert kept.read_bytes() == b"good"


def test_what_is_put_aside_twice_is_there_twice(tmp_path: Path):
    for content in (b"first", b"second"):
        (tmp_path / "checkpoint-9").write_bytes(content)
        put_aside(tmp_path / "checkpoint-9")
    assert sorted(path.read_bytes() for path in (tmp_path / "undone").iterdir()) == [b"first", b"second"]


def test_what_is_kept_of_a_name_without_a_step_has_it_in_its_name(tmp_path: Path):
    last = tmp_path / "last.ckpt"
    for step in (100, 200):
        last.write_text(str(step))
        assert keep(last, step) == tmp_path / "kept" / f"last-step={step}.ckpt"
    assert [path.read_text() for path in sorted((tmp_path / "kept").iterdir())] == ["100", "200"]


def test_a_plan_survives_the_way_and_what_is_none_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = tmp_path / "plan.json"
    assert read_plan(path) is None
    order = Order("rewind", 9, "why", "loss-9", {"checkpoint": "x", "to_step": 5})
    write_plan(path, order)
    assert read_plan(path) == order
    drop_plan(path)
    drop_plan(path)
    odd = '{"do": "rewind", "step": 1, "reason": "", "details": [1]}'
    for text in ("", "{}", "[1]", '{"do": "rewind", "step": 1, "reason": ""}', odd, "\x00"):
        path.write_text(text)
        assert read_plan(path) is None
    assert len(caplog.records) == 6


def test_a_record_survives_json_and_another_form_is_refused():
    record = ActionRecord(5, 1.5, "stop", "done", "why", "loss-3", {"path": "x", "value": float("nan")})
    back = ActionRecord.from_json(record.to_json())
    assert (back.do, back.details["value"]) == ("stop", "NaN")
    with pytest.raises((KeyError, TypeError)):
        ActionRecord.from_json({**record.to_json(), "step": "5"})
