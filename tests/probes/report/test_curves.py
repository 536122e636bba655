from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from example_results import course, model, task_probe, text_probe

from pretrain_monitor.probes.averages import averaged_metrics
from pretrain_monitor.probes.report.curves import answer_curves, are_steps, labels, task_curves, text_curves
from pretrain_monitor.probes.results import Results

FORGETTING = course(
    {"law": 2.0, "code": 2.0},
    {"law": 1.8, "code": 1.8},
    {"law": 1.7, "code": 1.72},
    {"law": 1.65, "code": 1.67},
    {"law": 1.62, "code": 1.95},
)


def test_a_curve_has_its_first_best_and_last_point_with_intervals():
    law, code = text_curves(FORGETTING)
    assert (law.domain, law.unit) == ("law", "bits per byte")
    assert [curve.best.model for curve in (law, code)] == [4, 3]
    assert [point.value for point in code.points] == pytest.approx([2.0, 1.8, 1.72, 1.67, 1.95])
    assert code.last.lower < code.last.value < code.last.upper
    assert code.change is not None
    assert code.change.value == pytest.approx(1.95 - 1.67)
    assert (code.is_worse, law.is_worse) == (True, False)


def test_checkpoints_that_differ_by_what_a_run_does_by_itself_are_not_called_worse():
    healthy = course({"law": 2.0}, {"law": 1.9}, {"law": 1.85}, {"law": 1.852})
    (law,) = text_curves(healthy)
    assert law.change is not None
    assert law.change.value == pytest.approx(0.002)
    assert not law.is_worse


def test_two_models_of_different_runs_are_told_apart_by_their_documents_alone():
    results = Results([model("a", text_probe(1, law=1.85)), model("b", text_probe(2, law=1.86))])
    (law,) = text_curves(results)
    assert law.is_worse
    assert labels(results) == ["a", "b"]
    assert not are_steps(results)


def test_the_average_over_all_documents_is_paired_too_and_comes_last():
    models = []
    for number, level in enumerate((2.0, 1.5), 1):
        probe = text_probe(number, law=level, code=level)
        probe.metrics.update(averaged_metrics("heldout", dict(probe.scores)))  # type: ignore[attr-defined]
        models.append(model(str(number), probe))
    curves = text_curves(Results(models[::-1]))
    assert [curve.domain for curve in curves] == ["law", "code", "micro", "macro"]
    micro, macro = curves[2:]
    assert micro.change is not None and micro.change.is_paired
    assert micro.change.value == pytest.approx(0.5)
    assert macro.change is None


def test_without_bytes_the_unit_is_nats_per_token():
    (law,) = text_curves(Results([model("a", text_probe(1, has_bytes=False, law=2.0))]))
    assert law.unit == "nats per token"


def test_a_model_that_gave_nan_is_never_the_best():
    results = Results([model("a", text_probe(1, law=math.nan)), model("b", text_probe(2, law=1.5))])
    (law,) = text_curves(results)
    assert law.best.model == 1


def test_a_reference_gives_the_gap_of_the_last_model():
    reference = model("other", text_probe(9, law=1.5))
    (law, code) = text_curves(FORGETTING, reference)
    assert law.to_reference is not None
    assert law.to_reference.value == pytest.approx(0.12)
    assert law.to_reference.is_paired
    assert code.to_reference is None


def test_tasks_have_chance_and_the_cost_of_right_answers_is_a_curve_of_its_own():
    results = Results(
        [model("a", task_probe("quiz", 0.5, 1.2, 1), step=1), model("b", task_probe("quiz", 0.4, 1.4, 2), step=2)]
    )
    (quiz,) = task_curves(results)
    assert (quiz.chance, quiz.best.model, quiz.last.value) == (0.25, 0, 0.4)
    assert (quiz.last.lower, quiz.last.upper) == pytest.approx((0.3, 0.5))
    (answers,) = answer_curves(results)
    assert answers.change is not None
    assert answers.change.value == pytest.approx(0.2)


def test_a_model_without_a_domain_is_left_out_of_its_curve():
    results = Results([model("a", text_probe(1, law=2.0)), model("b", text_probe(2, law=1.9, code=1.5))])
    _, code = text_curves(results)
    assert [point.model for point in code.points] == [1]
    assert code.change is None


def test_steps_that_go_backwards_are_no_course():
    assert are_steps(FORGETTING)
    assert not are_steps(Results(list(FORGETTING.models)[::-1]))
    assert labels(FORGETTING) == ["100", "200", "300", "400", "500"]


def test_models_of_one_probe_file_are_paired_though_they_were_asked_with_other_contexts():
    # Answers of one letter each: their sizes tell nobody whether the questions are the same.
    models = []
    for number, bits in enumerate((3.0, 2.0)):
        probe = task_probe("letters", 0.5, bits, number)
        own = probe.scores["task/letters"]
        own = replace(own, bytes=np.full_like(own.bytes, 2), key=f"{number}", right=np.ones(len(own.bytes)))
        models.append(model(str(number), replace(probe, scores={"task/letters": own})))
    (curve,) = answer_curves(Results(models[::-1]), models[1])
    assert curve.change is not None and curve.change.is_paired
    (curve,) = answer_curves(Results(models[:1]), models[1])
    assert curve.to_reference is not None and not curve.to_reference.is_paired
