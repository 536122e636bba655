"""Probes inside real Lightning trainings: what they measure, when, and that the training does not notice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import run_ranks
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning_probed import ManualLM, ProbedLM, fit, watch
from torch import nn

from pretrain_monitor import read_run
from pretrain_monitor.probes.probe_file import load_probes
from tests.probes.probe_parts import TOKENIZER, Nasty, Noting, choices, perplexity, weights
from tests.probes.watched_loops import rounds

pytestmark = [
    # Lightning says so of every DataLoader without worker processes, which tiny data do not need.
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    # Lightning 2.6 uses a call that torch 2.13 deprecates.
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec"),
]

PROGRAM = Path(__file__).parent / "lightning_probe_ranks.py"
ONLY_REGULAR = {"early": False, "at_start": False, "at_end": False, "on_checkpoint": False}


def saving(folder: Path, every: int) -> ModelCheckpoint:
    return ModelCheckpoint(folder / "kept", filename="{step}", every_n_train_steps=every, save_top_k=-1)


def saved(folder: Path, step: int) -> str:
    """The weights in the file of a checkpoint."""
    checkpoint = torch.load(folder / "kept" / f"step={step}.ckpt", weights_only=False)
    return weights(checkpoint["state_dict"])


def samples(folder: Path) -> list[Any]:
    return list(read_run(folder / "run"))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (ProbedLM, {"max_steps": 200, "val_check_interval": 7, "enable_checkpointing": True}),
        (ManualLM, {"max_steps": 40}),
        (ProbedLM, {"max_steps": 40, "precision": "bf16-mixed", "accumulate_grad_batches": 2}),
    ],
    ids=["200 steps with validation and checkpoints", "manual optimization", "mixed precision and accumulation"],
)
def test_training_with_probes_is_bitwise_the_training_without(
    kind: type[ProbedLM], options: dict[str, Any], tmp_path: Path
) -> None:
    outcomes = {}
    for name in ("bare", "probed"):
        callbacks = [saving(tmp_path / name, 25)] if "enable_checkpointing" in options else []
        if name == "probed":
            callbacks.append(watch(tmp_path / "run", [perplexity(), choices(), Nasty()]))
        outcomes[name] = fit(kind(), *callbacks, **options)

    assert outcomes["probed"] == outcomes["bare"]
    last = options["max_steps"]
    saves = {step for step in range(25, last + 1, 25) if "enable_checkpointing" in options}
    assert {step for step, _ in rounds(tmp_path / "run")} == {0, 1, 2, 4, 8, *range(10, last + 1, 10), *saves}


@pytest.mark.parametrize("at_end", [True, False])
def test_rounds_measure_the_weights_of_their_step(at_end: bool, tmp_path: Path) -> None:
    model, noting, heldout = ProbedLM(), Noting(), perplexity()
    before = weights(model)
    monitor = watch(tmp_path / "run", [noting, heldout], early=False, every_steps=6, at_end=at_end)

    fit(model, saving(tmp_path, 7), monitor, max_steps=14, enable_checkpointing=True)

    assert rounds(tmp_path / "run") == [
        (0, "start"), (6, "regular"), (7, "checkpoint"), (12, "regular"), (14, "checkpoint"),
    ]  # fmt: skip
    assert noting.weights[0] == before
    assert [noting.weights[2], noting.weights[4]] == [saved(tmp_path, 7), saved(tmp_path, 14)]
    assert noting.weights[-1] == weights(model)
    last = samples(tmp_path)[-1].metrics
    assert {name: last[name] for name in last if name.startswith("heldout/")} == heldout(model)


def test_a_checkpoint_saved_in_the_middle_of_a_step_is_not_taken_for_one_of_the_next(tmp_path: Path) -> None:
    class SavingLM(ProbedLM):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if self.global_step == 3:
                self.trainer.save_checkpoint(tmp_path / "own.ckpt")
            return super().training_step(batch, batch_idx)

    fit(SavingLM(), watch(tmp_path / "run", [perplexity()], early=False), max_steps=6)

    assert rounds(tmp_path / "run") == [(0, "start"), (6, "end")]


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
def test_a_resumed_training_has_no_second_baseline_and_goes_on_comparing(tmp_path: Path) -> None:
    schedule = {"every_steps": 5, "early": False, "at_end": False, "on_checkpoint": False}
    for resume, steps in ((None, 18), (tmp_path / "kept" / "step=10.ckpt", 24)):
        monitor = watch(tmp_path / "run", [perplexity()], **schedule)
        keep = saving(tmp_path, 10)
        fit(ProbedLM(), keep, monitor, max_steps=steps, enable_checkpointing=True, resume=resume)

    found = [sample for sample in samples(tmp_path) if "probes" in (sample.meta or {})]
    assert [sample.step for sample in found] == [0, 5, 10, 15, 20]
    before = {sample.step: {c["previous_step"] for c in sample.meta["retention"]} for sample in found[3:]}
    # What was found at step 15 before is superseded: the second session began at step 10.
    assert before == {15: {10}, 20: {15}}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
def test_what_is_found_in_another_precision_is_as_exact_as_the_model_itself(precision: str, tmp_path: Path) -> None:
    model = ProbedLM()
    fit(model, watch(tmp_path / "run", [perplexity()], **ONLY_REGULAR), max_steps=10, precision=precision)

    found = samples(tmp_path)[-1].metrics
    exact = perplexity()(model.float())
    tolerance = 1e-6 if precision == "32-true" else 0.005
    assert found["heldout/even/loss"] == pytest.approx(exact["heldout/even/loss"], rel=tolerance)
    # A bfloat16 of this size is a multiple of 2**-6.
    assert found["heldout/even/loss"] * 64 % 1 != 0


class TwoParts(ProbedLM):
    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(1, 1)

    def on_train_start(self) -> None:
        self.other.requires_grad_(False)


class Headless(ProbedLM):
    def forward(self, ids: torch.Tensor) -> Any:
        return {"states": self.net(ids)}


class Lost(ProbedLM):
    def forward(self, ids: torch.Tensor) -> Any:
        return self.net(ids) * float("nan")


@pytest.mark.parametrize(
    ("kind", "probe", "line"),
    [
        (TwoParts, perplexity(), "TwoParts has no forward of its own: give forward=, a function of the model and the"),
        (Headless, perplexity(), "Headless returns dict without logits: give forward=, a function of the model and"),
        (ProbedLM, perplexity({"far": [[70, 71, 72]]}), "the tokenizer gives token 72, the model knows 64"),
        (ProbedLM, perplexity(context_length=None), "nothing in the model says how many tokens it can read: give cont"),
        (Lost, perplexity(), None),
    ],
    ids=["no forward", "no logits", "another tokenizer", "unknown context", "nan"],
)
def test_what_cannot_be_measured_is_one_line_and_training_goes_on(
    kind: type[ProbedLM], probe: Any, line: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bare = fit(kind(), max_steps=12)

    assert fit(kind(), watch(tmp_path / "run", [probe, Noting()]), max_steps=12) == bare

    told = [record.getMessage() for record in caplog.records if record.name.startswith("pretrain_monitor")]
    if line is None:
        assert told == []
        assert {value != value for value in samples(tmp_path)[0].metrics.values()} == {True, False}
    else:
        assert len(told) == 1 and told[0].startswith(f"probe heldout at step 0: {line}") and "\n" not in told[0]
    # The other probe goes on.
    found = [sample.step for sample in samples(tmp_path) if "probe/noting/number" in sample.metrics]
    assert found == [0, 1, 2, 4, 8, 10, 12]


def test_a_module_without_forward_is_measured_by_a_function_of_it(tmp_path: Path) -> None:
    probe = perplexity(forward=lambda module, ids: module.net(ids))
    model = TwoParts()

    fit(model, watch(tmp_path / "run", [probe]), max_steps=10)

    last = samples(tmp_path)[-1].metrics
    assert last["heldout/even/loss"] == perplexity()(model.net)["heldout/even/loss"]


def test_probes_can_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("some text\nand another one\n")
    (tmp_path / "probes.yaml").write_text(
        "probes:\n  - perplexity: {domains: {own: texts.txt}, context_length: 16}\n    every_steps: 5\n"
    )
    probes = load_probes(tmp_path / "probes.yaml", tokenizer=TOKENIZER)

    fit(ProbedLM(), watch(tmp_path / "run", probes, **ONLY_REGULAR), max_steps=10)

    assert rounds(tmp_path / "run") == [(5, "regular"), (10, "regular")]
    assert "heldout/own/bits_per_byte" in samples(tmp_path)[-1].metrics


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    run_ranks(PROGRAM, [folder], folder, limit_s=200)
    return folder


def seen(folder: Path, rank: int) -> Any:
    return json.loads((folder / f"rank{rank}.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "bare"), [("ddp", "ddp"), ("parallel", "parallel"), ("rank 0 alone", "ddp")])
def test_training_on_two_ranks_is_bitwise_the_same_with_and_without_probes(ranks: Path, name: str, bare: str) -> None:
    for rank in (0, 1):
        assert seen(ranks / name, rank) == seen(ranks / f"bare {bare}", rank)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ddp", "parallel"])
def test_two_ranks_find_what_one_finds(ranks: Path, name: str) -> None:
    last = samples(ranks / name)[-1].metrics
    model = ProbedLM()
    model.load_state_dict(torch.load(ranks / name / "end.pt"))
    expected = {**perplexity()(model), **choices()(model)}
    assert {metric: last[metric] for metric in expected} == pytest.approx(expected, rel=0, abs=1e-6)
    assert [step for step, _ in rounds(ranks / name / "run")] == [0, 1, 2, 4, 8, 10, 20, 30, 40]
    assert [(ranks / name / f"said{rank}").read_text() for rank in (0, 1)] == ["", ""]


@pytest.mark.slow
def test_a_monitor_on_rank_0_alone_says_that_it_does_not_probe(ranks: Path) -> None:
    lines = (ranks / "rank 0 alone" / "said0").read_text().splitlines()
    assert [line for line in lines if "probes" in line] == [
        "the probes are switched off: not every rank runs them; give all ranks the same monitor"
    ]
    assert rounds(ranks / "rank 0 alone" / "run") == []
