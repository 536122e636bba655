from __future__ import annotations

import math

import lightning
import numpy as np
import pytest
import torch
from torch import nn

from pretrain_monitor.probes import PerplexityProbe
from pretrain_monitor.probes.base import ProbeError
from pretrain_monitor.probes.language_model import LanguageModel
from pretrain_monitor.probes.rows import Row, plain_row
from pretrain_monitor.probes.scoring import score
from tests.tiny_models import Successor, TinyGPT, Uniform, direct_nats, letters, tiny_gpt2, tiny_llama


def texts_of(seed: int = 0, count: int = 12, longest: int = 50) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, rng.integers(2, longest)).tolist() for _ in range(count)]


def nats_of(model, texts, **settings):
    reader = LanguageModel(model, **settings)
    return score(reader, [plain_row(ids, 1, n) for n, ids in enumerate(texts)], len(texts), batch_tokens=100).nats


@pytest.mark.parametrize("make", [TinyGPT, tiny_llama, tiny_gpt2], ids=["torch", "llama", "gpt2"])
def test_padded_batches_cost_what_single_rows_cost(make):
    torch.manual_seed(0)
    model, texts = make(), texts_of()
    assert nats_of(model, texts) == pytest.approx([direct_nats(model, ids) for ids in texts], rel=1e-5)


