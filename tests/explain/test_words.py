from __future__ import annotations

import pytest
from eventful_runs import RUNS, explained, explanation_of

from pretrain_monitor import Sample
from pretrain_monitor.explain.panels import draw
from pretrain_monitor.explain.story import Explanation
from pretrain_monitor.explain.words import facts


def said(run: str) -> dict[str, str]:
    entries: dict[str, str] = {}
    for name, text in facts(explanation_of(run)):
        entries.setdefault(name, text)
    return entries


@pytest.mark.parametrize("run", RUNS)
def test_every_kind_of_incident_is_told_in_words_from_first_alarm_to_advice(run: str):
    entries = said(run)
    assert next(iter(entries)) == "first alarm"
    assert {"onset", "told", "end", "what to do"} <= set(entries)
    assert all(text and text.isprintable() for text in entries.values())
    assert not any("nan" in text or "None" in text for text in entries.values())


def test_score_and_threshold_of_the_first_alarm_are_those_of_the_chart():
    explanation = explanation_of("level_shift")
    first = explanation.counted[0]
    assert first.threshold is not None
    text = said("level_shift")["first alarm"]
    assert text.startswith(f"level chart of loss at step {first.step:,}: {first.score:.3g}, threshold")
    assert f"threshold {first.threshold:.3g}" in text


def test_what_became_an_alert_later_says_since_when_it_was_known():
    assert said("spike")["told"] == "step 601; until then it was for information, from step 599 on"


def test_a_signal_that_led_is_named_with_its_lead():
    assert said("spike")["gradient norm"] == "rose 2 steps before the loss"


def test_segments_are_from_to_and_how_far():
    assert said("level_shift")["segments"].startswith("801 to 1,007 at +4.")


def test_the_end_of_what_came_back_and_of_what_did_not():
    assert said("bad_batch")["end"] == "step 602, the first one back at the trend before"
    assert "is called lasting" in said("level_shift")["end"]
    assert said("dead")["end"] == "none by the end of the log"


def test_an_announced_change_is_what_explains_it():
    assert said("announced")["explained by"] == "step 801: stage 2: code"
    assert "for information" in said("announced")["told"]


def test_rules_that_have_no_chart_say_what_they_looked_at():
    assert said("nonfinite")["first alarm"] == "loss was NaN at step 601"
    assert "a factor of 9.96 between two rates" in said("lr_anomaly")["first alarm"]
    assert said("lr_anomaly")["learning rate"].startswith("jump at step 601: 9.8e-05 before")
    assert "slope of log(loss) over log(step)" in said("plateau")["first alarm"]
    assert "1.3 times" in said("early")["early rule"]


def of_a_probe(stream: list[Sample]) -> Explanation:
    """The first failure of a probe in a log."""
    return explained(stream, "probe_failure")


def failing(step: int, problem: str = "the disk is gone", *, is_off: bool = False) -> Sample:
    return Sample(step, {}, meta={"probe_failures": [{"probe": "law", "problem": problem, "switched_off": is_off}]})


def test_a_probe_that_failed_ends_where_it_was_switched_off():
    samples = [Sample(step, {"loss": 3.0 + 0.01 * (step % 7)}) for step in range(1, 60)]
    samples.insert(40, failing(40, is_off=True))
    explanation = of_a_probe(samples)
    entries = dict(facts(explanation))
    assert entries["end"] == "none: the probe was switched off at step 40, the training went on"
    assert (explanation.unshown, explanation.again) == ((), ())
    assert draw(explanation).panels[0].title == "loss (for comparison)"


def test_a_probe_that_failed_is_told_with_its_message_since_when_and_how_often():
    entries = dict(facts(of_a_probe([failing(step, f"no\nmemory {step}") for step in (20, 40, 1060)])))
    assert list(entries) == ["probe", "message", "failed", "told", "end", "what to do"]
    assert (entries["probe"], entries["message"]) == ("law", "no memory 1060")
    assert entries["failed"] == "3 times, from step 20 to 1,060"
    assert entries["what to do"].endswith("when the run is started or resumed.")


def test_a_probe_that_failed_after_each_start_is_told_with_all_of_them():
    stream = [failing(step, "ValueError: no", is_off=True) for step in (10, 700, 800, 900, 1000)]
    other = {"probe": "code", "problem": "no", "switched_off": True}
    stream.append(Sample(1001, {}, meta={"probe_failures": [other]}))
    entries = dict(facts(of_a_probe(stream)))
    assert entries["failed"] == "once, at step 10"
    assert entries["failed also"] == (
        "step 700 (probe_failure-law-700), step 800 (probe_failure-law-800), step 900 (probe_failure-law-900)"
        " and 1 more"
    )
    assert entries["also here"] == "probe_failure-code-1001 (probe failure)"
    assert entries["what to do"].endswith("Its traceback is in what pretrain_monitor logs at level DEBUG.")
