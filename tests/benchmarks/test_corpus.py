from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from corpus_folder import label, losses, write_corpus

from benchmarks.detection.corpus import DEFAULT_FOLDER, family, load_corpus
from benchmarks.detection.curves import Curve, Verdict
from benchmarks.detection.errors import UsageError
from benchmarks.detection.scoring import covered


def only(folder: Path, text: str, *labels: dict[str, object], whole: bool = False) -> Curve:
    (curve,) = load_corpus(write_corpus(folder, {"x_1": (text, labels)}), whole=whole)
    return curve


def test_rows_that_hold_only_an_evaluation_are_no_rows_and_a_logged_nan_is_one(tmp_path):
    text = losses(100) + "101,\n102,nan\n103,2.5\n"
    curve = only(tmp_path / "c", text, label(103, 103))
    assert curve.rows == 102
    assert np.isnan(curve.loss[100])
    assert [(event.first, event.last) for event in curve.events] == [(101, 101)]
    assert curve.source == "someone/x"


def test_an_event_between_two_logged_steps_begins_at_the_next_and_covers_at_least_one_row(tmp_path):
    curve = only(tmp_path / "c", losses(120, first_step=10, every=10), label(15, 18), label(200, 245))
    assert [(event.first, event.last) for event in curve.events] == [(1, 1), (19, 23)]


def test_a_long_curve_is_cut_behind_its_last_must_alert_event_and_never_before_row_6000(tmp_path):
    late = only(tmp_path / "a", losses(9000), label(7001, 7002), label(8000, 8000, False))
    assert late.rows == 7000 + 600
    assert len(late.events) == 1  # the one behind the cut is gone
    assert only(tmp_path / "b", losses(9000), label(10, 10)).rows == 6000
    assert only(tmp_path / "d", losses(9000), whole=True).rows == 9000


def test_a_signal_is_used_only_if_nine_rows_in_ten_have_it_and_gaps_keep_the_last_value(tmp_path):
    rows = [f"{k},3.0,{'' if k % 20 == 0 else k / 10},{'' if k % 5 == 0 else 0.1}" for k in range(1, 121)]
    curve = only(tmp_path / "c", "step,loss,grad_norm,learning_rate\n" + "\n".join(rows))
    assert list(curve.others) == ["grad_norm"]
    assert curve.others["grad_norm"][18:21].tolist() == [1.9, 1.9, 2.1]


def test_verdicts_and_kinds_come_from_the_labels(tmp_path):
    labels = (
        label(5, 30),
        label(70, 72, "optional", kind="level_shift_up", cause="curriculum"),
        label(80, 80, False, cause="bad_batch", z=14.0),
    )
    early, shift, batch = only(tmp_path / "c", losses(200), *labels).events
    assert (early.verdict, early.kind, early.group) == (Verdict.MUST, "spike", "early_spike")
    assert (shift.verdict, shift.kind, shift.group) == (Verdict.OPTIONAL, "level_shift", "level_shift_up")
    assert (batch.verdict, batch.kind, batch.size) == (Verdict.HARMLESS, "bad_batch", 14.0)


def test_curves_of_fewer_than_100_rows_are_left_out(tmp_path):
    folder = write_corpus(tmp_path / "c", {"x_1": (losses(99), []), "x_2": (losses(100), [])})
    assert [curve.name for curve in load_corpus(folder)] == ["x_2"]


def test_families_are_finer_than_repositories():
    def named(name: str) -> Curve:
        return Curve(name, "someone/something", np.arange(1), np.ones(1))

    names = ("mod_soap", "mod_1b_a#1", "tyl_0", "pg_tf_ph1", "pg_tf_gap", "pg_whirl#0")
    assert [family(named(name)) for name in names] == ["mod", "mod", "tyl", "pg_tf", "pg_tf", "pg_whirl"]


@pytest.mark.parametrize("broken", ["index.json", "curves/x_1.csv"])
def test_a_folder_without_its_files_is_told_in_one_line(tmp_path, broken):
    folder = write_corpus(tmp_path / "c", {"x_1": (losses(100), [])})
    (folder / broken).unlink()
    with pytest.raises(UsageError, match=r"No such file") as caught:
        load_corpus(folder)
    assert "\n" not in str(caught.value)


def test_index_and_labels_of_another_form_are_told(tmp_path):
    folder = write_corpus(tmp_path / "c", {"x_1": (losses(100), [])})
    (folder / "labels.json").write_text("[]")
    with pytest.raises(UsageError, match="x_1"):
        load_corpus(folder)
    (folder / "labels.json").write_text("{}")
    with pytest.raises(UsageError, match="should hold a list, it holds a dict"):
        load_corpus(folder)
    (folder / "labels.json").write_text("[")
    with pytest.raises(UsageError, match="is not JSON"):
        load_corpus(folder)


@pytest.mark.skipif(not DEFAULT_FOLDER.is_dir(), reason="no corpus of real curves in ../shared/corpus")
def test_the_real_corpus_has_the_rows_and_windows_that_its_description_states():
    curves = load_corpus()
    rows = sum(curve.rows for curve in curves)
    assert (len(curves), rows) == (53, 174_678)
    assert sum(event.verdict is Verdict.MUST for curve in curves for event in curve.events) == 25
    lenient = sum(int(covered(curve, Verdict).sum()) for curve in curves)
    strict = sum(int(covered(curve, (Verdict.MUST, Verdict.OPTIONAL)).sum()) for curve in curves)
    assert lenient / rows == pytest.approx(0.090, abs=5e-4)
    assert strict / rows == pytest.approx(0.021, abs=5e-4)
