"""Probes inside real Hugging Face trainings: what they measure, when, and that the training does not notice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_hf
import torch
from forked import run_ranks
from tiny_hf import samples
from transformers import GPT2LMHeadModel, Trainer

from pretrain_monitor.callbacks.huggingface import MonitorCallback
from pretrain_monitor.probes.probe_file import load_probes
from tests.probes.probe_parts import EVERY_10, TOKENIZER, Nasty, Noting, choices, perplexity, randomness, weights
from tests.probes.watched_loops import rounds

PROGRAM = Path(__file__).parent / "hf_probe_ranks.py"
ONLY_REGULAR = {"early": False, "at_start": False, "at_end": False, "on_checkpoint": False}


def join(trainer: Trainer, folder: Path, probes: list[Any], *, attach: bool = True, **schedule: Any) -> MonitorCallback:
    config = {**tiny_hf.QUIET, "probes": {**EVERY_10, **schedule}}
    monitor = MonitorCallback(folder / "run", config, probes=probes)
    if attach:
        monitor.attach(trainer)
    else:
        trainer.add_callback(monitor)
    return monitor


def trained(folder: Path, probes: list[Any], *, attach: bool = True, **settings: Any) -> dict[str, Any]:
    """A training from its first step to its last, with probes if there are any."""
    trainer = tiny_hf.trainer(folder, tiny_hf.gpt2(), **settings)
    if probes:
        join(trainer, folder, probes, attach=attach)
    trainer.train()
    return {
        "weights": tiny_hf.weights_hash(trainer.model),
        "losses": tiny_hf.logged(trainer, "loss"),
        "random": randomness(),
    }


def saved(folder: Path, step: int) -> str:
    """The weights in the file of a checkpoint."""
    return weights(GPT2LMHeadModel.from_pretrained(folder / "trainer" / f"checkpoint-{step}"))


SAVING = {"save_strategy": "steps", "save_steps": 25}


# torch's compiler looks at it by itself, with probes and without.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize(
    ("settings", "attach"),
    [
        ({**SAVING, "max_steps": 200}, True),
        ({**SAVING, "max_steps": 40, "gradient_accumulation_steps": 2}, False),
        ({"max_steps": 40, "activation_checkpointing": True, "bf16": True}, True),
        ({"max_steps": 30, "torch_compile": True, "torch_compile_backend": "eager"}, True),
    ],
    ids=["200 steps", "unattached and accumulating", "checkpointed activations in bf16", "compiled"],
)
def test_training_with_probes_is_bitwise_the_training_without(
    settings: dict[str, Any], attach: bool, tmp_path: Path
) -> None:
    bare = trained(tmp_path / "bare", [], **settings)

    probed = trained(tmp_path / "probed", [perplexity(), choices(), Nasty()], attach=attach, **settings)

    assert probed == bare
    steps = {step for step, _ in rounds(tmp_path / "probed" / "run")}
    saves = {25 * n for n in range(1, 9)} if "save_steps" in settings else set()
    last = settings["max_steps"]
    assert steps == {0, 1, 2, 4, 8, *range(10, last + 1, 10), *(step for step in saves if step <= last)}


@pytest.mark.parametrize("attach", [True, False])
def test_rounds_measure_the_weights_of_their_step(attach: bool, tmp_path: Path) -> None:
    trainer = tiny_hf.trainer(tmp_path, tiny_hf.gpt2(), max_steps=14, save_strategy="steps", save_steps=7)
    before, noting, heldout = weights(trainer.model), Noting(), perplexity()
    join(trainer, tmp_path, [noting, heldout], attach=attach, early=False, every_steps=6)

    trainer.train()

    assert rounds(tmp_path / "run") == [
        (0, "start"), (6, "regular"), (7, "checkpoint"), (12, "regular"), (14, "checkpoint"),
    ]  # fmt: skip
    assert noting.weights[0] == before
    assert [noting.weights[2], noting.weights[4]] == [saved(tmp_path, 7), saved(tmp_path, 14)]
    assert noting.weights[-1] == weights(trainer.model)
    last = samples(tmp_path)[-1].metrics
    assert {name: last[name] for name in last if name.startswith("heldout/")} == heldout(trainer.model)


@pytest.mark.parametrize("attach", [True, False])
def test_a_regular_round_comes_after_the_last_step_too(attach: bool, tmp_path: Path) -> None:
    trainer = tiny_hf.trainer(tmp_path, tiny_hf.gpt2(), max_steps=20)
    join(trainer, tmp_path, [perplexity()], attach=attach, **ONLY_REGULAR)

    trainer.train()

    assert rounds(tmp_path / "run") == [(10, "regular"), (20, "regular")]


def test_the_round_at_the_end_is_made_before_the_trainer_goes_back_to_its_best_weights(tmp_path: Path) -> None:
    trainer = tiny_hf.trainer(
        tmp_path,
        tiny_hf.gpt2(),
        max_steps=12,
        save_strategy="steps",
        save_steps=4,
        eval_strategy="steps",
        eval_steps=4,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,  # it rises, for these tokens are random
        learning_rate=1e-2,
        options={"eval_dataset": tiny_hf.rows(4)},
    )
    noting = Noting()
    join(trainer, tmp_path, [noting], **{**ONLY_REGULAR, "at_end": True, "every_steps": 100})

    trainer.train()

    assert rounds(tmp_path / "run") == [(12, "end")]
    assert noting.weights == [saved(tmp_path, 12)]
    assert trainer.state.best_global_step < 12
    assert weights(trainer.model) == saved(tmp_path, trainer.state.best_global_step) != noting.weights[0]


@pytest.mark.parametrize("attach", [True, False])
def test_a_resumed_training_has_no_second_baseline_and_goes_on_comparing(attach: bool, tmp_path: Path) -> None:
    for resume in (False, True):
        trainer = tiny_hf.trainer(
            tmp_path, tiny_hf.gpt2(), max_steps=24 if resume else 18, save_strategy="steps", save_steps=10
        )
        join(trainer, tmp_path, [perplexity()], attach=attach, every_steps=5, early=False, at_end=False)
        trainer.train(resume_from_checkpoint=str(tmp_path / "trainer" / "checkpoint-10") if resume else None)

    found = [sample for sample in samples(tmp_path) if "probes" in (sample.meta or {})]
    assert [sample.step for sample in found] == [0, 5, 10, 15, 20, 24]
    before = {sample.step: {c["previous_step"] for c in sample.meta["retention"]} for sample in found[3:]}
    # What was found at step 15 before is superseded: the second session began at step 10.
    assert before == {15: {10}, 20: {15}, 24: {20}}


class Headless(GPT2LMHeadModel):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = super().forward(*args, **kwargs)
        return output if self.training else {"states": output.logits}


class Lost(GPT2LMHeadModel):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = super().forward(*args, **kwargs)
        if not self.training:
            output.logits = output.logits * float("nan")
        return output


@pytest.mark.parametrize(
    ("kind", "probe", "line"),
    [
        (Headless, perplexity(), "Headless returns dict without logits: give forward=, a function of the model and"),
        (GPT2LMHeadModel, perplexity({"far": [[70, 71, 72]]}), "the tokenizer gives token 72, the model knows 64"),
        (GPT2LMHeadModel, perplexity(context_length=64), "context_length=64: the model reads 16 tokens at most"),
        (Lost, perplexity(), None),
    ],
    ids=["no logits", "another tokenizer", "too short a context", "nan"],
)
def test_what_cannot_be_measured_is_one_line_and_training_goes_on(
    kind: type[GPT2LMHeadModel], probe: Any, line: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outcomes = []
    for probes in ([], [probe, Noting()]):
        model = tiny_hf.gpt2()
        model.__class__ = kind
        trainer = tiny_hf.trainer(tmp_path / str(len(probes)), model, max_steps=12, remove_unused_columns=False)
        if probes:
            join(trainer, tmp_path, probes)
        trainer.train()
        outcomes.append((weights(trainer.model), tiny_hf.logged(trainer, "loss")))

    assert outcomes[0] == outcomes[1]
    told = [record.getMessage() for record in caplog.records if record.name.startswith("pretrain_monitor")]
    if line is None:
        assert told == []
        assert {value != value for value in samples(tmp_path)[0].metrics.values()} == {True, False}
    else:
        assert len(told) == 1 and told[0].startswith(f"probe heldout at step 0: {line}") and "\n" not in told[0]
    # The other probe goes on.
    assert [sample.step for sample in samples(tmp_path) if "probe/noting/number" in sample.metrics] == [
        0, 1, 2, 4, 8, 10, 12,
    ]  # fmt: skip


def test_the_model_need_not_be_one_of_hugging_face(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Own(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.tokens, self.head = torch.nn.Embedding(64, 32), torch.nn.Linear(32, 64)

        def forward(self, input_ids: torch.Tensor, labels: torch.Tensor | None = None) -> Any:
            logits = self.head(self.tokens(input_ids))
            if labels is None:
                return logits
            return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten()), logits

    trainer = tiny_hf.trainer(tmp_path, Own(), max_steps=10, bf16=True)
    join(trainer, tmp_path, [perplexity()])

    trainer.train()

    assert caplog.text == ""
    assert samples(tmp_path)[-1].metrics["heldout/even/perplexity"] > 1


def test_probes_can_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("some text\nand another one\n")
    (tmp_path / "probes.yaml").write_text(
        "probes:\n  - perplexity: {domains: {own: texts.txt}, context_length: 16}\n    every_steps: 5\n"
    )
    trainer = tiny_hf.trainer(tmp_path, tiny_hf.gpt2(), max_steps=10)
    join(trainer, tmp_path, load_probes(tmp_path / "probes.yaml", tokenizer=TOKENIZER), **ONLY_REGULAR)

    trainer.train()

    assert rounds(tmp_path / "run") == [(5, "regular"), (10, "regular")]
    assert "heldout/own/bits_per_byte" in samples(tmp_path)[-1].metrics


WATCHED = ("attached", "unattached", "sharded", "broken monitor", "rank 0 alone")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    run_ranks(PROGRAM, [folder, "bare", "bare sharded", *WATCHED], folder, limit_s=200)
    return folder


def seen(folder: Path, rank: int) -> Any:
    return json.loads((folder / f"rank{rank}.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("scenario", WATCHED)
def test_training_on_two_ranks_is_bitwise_the_same_with_and_without_probes(ranks: Path, scenario: str) -> None:
    bare = "bare sharded" if scenario == "sharded" else "bare"
    for rank in (0, 1):
        assert seen(ranks / scenario, rank) == seen(ranks / bare, rank)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["attached", "unattached", "sharded"])
def test_two_ranks_find_what_one_finds(ranks: Path, scenario: str) -> None:
    folder = ranks / scenario
    last = samples(folder)[-1].metrics
    model = tiny_hf.llama() if scenario == "sharded" else tiny_hf.gpt2()
    model.load_state_dict(torch.load(folder / "end.pt"))
    expected = {**perplexity()(model), **choices()(model)}
    assert {name: last[name] for name in expected} == pytest.approx(expected, rel=0, abs=1e-6)
    steps = [step for step, _ in rounds(folder / "run")]
    assert steps == [0, 1, 2, 4, 8, 10, 15, 20, 30, 40]
    assert [(folder / f"said{rank}").read_text().count("switched off") for rank in (0, 1)] == [0, 0]


@pytest.mark.slow
def test_a_monitor_on_rank_0_alone_says_that_it_does_not_probe(ranks: Path) -> None:
    lines = (ranks / "rank 0 alone" / "said0").read_text().splitlines()
    assert [line for line in lines if "probes" in line] == [
        "the probes are switched off: not every rank runs them; give all ranks the same monitor"
    ]
    assert rounds(ranks / "rank 0 alone" / "run") == []