def test_the_head_of_a_hugging_face_model_is_used_by_itself_only_where_it_gives_the_models_own_logits():
    class Bent(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return 0.3 * torch.tanh(self.inner(x) / 0.3)

    plain, bent = tiny_llama(), tiny_llama()
    plain_reader, bent_reader = LanguageModel(plain), LanguageModel(bent)
    forward = bent.forward
    bent.forward = lambda *args, **kwargs: bend(forward(*args, **kwargs))
    for reader in (plain_reader, bent_reader):
        assert reader._head is not None
        with torch.no_grad():
            reader.check_head(torch.tensor([[1, 2, 3]]))
    assert plain_reader._head is not None
    assert bent_reader._head is None
    texts = texts_of()
    assert nats_of(bent, texts) == pytest.approx([direct_nats(bent, ids) for ids in texts], rel=1e-5)


def bend(output):
    output.logits = 0.3 * torch.tanh(output.logits / 0.3)
    return output


def test_only_what_is_asked_counts_and_greedy_means_all_of_it_was_the_first_choice():
    rows = [
        Row(np.array([1, 2, 3]), np.array([1, 2]), np.array([3, 4]), np.array([0, 0])),
        Row(np.array([1, 2, 3]), np.array([1, 2]), np.array([3, 9]), np.array([1, 1])),
        # Two continuations of one place, neither of which is read.
        Row(np.array([5, 6]), np.array([1, 1]), np.array([7, 8]), np.array([2, 3])),
    ]
    costs = score(LanguageModel(Successor(), context_length=8), rows, 4)
    hit, miss = -math.log(9 / 308), -math.log(1 / 308)
    assert costs.nats == pytest.approx([2 * hit, hit + miss, hit, miss], rel=1e-6)
    assert costs.greedy.tolist() == [True, False, True, False]


def test_a_uniform_model_costs_exactly_the_logarithm_of_its_vocabulary():
    row = plain_row([1, 2, 3], 1, 0)
    for vocabulary in (2**8, 50257):
        costs = score(LanguageModel(Uniform(vocabulary), context_length=8), [row], 1)
        assert math.exp(costs.nats[0] / 2) == pytest.approx(vocabulary, rel=1e-14)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_logits_are_judged_in_float32(dtype):
    class Rounded(Uniform):
        def forward(self, input_ids):
            logits = torch.linspace(0, 8, self.vocabulary).expand(*input_ids.shape, -1)
            return logits.to(dtype)

    logits = torch.linspace(0, 8, 256).to(dtype).double()
    expected = float(torch.logsumexp(logits, 0) - logits[7])
    costs = score(LanguageModel(Rounded(), context_length=8), [plain_row([1, 7], 1, 0)], 1)
    assert costs.nats[0] == pytest.approx(expected, rel=1e-6)


class Hungry(TinyGPT):
    """Has memory for so many tokens at a time."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.room, self.refused = tokens, 0

    def forward(self, input_ids):
        if input_ids.numel() > self.room:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().forward(input_ids)


def test_when_memory_ends_a_batch_is_read_in_parts_with_the_same_result():
    torch.manual_seed(0)
    model = Hungry(10**9)
    texts = [list(range(40)) for _ in range(16)]
    rows = [plain_row(ids, 1, n) for n, ids in enumerate(texts)]
    before = score(LanguageModel(model), rows, len(rows), batch_tokens=640)
    model.room = 100
    after = score(LanguageModel(model), rows, len(rows), batch_tokens=640)
    assert model.refused == 3  # 16 rows, 8, 4; then 2 at a time for the rest
    assert after.nats == pytest.approx(before.nats, rel=1e-6)


def test_no_memory_for_a_single_row_is_one_clear_line():
    model = Hungry(30)
    with pytest.raises(
        ProbeError, match=r"out of memory with a single row of 39 tokens: give a smaller context_length"
    ):
        score(LanguageModel(model), [plain_row(list(range(40)), 1, 0)], 1)


def test_an_error_that_has_nothing_to_do_with_memory_is_not_taken_for_one():
    class Broken(Uniform):
        def forward(self, input_ids):
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        score(LanguageModel(Broken(), context_length=8), [plain_row([1, 2], 1, 0)], 1)


def test_non_finite_logits_make_a_non_finite_cost_and_no_error():
    class Lost(Uniform):
        def forward(self, input_ids):
            return super().forward(input_ids) * math.nan

    assert math.isnan(score(LanguageModel(Lost(), context_length=8), [plain_row([1, 2], 1, 0)], 1).nats[0])


@pytest.mark.parametrize("make", [TinyGPT, tiny_gpt2], ids=["torch", "gpt2"])
def test_a_token_that_the_model_does_not_know_is_found_before_it_is_read(make):
    # On CUDA the reading of it would end the process.
    with pytest.raises(ProbeError, match=r"the tokenizer gives token 256, the model knows 256"):
        score(LanguageModel(make()), [plain_row([1, 256], 1, 0)], 1)


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (lambda ids: {"loss": 1.0}, r"returns dict without logits: give forward="),
        (
            lambda ids: torch.zeros(*ids.shape, 9)[:, -1:],
            r"returns logits of shape \(1, 1, 9\) for .* \(1, 2\): give f",
        ),
        (lambda ids: None, "returns NoneType without logits"),
    ],
)
def test_a_model_without_logits_is_one_clear_line(output, line):
    class Odd(nn.Module):
        def forward(self, ids):
            return output(ids)

    with pytest.raises(ProbeError, match=line):
        score(LanguageModel(Odd(), context_length=8), [plain_row([1, 2, 3], 1, 0)], 1)


def test_a_model_that_gives_logits_only_when_asked_can_be_asked():
    class Nano(Uniform):
        def forward(self, ids, targets=None):
            logits = super().forward(ids)
            return (logits, 0.0) if targets is not None else (logits[:, -1:], None)

    reader = LanguageModel(Nano(), forward=lambda model, ids: model(ids, ids)[0], context_length=8)
    assert score(reader, [plain_row([1, 2, 3], 1, 0)], 1).nats[0] == pytest.approx(2 * math.log(256))


def test_what_a_model_can_read_is_taken_from_it_or_asked_for():
    assert LanguageModel(tiny_gpt2()).context_length == 64
    assert LanguageModel(TinyGPT()).context_length == 64
    assert LanguageModel(tiny_llama(max_position_embeddings=8192)).context_length == 2048
    assert LanguageModel(tiny_llama(max_position_embeddings=8192), context_length=4096).context_length == 4096
    with pytest.raises(ProbeError, match="give context_length"):
        LanguageModel(Uniform())
    with pytest.raises(ProbeError, match=r"context_length=65: the model reads 64 tokens at most"):
        LanguageModel(tiny_gpt2(), context_length=65)


def test_wrappers_are_looked_through():
    model = tiny_llama()
    assert LanguageModel(torch.compile(model, backend="eager")).module is model
    assert LanguageModel(nn.DataParallel(model)).module is model


def test_no_module_at_all_is_one_clear_line():
    with pytest.raises(ProbeError, match="a probe measures a torch module, got str"):
        LanguageModel("gpt2")


def test_progress_counts_every_token_once():
    seen = []
    rows = [plain_row(list(range(10)), 1, n) for n in range(7)]
    score(LanguageModel(Uniform(), context_length=16), rows, 7, batch_tokens=20, progress=lambda *a: seen.append(a))
    assert seen == [(18, 63), (36, 63), (54, 63), (63, 63)]


class Adapted(nn.Module):
    """A layer with something of the user's own around it."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer, self.more = layer, nn.Linear(layer.in_features, layer.out_features, bias=False)

    def forward(self, x):
        return self.layer(x) + self.more(x)


def test_a_head_that_does_not_say_how_wide_it_is_is_computed_with_the_model():
    model, texts = tiny_gpt2(), texts_of()
    model.lm_head = Adapted(model.lm_head)
    assert nats_of(model, texts) == pytest.approx([direct_nats(model, ids) for ids in texts], rel=1e-5)


class Narrow(TinyGPT):
    """Predicts fewer tokens than its padded embedding holds."""

    def forward(self, input_ids):
        return super().forward(input_ids)[..., :100]


@pytest.mark.parametrize(
    ("model", "texts", "line"),
    [
        (TinyGPT(), [[1, 2, -100, 5]], "-100 is among the token ids"),
        (Narrow(), [[1, 2, 120]], "the tokenizer gives token 120, the model predicts 100"),
        (TinyGPT(vocabulary=100, context=1024), [[1, 120, 2]], "the tokenizer gives token 120, the model knows 100"),
    ],
    ids=["negative", "narrow head", "more places than tokens"],
)
def test_a_token_that_would_end_the_process_on_cuda_is_told_before_it_is_looked_up(model, texts, line):
    with pytest.raises(ProbeError, match=line):
        nats_of(model, texts)


def test_of_several_embeddings_the_one_that_the_configuration_tells_of_is_the_vocabulary():
    model = TinyGPT(vocabulary=128, context=64)
    model.kinds = nn.Embedding(5000, 4)
    model.config = {"vocab_size": 100, "block_size": 64}
    assert LanguageModel(model).vocabulary == 128


def test_a_model_that_sees_what_it_is_asked_for_is_no_causal_model():
    from transformers import BertConfig, BertForMaskedLM

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    with pytest.raises(ProbeError, match="BertForMaskedLM sees what it is asked for"):
        LanguageModel(BertForMaskedLM(BertConfig(vocab_size=256, **sizes)))


def test_the_head_is_checked_once_for_a_model_and_again_in_another_precision():
    model = tiny_llama()
    asked = []
    model.register_forward_hook(lambda *_: asked.append(None))
    for dtype, checks in ((torch.float32, 1), (torch.float32, 1), (torch.bfloat16, 2), (torch.float32, 2)):
        with torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16):
            nats_of(model, texts_of())
        assert len(asked) == checks


