from __future__ import annotations

import pytest

from pretrain_monitor.readers import LogError
from pretrain_monitor.readers.columns import Columns


def fields(*names: str) -> tuple[str | None, ...]:
    return Columns("log.csv").fields(names, "the header")


def test_a_name_is_read_as_its_field_in_upper_and_lower_case():
    assert fields("Step", " Train_Loss ", "LR", "Accuracy") == ("step", "loss", "learning_rate", "Accuracy")


def test_our_own_spelling_counts_where_a_field_has_two():
    assert fields("global_step", "step", "train_loss", "loss") == (None, "step", None, "loss")


def test_columns_without_a_name_are_left_out():
    assert fields("", "step", "loss", " ") == (None, "step", "loss", None)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("step", "loss", "loss"), "two columns for loss: 'loss' and 'loss'; leave one of them out$"),
        (("step", "train_loss", "lm_loss"), "'train_loss' and 'lm_loss'; .* or call the right one 'loss'$"),
        (("step", "Loss", "train_loss"), "'Loss' and 'train_loss'"),
        (("step", "loss", "accuracy", "accuracy"), "two columns for accuracy: 'accuracy' and 'accuracy'"),
        (("iter", "global_step", "loss"), "two columns for step: 'iter' and 'global_step'"),
    ],
)
def test_two_columns_for_one_field_are_refused_by_name(names: tuple[str, ...], said: str):
    with pytest.raises(LogError, match=f"^log.csv: the header has .*{said}"):
        fields(*names)


def test_the_mean_over_the_run_at_its_end_is_not_the_loss_of_the_last_step():
    columns = Columns("log.jsonl")
    assert columns.fields(("loss", "step"), "line 1") == ("loss", "step")
    assert columns.fields(("train_loss", "step"), "line 2") == (None, "step")
    assert columns.fields(("loss", "step"), "line 3") == ("loss", "step")


@pytest.mark.parametrize("later", ["lm_loss", "loss"])
def test_a_field_that_changes_its_name_on_the_way_is_refused(later: str):
    columns = Columns("log.jsonl")
    columns.fields(("step", "train_loss"), "line 1")
    with pytest.raises(LogError, match=f"line 2 has '{later}' for loss, lines before it 'train_loss'"):
        columns.fields(("step", later), "line 2")


def test_a_step_may_change_its_name():
    columns = Columns("log.jsonl")
    assert columns.fields(("step", "loss"), "line 1") == ("step", "loss")
    assert columns.fields(("global_step", "loss"), "line 2") == ("step", "loss")
