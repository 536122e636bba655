"""Tokens seen: counted from the batches or taken from the trainer's own count, and absent where nobody knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_hf
from test_huggingface import PlainModule, points

LENGTH = tiny_hf.LENGTH


def tokens_seen(folder: Path) -> list[int | None]:
    return [sample.tokens_seen for sample in tiny_hf.samples(folder)]


@pytest.mark.parametrize("attach", [True, False])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_padding_is_not_counted(attach: bool, accumulation: int, tmp_path: Path) -> None:
    trainer = watched(
        tmp_path, tiny_hf.rows(40, padding=5), attach=attach, gradient_accumulation_steps=accumulation, max_steps=4
    )
    batches: list[int] = []
    inner = trainer.training_step
    trainer.training_step = lambda model, inputs, *rest: (
        batches.append(int(inputs["attention_mask"].sum())) or inner(model, inputs, *rest)  # type: ignore[func-returns-value]
    )

    trainer.train()

    assert LENGTH * 8 * accumulation > sum(batches)
    assert tokens_seen(tmp_path) == [sum(batches[: accumulation * step]) for step in range(1, 5)]


@pytest.mark.parametrize("attach", [True, False])
def test_without_a_mask_every_position_is_a_token(attach: bool, tmp_path: Path) -> None:
    data = [{"input_ids": row["input_ids"], "labels": row["labels"]} for row in tiny_hf.rows(20)]
    trainer = watched(tmp_path, data, attach=attach, max_steps=3)

    trainer.train()

    assert tokens_seen(tmp_path) == [2 * LENGTH, 4 * LENGTH, 6 * LENGTH]


@pytest.mark.parametrize("attach", [True, False])
@pytest.mark.parametrize(("kind", "expected"), [("all", [32, 64, 96]), ("non_padding", [27, 54, 86])])
def test_a_count_that_the_trainer_keeps_is_taken(attach: bool, kind: str, expected: list[int], tmp_path: Path) -> None:
    data = tiny_hf.rows(20, padding=5)
    trainer = watched(
        tmp_path,
        data,
        attach=attach,
        max_steps=3,
        include_num_input_tokens_seen=kind,
        train_sampling_strategy="sequential",
    )

    trainer.train()

    assert tokens_seen(tmp_path) == tiny_hf.logged(trainer, "num_input_tokens_seen")[:3] == expected


@pytest.mark.parametrize("attach", [True, False])
def test_of_batches_without_tokens_nothing_is_said(attach: bool, tmp_path: Path) -> None:
    trainer = watched(tmp_path, points(20), PlainModule(), attach=attach, max_steps=3)

    trainer.train()

    assert tokens_seen(tmp_path) == [None, None, None]


def watched(folder: Path, data: Any, model: Any = None, *, attach: bool, **changes: Any) -> Any:
    trainer = tiny_hf.trainer(folder, model, data, **changes)
    if attach:
        tiny_hf.watched(trainer, folder)
    else:
        trainer.add_callback(tiny_hf.MonitorCallback(folder / "run", tiny_hf.QUIET))
    return trainer