def test_half_precision_logits_cost_what_they_cost_in_full(monkeypatch):
    # As a device hands them out: as the head gives them.
    model = tiny_llama().to(torch.bfloat16)
    in_full = nats_of(model, texts_of())
    whole = LanguageModel.predictions

    def in_half(self, *args, **kwargs):
        return ((part, logits.to(torch.bfloat16)) for part, logits in whole(self, *args, **kwargs))

    monkeypatch.setattr(LanguageModel, "predictions", in_half)
    assert list(nats_of(model, texts_of())) == list(in_full)


def test_a_function_for_a_module_around_a_model_leaves_it_to_the_model_how_much_it_reads():
    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = tiny_llama()

        def training_step(self, batch, number):
            return self.model(batch, labels=batch).loss

    module = Module()
    reader = LanguageModel(module, forward=lambda module, ids: module.model(ids).logits)
    assert reader.context_length == module.model.config.max_position_embeddings
    assert reader.vocabulary == module.model.config.vocab_size
    with pytest.raises(ProbeError, match="the model reads"):
        LanguageModel(module, forward=lambda module, ids: module.model(ids).logits, context_length=10**6)


class Around(lightning.LightningModule):
    """Gives its loss, and so no logits."""

    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)

    def training_step(self, batch, number):
        return self(batch)

    def forward(self, ids):
        return self.model(ids).logsumexp(-1).mean()


def logits_of(module, ids):
    return module.model(ids)


@pytest.mark.parametrize(
    "parts",
    [
        {"model": TinyGPT(context=300)},
        {
            "model": torch.compile(TinyGPT(context=300), backend="eager"),
            "criterion": nn.CrossEntropyLoss(),
            "config": {"lr": 0.1},
        },
        {"model": nn.Sequential(TinyGPT(context=300))},
        {"model": TinyGPT(context=300), "averaged": TinyGPT(context=300)},
    ],
    ids=["alone", "compiled", "deeper", "and its average"],
)
def test_a_function_for_a_module_around_any_model_that_knows_its_sizes_needs_no_context_length(parts):
    module = Around(**parts)
    probe = PerplexityProbe({"a": ["some text of more than a few tokens"]}, letters, forward=logits_of)
    assert probe(module).notes[0].startswith("documents in windows of 300 tokens")
    reader = LanguageModel(module, forward=logits_of)
    # And not the table of positions, nor nobody: an id beyond it would end a training on CUDA.
    assert reader.vocabulary == 256
    assert LanguageModel(module, forward=logits_of, context_length=20).context_length == 20


@pytest.mark.parametrize(
    "other", [{"teacher": TinyGPT(context=32)}, {"tokens": nn.Embedding(500, 8)}], ids=["model", "table"]
)
def test_of_models_that_differ_and_of_parts_of_one_nobody_knows_how_much_they_read(other):
    module = Around(model=TinyGPT(context=48), **other)
    with pytest.raises(ProbeError, match="give context_length"):
        LanguageModel(module, forward=logits_of)
    assert LanguageModel(module, forward=logits_of, context_length=40).context_length == 40
